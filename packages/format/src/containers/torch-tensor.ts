import { numel } from '../dtype.js';
import { FormatError, quote } from '../errors.js';
import { MAX_COMPUTED_TENSOR_BYTES } from '../limits.js';
import { computedTensor, rangeTensor, type Tensor } from '../tensor.js';
import type { PyTensor } from './pickle-value.js';

/**
 * A lazy tensor for what the pickle describes. Contiguous ones over stored bytes are ranges, so that a writer
 * streams them; views with other strides are written out in C order when they are read.
 *
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` for types that safetensors has no name for, `E_SHAPE`.
 */
export function torchTensor(value: PyTensor, name: string): Tensor {
	const { dtype } = value.dtype;
	if (dtype === undefined) {
		throw new FormatError(
			'E_UNSUPPORTED_DTYPE',
			`Tensor ${quote(name)} has elements of type torch.${value.dtype.name}, which no weight file format here can hold; convert it in Python first.`,
			{ at: name },
		);
	}
	const last = value.size.length - 1;
	if (value.dtype.packed === 2 && last < 0) {
		throw new FormatError('E_UNSUPPORTED_DTYPE', `Tensor ${quote(name)} is a single pair of 4-bit numbers, which has no shape.`, {
			at: name,
		});
	}
	const shape = value.dtype.packed === 1 ? value.size : value.size.map((n, k) => (k === last ? n * 2 : n));
	const { storage } = value;
	const unit = value.dtype.bytes;
	const start = storage.start + value.offset * unit;
	const count = numel(value.size) ?? 0;
	if (count === 0) return computedTensor(dtype, shape, undefined, async () => new Uint8Array(0), name);
	if (isContiguous(value.size, value.stride)) {
		if (storage.backing.source !== undefined) return rangeTensor(dtype, shape, storage.backing.source, start, name);
		return computedTensor(dtype, shape, undefined, () => storage.backing.read(start, count * unit), name);
	}
	const span = value.size.reduce((sum, n, k) => sum + (n - 1) * (value.stride[k] ?? 0), 1) * unit;
	return computedTensor(
		dtype,
		shape,
		undefined,
		async () => {
			if (span > MAX_COMPUTED_TENSOR_BYTES) {
				throw new FormatError(
					'E_LIMIT',
					`Tensor ${quote(name)} is a view spread over ${span} bytes; at most ${MAX_COMPUTED_TENSOR_BYTES} are held in memory. Call .contiguous() before saving.`,
					{ at: name },
				);
			}
			return gather(await storage.backing.read(start, span), value.size, value.stride, unit, count);
		},
		name,
	);
}

/** Bytes of the tensor when written out. */
export function torchTensorBytes(value: PyTensor): number {
	return (numel(value.size) ?? 0) * value.dtype.bytes;
}

/** torch's rule: strides of dimensions of size 1 mean nothing. */
function isContiguous(size: readonly number[], stride: readonly number[]): boolean {
	let expected = 1;
	for (let k = size.length - 1; k >= 0; k--) {
		const n = size[k] ?? 0;
		if (n === 1) continue;
		if (stride[k] !== expected) return false;
		expected *= n;
	}
	return true;
}

/** Elements of `unit` bytes in C order. Moves bits, not numbers: NaN payloads stay. */
function gather(bytes: Uint8Array, size: readonly number[], stride: readonly number[], unit: number, count: number): Uint8Array {
	const words = WORDS.get(unit);
	const out = new Uint8Array(count * unit);
	// A copy of its own: aligned, and in a plain ArrayBuffer.
	const aligned = new Uint8Array(bytes);
	const from = words === undefined ? aligned : new words(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / unit));
	const to = words === undefined ? out : new words(out.buffer, 0, count);
	// 16-byte types are refused before; the rest is one word per element.
	const rank = size.length;
	const inner = size[rank - 1] ?? 1;
	const step = stride[rank - 1] ?? 0;
	const index = new Array<number>(rank).fill(0);
	let base = 0;
	for (let done = 0; done < count; done += inner) {
		for (let k = 0, at = base; k < inner; k++, at += step) to[done + k] = from[at] as never;
		for (let k = rank - 2; k >= 0; k--) {
			const n = size[k] ?? 1;
			const s = stride[k] ?? 0;
			index[k] = (index[k] ?? 0) + 1;
			base += s;
			if ((index[k] ?? 0) < n) break;
			base -= n * s;
			index[k] = 0;
		}
	}
	return out;
}

type Words = Uint8ArrayConstructor | Uint16ArrayConstructor | Uint32ArrayConstructor | BigUint64ArrayConstructor;

const WORDS: ReadonlyMap<number, Words> = new Map<number, Words>([
	[1, Uint8Array],
	[2, Uint16Array],
	[4, Uint32Array],
	[8, BigUint64Array],
]);
