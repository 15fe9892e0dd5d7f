import type { DType } from '../../dtype.js';
import type { WritableFloat } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { TouchedTensor } from '../fuse/touched-tensor.js';
import type { CodeWidth } from './residual.js';

/**
 * Turn the bytes of a fused tensor into the best guess of the base: round(fused - delta), rounded once. It is nearly
 * always the base itself; `residual.ts` keeps the rest. Where the delta is a function of the base there is no such
 * guess, and the fused tensor itself stands in for it. The same bits on every machine, as `TouchedTensor.delta` is.
 */
export async function guessBase(touched: TouchedTensor, fused: Uint8Array): Promise<void> {
	if (touched.needsBase) return;
	const { dtype, shape } = touched.tensor;
	const rows = shape[0] ?? 1;
	const rowBytes = rows === 0 ? 0 : fused.byteLength / rows;
	const step = Math.max(1, touched.blockRows);
	for (let from = 0; from < rows; from += step) {
		const to = Math.min(rows, from + step);
		const delta = await touched.delta(from, to);
		for (let i = 0; i < delta.length; i++) delta[i] = -(delta[i] ?? 0);
		kernel().addRounded(writable(dtype), fused.subarray(from * rowBytes, to * rowBytes), delta);
	}
}

/** Bytes of an element, as `residual.ts` wants them. */
export function codeWidth(touched: TouchedTensor): CodeWidth {
	return widthOf(writable(touched.tensor.dtype)) ?? 8;
}

/** Bytes of an element of a type that can be fused; undefined for others. */
export function widthOf(dtype: DType): CodeWidth | undefined {
	if (dtype === 'F16' || dtype === 'BF16') return 2;
	if (dtype === 'F32') return 4;
	return dtype === 'F64' ? 8 : undefined;
}

function writable(dtype: DType): WritableFloat {
	if (dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64') return dtype;
	throw new TypeError(`${dtype} was fused`);
}
