import { FormatError, quote } from '../../errors.js';
import { kernel } from '../../kernel/index.js';
import { computedTensor, type Tensor } from '../../tensor.js';
import { isFusable } from './plan-fuse-touched.js';
import type { TouchedTensor } from './touched-tensor.js';

/** What rounding one tensor told. */
export interface FuseTally {
	/** Results that are Inf although base and delta are finite. 0 unless `allowOverflow`. */
	readonly overflowed: number;
	/** Elements of the base that were NaN or Inf before; they stay what arithmetic makes of them. */
	readonly nonFinite: number;
}

export interface FuseTensorOptions {
	/** Write Inf where the stored type cannot hold a result, and count it, instead of refusing. */
	readonly allowOverflow?: boolean | undefined;
}

/**
 * `bytes` (all bytes of the base's tensor) become base + delta, rounded once to the stored type, in blocks of rows.
 * @throws {FormatError} `E_NONFINITE` naming the modules: a result that the stored type cannot hold (unless
 *   `allowOverflow`) or a delta that is no number; what computing the delta throws. `bytes` is then half changed.
 */
export async function fuseTensor(touched: TouchedTensor, bytes: Uint8Array, options: FuseTensorOptions = {}): Promise<FuseTally> {
	const { tensor, blockRows, needsBase } = touched;
	const { dtype } = tensor;
	if (!isFusable(dtype)) throw new FormatError('E_UNSUPPORTED_DTYPE', `${quote(touched.name)} is ${dtype}; nothing can be added to it.`);
	const rows = tensor.shape[0] ?? 1;
	const rowBytes = rows === 0 ? 0 : bytes.byteLength / rows;
	// Blocks change in place, and a delta of the base must see the base.
	const original = needsBase ? new Uint8Array(bytes) : undefined;
	let overflowed = 0;
	let nonFinite = 0;
	for (let from = 0; from < rows; from += blockRows) {
		const to = Math.min(rows, from + blockRows);
		const delta = await touched.delta(from, to, original);
		const tally = kernel().addRounded(dtype, bytes.subarray(from * rowBytes, to * rowBytes), delta);
		overflowed += tally.overflowed;
		nonFinite += tally.nonFinite;
		if (tally.nonFinite > 0 && delta.some(isNotFinite)) throw noNumber(touched);
		if (tally.overflowed > 0 && options.allowOverflow !== true) throw overflow(touched, tally.overflowed);
	}
	return { overflowed, nonFinite };
}

/** The fused tensor, computed when it is read; each read reads the base again. @param observe told the tally of each computing */
export function fusedTensor(touched: TouchedTensor, options: FuseTensorOptions = {}, observe?: (tally: FuseTally) => void): Tensor {
	const { tensor } = touched;
	const derivation = { from: [tensor], how: `fused with ${touched.modules.join(', ')}`, errorBound: undefined };
	return computedTensor(tensor.dtype, tensor.shape, derivation, async () => {
		// Bytes in memory belong to someone; those of a source are ours.
		const read = await tensor.read();
		const bytes = tensor.range === undefined ? new Uint8Array(read) : read;
		const tally = await fuseTensor(touched, bytes, options);
		observe?.(tally);
		return bytes;
	});
}

function isNotFinite(x: number): boolean {
	return x - x !== 0;
}

function noNumber(touched: TouchedTensor): FormatError {
	return new FormatError(
		'E_NONFINITE',
		`The delta of ${named(touched)} has NaN or Inf in it (a DoRA or a rotation that divides by zero), so nothing is fused.`,
		{ at: touched.name },
	);
}

function overflow(touched: TouchedTensor, count: number): FormatError {
	return new FormatError(
		'E_NONFINITE',
		`${count} weights of ${named(touched)} would become infinite: ${touched.tensor.dtype} cannot hold base + delta. Give a smaller strength, or a base in a wider type.`,
		{ at: touched.name },
	);
}

function named(touched: TouchedTensor): string {
	const [first = touched.name] = touched.modules;
	const more = touched.modules.length > 1 ? ` (and ${touched.modules.length - 1} more)` : '';
	return `${quote(first)}${more} (${quote(touched.name)})`;
}
