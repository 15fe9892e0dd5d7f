import { RECIPE_KEY, type Recipe } from '../fuse/recipe.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { uniqueNames } from './merge-metadata.js';
import type { MergedModule, MergeOptions, MergeResult } from './merge-types.js';

/** How a merged adapter was made: a recipe as of fuse, without a base where none was needed, and what is merge's own. */
export interface MergeRecipe extends Recipe {
	readonly merge: {
		readonly method: MergeResult['method'];
		readonly dtype: MergeResult['dtype'];
		readonly rank: number | 'full' | null;
		readonly density: number | null;
		readonly majoritySign: 'total' | 'frequency' | null;
		readonly on: 'delta' | 'factors';
		readonly seed: number | null;
		readonly t: number | null;
		/** Largest relative error of a module; null where an exact result is 0 and the stored one is not. */
		readonly largestError: number | null;
	};
}

export interface MergeRecipeInput {
	readonly uses: readonly AdapterUse[];
	readonly options: MergeOptions;
	readonly result: MergeResult;
	/** SHA-256 of each adapter's main file, hex, in the order of `uses`. */
	readonly hashes: readonly string[];
	readonly tool: string;
	readonly version: string;
}

/** The recipe of a merge. Names lose their folders. */
export function makeMergeRecipe({ uses, options, result, hashes, tool, version }: MergeRecipeInput): MergeRecipe {
	const names = uniqueNames(uses);
	const { method, dtype, largestError } = result;
	const sparse = method !== 'concat' && method !== 'svd' && method !== 'linear' && method !== 'slerp';
	return {
		schema: 'lora.recipe/1',
		tool,
		version,
		base: { name: options.base?.name ?? '', files: [] },
		adapters: uses.map(({ adapter, name, strength }, i) => ({
			name: names[i] ?? name,
			sha256: hashes[i] ?? '',
			layout: adapter.source.layout,
			scale: strength.scale,
			components: Object.fromEntries(strength.components),
			blocks: strength.blocks?.text ?? null,
			modules: countOf(result.modules, name),
		})),
		merge: {
			method,
			dtype,
			rank: options.rank ?? null,
			density: sparse ? (options.density ?? 0.5) : null,
			majoritySign: method === 'ties' || method === 'dare-ties' ? (options.majoritySign ?? 'total') : null,
			on: options.on ?? (method === 'linear' ? 'factors' : 'delta'),
			seed: method === 'dare-linear' || method === 'dare-ties' ? (options.seed ?? 0) : null,
			t: method === 'slerp' ? (options.t ?? 0.5) : null,
			largestError: Number.isFinite(largestError) ? largestError : null,
		},
	};
}

/** The result with its recipe in the header. */
export function withRecipe(result: MergeResult, recipe: MergeRecipe): MergeResult {
	const metadata = new Map(result.adapter.metadata);
	metadata.set(RECIPE_KEY, JSON.stringify(recipe));
	return { ...result, adapter: { ...result.adapter, metadata } };
}

function countOf(modules: readonly MergedModule[], name: string): number {
	return modules.filter((m) => m.inputs.includes(name)).length;
}
