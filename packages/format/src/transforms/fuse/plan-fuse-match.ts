import { indexBase } from '../../bases/base-index.js';
import type { BaseModel } from '../../bases/base-model.js';
import type { ModuleName } from '../../bases/find-modules.js';
import type { TensorLeaf } from '../../bases/place-base-tensor.js';
import { type StoredPart, segmentName } from '../../bases/stored-part.js';
import { numel } from '../../dtype.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { biasLength, changesAnyBias, changesWeight, fits, misfitOf, weightShape } from './plan-fuse-shapes.js';
import { type FuseJob, isFusable, weightLeaf } from './plan-fuse-touched.js';
import type { FuseOptions } from './plan-fuse-types.js';

/** A module whose weight in the base has another shape, or lacks what it changes. */
export interface Misfit {
	/** `component path`. */
	readonly where: string;
	readonly why: string;
}

/**
 * Which parts of a stored module the adapter's module changes, after checking that it fits.
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` for quantised weights.
 */
export function jobFor(input: Omit<FuseJob, 'fanIn'>): { readonly job: FuseJob; readonly leaves: readonly TensorLeaf[] } | Misfit {
	const { module, stored, settings } = input;
	const where = `${module.component} ${module.path}`;
	const leaves: TensorLeaf[] = [];
	let fanIn = false;
	if (changesWeight(module)) {
		const leaf = weightLeaf(module);
		const part = stored.parts.get(leaf);
		if (part === undefined) return { where, why: `the base has no ${leaf} of it` };
		checkDtype(where, part);
		const expected = weightShape(module);
		const turned = settings.fanIn && part.shape.length === 2;
		const shape = turned ? [...part.shape].reverse() : part.shape;
		if (expected !== undefined && !fits(expected, shape)) {
			return { where, why: `it is (${shape.join(', ')}) in the base and (${expected.join(', ')}) in the adapter` };
		}
		const misfit = misfitOf(module, shape);
		if (misfit !== undefined) return { where, why: `it is (${shape.join(', ')}) in the base and the adapter has ${misfit}` };
		fanIn = turned || part.transposed;
		leaves.push(leaf);
	}
	const length = biasLength(module);
	const bias = stored.parts.get('bias');
	if (length !== undefined) {
		if (bias === undefined) return { where, why: 'the adapter changes its bias, and the base has none there' };
		if (numel(bias.shape) !== length) {
			return { where, why: `its bias has ${numel(bias.shape)} numbers in the base and ${length} in the adapter` };
		}
	}
	if (bias !== undefined && (length !== undefined || changesAnyBias(module))) {
		checkDtype(where, bias);
		leaves.push('bias');
	}
	return { job: { ...input, fanIn }, leaves };
}

function checkDtype(where: string, part: StoredPart): void {
	for (const segment of part.segments) {
		const { dtype } = segment.tensor;
		if (isFusable(dtype)) continue;
		throw new FormatError(
			'E_UNSUPPORTED_DTYPE',
			`${quote(where)} is stored as ${dtype} in the base (${quote(segmentName(segment))}): fusing into quantised weights would round the adapter away; use a base in F16, BF16 or F32.`,
			{ at: segment.name },
		);
	}
}

/**
 * Refuse an adapter that is not wholly in the base.
 * @param active modules of the adapter that were looked for
 * @throws {FormatError} `E_BASE_MISMATCH` when a shape differs or nothing is there, else `E_MODULE_NOT_IN_BASE`.
 */
export function refuseMissing(
	base: BaseModel,
	use: AdapterUse,
	active: number,
	missing: readonly ModuleName[],
	misfits: readonly Misfit[],
): void {
	const [misfit] = misfits;
	const [first] = missing;
	if (misfit !== undefined) {
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${quote(use.name)} is not for ${quote(base.name)}: of ${quote(misfit.where)} ${misfit.why}${others(misfits.length - 1)}; give the base it was trained on.`,
			{ at: misfit.where },
		);
	}
	if (first === undefined) return;
	const label = quote(`${first.component} ${first.path}`);
	const inBase = componentsOf(base);
	if (missing.length === active && missing.every((m) => inBase.has(m.component) || inBase.size === 0)) {
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${quote(use.name)} is not for ${quote(base.name)}: none of its ${active} modules is there (first: ${label}); give the base it was trained on.`,
			{ at: first.path },
		);
	}
	const absent = [...new Set(missing.map((m) => m.component))].filter((c) => !inBase.has(c));
	const [component] = absent;
	if (component !== undefined) {
		const lost = missing.filter((m) => m.component === component);
		throw new FormatError(
			'E_MODULE_NOT_IN_BASE',
			`${lost.length} modules of ${quote(use.name)} are of ${component}, which ${quote(base.name)} does not hold (first: ${quote(`${component} ${lost[0]?.path}`)}); give the whole base, or leave them out by strength 0 for ${component}.`,
			{ at: lost[0]?.path },
		);
	}
	throw new FormatError(
		'E_MODULE_NOT_IN_BASE',
		`${missing.length} of ${active} modules of ${quote(use.name)} are not in ${quote(base.name)}, first: ${label}; give the base it was trained on.`,
		{ at: first.path },
	);
}

function componentsOf(base: BaseModel): ReadonlySet<string> {
	const folders = base.files.map((f) => f.component).filter((c) => c !== undefined);
	return new Set([...indexBase(base).components, ...folders]);
}

function others(count: number): string {
	return count > 0 ? ` (and ${count} more modules)` : '';
}

/**
 * Tensors of an adapter that belong to no module.
 * @throws {FormatError} `E_UNKNOWN_KEY`, unless they may be left out.
 */
export function refuseUnknown(use: AdapterUse, options: FuseOptions): Warning {
	const names = [...use.adapter.unknown.keys()];
	const [at] = names;
	const text = `${names.length} tensors of ${quote(use.name)} belong to no module that is known here: ${names.slice(0, 3).map(quote).join(', ')}${names.length > 3 ? ', ...' : ''}`;
	if (options.allowUnknown === true) return { code: 'W_UNKNOWN_KEY', message: `${text}; they are left out as asked.`, at };
	throw new FormatError('E_UNKNOWN_KEY', `${text}; what they would do is not known, so nothing is fused.`, { at });
}
