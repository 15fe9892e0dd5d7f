import type { Adapter, TargetModule } from '../../adapter.js';
import { needsBase } from '../../families/index.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { FULL_STRENGTH } from '../strength/adapter-use.js';
import { mergeAdapters } from './merge-adapters.js';
import { alignAdapters, type MergePart } from './merge-align.js';
import { arrayError, productDistance, roundingError } from './merge-error.js';
import { readDense, readProduct, weightKind } from './merge-part.js';
import type { MergeOptions, MergeResult } from './merge-types.js';

/** How far a written merge is from what it should be. */
export interface MergeVerification {
	/** Modules that were compared. */
	readonly modules: number;
	/** Modules that cannot be compared without the base (DoRA, OFT, ... carried as they are). */
	readonly notCompared: number;
	/** Largest |written - exact| / |exact| of a module, Frobenius. Infinity where one is missing. */
	readonly largest: number;
	readonly worst: { readonly component: string; readonly path: string } | undefined;
}

/**
 * Compare a merge that was written and read again with the float64 result from the inputs: for concat, svd and linear the sum of
 * the adapters, for the others the method's own result. Products are compared through Gram matrices.
 *
 * @throws {FormatError} as `mergeAdapters`.
 */
export async function verifyMerge(
	uses: readonly AdapterUse[],
	options: MergeOptions,
	method: MergeResult['method'],
	written: Adapter,
): Promise<MergeVerification> {
	const sum = method === 'concat' || method === 'svd' || method === 'linear';
	const exact = await mergeAdapters(uses, {
		...options,
		...(sum
			? { method: 'concat', rank: undefined, on: 'delta' }
			: { method, rank: options.on === 'factors' || method === 'slerp' ? undefined : 'full' }),
		dtype: 'F64',
		scaling: 'fold',
		onProgress: undefined,
	});
	const pair: readonly AdapterUse[] = [
		{ adapter: exact.adapter, name: 'the exact result', strength: FULL_STRENGTH },
		{ adapter: written, name: 'the written file', strength: FULL_STRENGTH },
	];
	const { groups } = alignAdapters(pair, options.base?.inventory);
	let largest = 0;
	let worst: MergeVerification['worst'];
	let notCompared = 0;
	for (const { component, path, parts } of groups) {
		const [a, b] = [parts.find((p) => p.input === 0), parts.find((p) => p.input === 1)];
		// A module of zeros may be missing.
		const error = a === undefined || b === undefined ? Number.POSITIVE_INFINITY : await distanceOf(a, b, options);
		if (error === undefined) notCompared++;
		else if (error > largest || worst === undefined) {
			largest = Math.max(largest, error);
			worst = { component, path };
		}
	}
	return { modules: groups.length - notCompared, notCompared, largest, worst };
}

/** Undefined where only a base could tell and there is none. */
async function distanceOf(exact: MergePart, written: MergePart, options: MergeOptions): Promise<number | undefined> {
	const kinds = [weightKind(exact.module), weightKind(written.module)];
	if (kinds.every((k) => k === 'product')) {
		const [a, b] = [await readProduct(exact, 1), await readProduct(written, 1)];
		const alike = a.up.cols === b.up.cols && a.up.rows === b.up.rows && a.down.cols === b.down.cols;
		const near = alike ? roundingError({ ...a, storedUp: b.up.data, storedDown: b.down.data }) : productDistance(a, b);
		// Other factors may make the same product: the one that is nearer tells.
		const far = alike && (near ?? 1) > 1e-2 ? productDistance(a, b) : near;
		return Math.min(near ?? Number.POSITIVE_INFINITY, far ?? Number.POSITIVE_INFINITY);
	}
	if ([exact, written].some((p) => needsBase(p.module)) && options.base === undefined)
		return sameFactors(exact.module, written.module) ? 0 : undefined;
	const [a, b] = [await readDense(exact, 1, options.base), await readDense(written, 1, options.base)];
	const zeros = new Float64Array(0);
	const weight = arrayError(a.weight?.data ?? zeros, b.weight?.data ?? zeros);
	const bias = arrayError(a.bias ?? zeros, b.bias ?? zeros);
	return weight === null || bias === null ? Number.POSITIVE_INFINITY : Math.max(weight, bias);
}

function sameFactors(a: TargetModule, b: TargetModule): boolean {
	return Object.entries(a.factors).every(([role, tensor]) =>
		Object.entries(b.factors).some(([other, t]) => other === role && t === tensor),
	);
}
