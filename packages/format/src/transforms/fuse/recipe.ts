import { FormatError } from '../../errors.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import type { FusePlan } from './plan-fuse-types.js';

/** Header entry of a fused file that says how it was made. */
export const RECIPE_KEY: string = 'lorakit.recipe';
const SCHEMA = 'lora.recipe/1';
const MERGED_FROM = 'modelspec.merged_from';
/** Longest recipe that is read: a thousand shards and adapters are far less. */
const MAX_RECIPE_CHARS = 1_000_000;

/** One file and what it was, without folders of this machine. */
export interface RecipeFile {
	/** Relative to the model's folder, or the file's name. */
	readonly path: string;
	/** Hex, lower case. */
	readonly sha256: string;
}

export interface RecipeAdapter {
	/** File name without folders. */
	readonly name: string;
	readonly sha256: string;
	/** Layout id, as `--from` takes it. */
	readonly layout: string;
	readonly scale: number;
	/** By component, as given; components that were not named had 1. */
	readonly components: Readonly<Record<string, number>>;
	/** Text of the block weights; null for none. */
	readonly blocks: string | null;
	/** Modules of this adapter that changed something. */
	readonly modules: number;
}

/** How a fused model was made. JSON Schema: `packages/format/schema/recipe.schema.json`. */
export interface Recipe {
	readonly schema: 'lora.recipe/1';
	readonly tool: string;
	readonly version: string;
	readonly base: {
		/** Without folders. */
		readonly name: string;
		readonly files: readonly RecipeFile[];
	};
	/** In the order in which their deltas were summed. */
	readonly adapters: readonly RecipeAdapter[];
}

export interface RecipeInput {
	readonly plan: FusePlan;
	readonly uses: readonly AdapterUse[];
	/** SHA-256 of each adapter's main file, in the order of `uses`. */
	readonly adapterHashes: readonly string[];
	/** SHA-256 by `BaseTensorFile.path`. Files that are not in it (those that nothing changes, say) are not named in the recipe. */
	readonly baseHashes: ReadonlyMap<string, string>;
	readonly tool: string;
	readonly version: string;
}

/** The recipe of a plan. Names lose their folders. */
export function makeRecipe(input: RecipeInput): Recipe {
	const { plan, uses, adapterHashes, baseHashes, tool, version } = input;
	return {
		schema: SCHEMA,
		tool,
		version,
		base: {
			name: withoutFolders(plan.base.name),
			files: plan.base.files.flatMap(({ path }) => {
				const sha256 = baseHashes.get(path);
				return sha256 === undefined ? [] : [{ path: relative(path), sha256 }];
			}),
		},
		adapters: uses.map(({ adapter, name, strength }, place) => ({
			name: withoutFolders(name),
			sha256: adapterHashes[place] ?? '',
			layout: adapter.source.layout,
			scale: strength.scale,
			components: Object.fromEntries(strength.components),
			blocks: strength.blocks?.text ?? null,
			modules: plan.ledger.filter((e) => e.use === place && e.tensors.length > 0).length,
		})),
	};
}

/**
 * The header of a fused file: the base's own entries, the recipe, and `modelspec.merged_from` where the base has
 * modelspec entries. Hashes of the old data are the writer's to refresh.
 */
export function recipeMetadata(metadata: ReadonlyMap<string, string>, recipe: Recipe): ReadonlyMap<string, string> {
	const out = new Map(metadata);
	out.set(RECIPE_KEY, JSON.stringify(recipe));
	if ([...metadata.keys()].some((key) => key.startsWith('modelspec.'))) {
		const title = metadata.get('modelspec.title')?.trim();
		const base = title === undefined || title === '' ? recipe.base.name : title;
		out.set(MERGED_FROM, [base, ...recipe.adapters.map((a) => a.name)].join(', '));
	}
	return out;
}

/** The recipe in a header; undefined where there is none. @throws {FormatError} `E_METADATA` when the entry is no recipe. */
export function readRecipe(metadata: ReadonlyMap<string, string>): Recipe | undefined {
	const text = metadata.get(RECIPE_KEY);
	return text === undefined ? undefined : parseRecipe(text);
}

/** @throws {FormatError} `E_METADATA` when the text is no recipe of a version that is known. */
export function parseRecipe(text: string): Recipe {
	const top = fields(parse(text), 'the recipe');
	if (top.get('schema') !== SCHEMA) throw broken(`schema is not ${SCHEMA}; a newer version of lora may have written it`);
	const base = fields(top.get('base'), 'base');
	return {
		schema: SCHEMA,
		tool: textOf(top.get('tool'), 'tool'),
		version: textOf(top.get('version'), 'version'),
		base: {
			name: textOf(base.get('name'), 'base.name'),
			files: listOf(base.get('files'), 'base.files').map((entry) => {
				const file = fields(entry, 'base.files');
				return { path: textOf(file.get('path'), 'path'), sha256: hashOf(file.get('sha256'), 'sha256') };
			}),
		},
		adapters: listOf(top.get('adapters'), 'adapters').map((entry) => {
			const adapter = fields(entry, 'adapters');
			const blocks = adapter.get('blocks');
			return {
				name: textOf(adapter.get('name'), 'name'),
				sha256: hashOf(adapter.get('sha256'), 'sha256'),
				layout: textOf(adapter.get('layout'), 'layout'),
				scale: numberOf(adapter.get('scale'), 'scale'),
				components: Object.fromEntries(
					Array.from(fields(adapter.get('components'), 'components'), ([key, value]) => [key, numberOf(value, key)]),
				),
				blocks: blocks === null ? null : textOf(blocks, 'blocks'),
				modules: numberOf(adapter.get('modules'), 'modules'),
			};
		}),
	};
}

function withoutFolders(name: string): string {
	const trimmed = name.replace(/[/\\]+$/, '');
	return trimmed.slice(Math.max(trimmed.lastIndexOf('/'), trimmed.lastIndexOf('\\')) + 1);
}

/** Paths of a base are relative; should one not be, its folders stay out. */
function relative(path: string): string {
	return /^([/\\]|[A-Za-z]:)/.test(path) || path.split(/[/\\]/).includes('..') ? withoutFolders(path) : path;
}

function broken(what: string): FormatError {
	return new FormatError('E_METADATA', `The header entry ${RECIPE_KEY} is no recipe: ${what}.`, { at: RECIPE_KEY });
}

function parse(text: string): unknown {
	if (text.length > MAX_RECIPE_CHARS) throw broken(`it has ${text.length} characters, more than ${MAX_RECIPE_CHARS}`);
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new FormatError('E_METADATA', `The header entry ${RECIPE_KEY} is no JSON.`, { at: RECIPE_KEY, cause: error });
	}
}

function fields(value: unknown, what: string): ReadonlyMap<string, unknown> {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken(`${what} is no object`);
	return new Map<string, unknown>(Object.entries(value));
}

function listOf(value: unknown, what: string): readonly unknown[] {
	if (!Array.isArray(value)) throw broken(`${what} is no list`);
	return value;
}

function textOf(value: unknown, what: string): string {
	if (typeof value !== 'string') throw broken(`${what} is no text`);
	return value;
}

function numberOf(value: unknown, what: string): number {
	if (typeof value !== 'number' || !Number.isFinite(value)) throw broken(`${what} is no number`);
	return value;
}

function hashOf(value: unknown, what: string): string {
	const text = textOf(value, what);
	if (!/^[0-9a-f]{64}$/.test(text)) throw broken(`${what} is no SHA-256`);
	return text;
}
