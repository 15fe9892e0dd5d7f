import { FormatError, kernel, numel, quote, type Tensor } from '@lorakit/format';
import type { WeightPlace } from './weights.js';

/** Element types that base models are computed from. */
const FLOATS = ['F16', 'BF16', 'F32', 'F64'] as const;
type WeightDType = (typeof FLOATS)[number];
/** Bytes that are read and widened at a time; a whole number of elements of any type. */
const PIECE_BYTES = 4 * 1024 * 1024;
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** True for the element types that `readWeight` can widen. */
export function isWeightDType(dtype: string): dtype is WeightDType {
	return FLOATS.some((float) => float === dtype);
}

/**
 * The values of a weight as float32 in diffusers' shape, in memory of their own: exact for F16, BF16 and F32, rounded to
 * nearest for F64. Only its own bytes are read, in pieces.
 *
 * @throws {FormatError} `E_NONFINITE` for NaN or infinity, `E_UNSUPPORTED_DTYPE`, and those of the source.
 */
export async function readWeight(place: WeightPlace): Promise<Float32Array> {
	const { tensor, rows, transposed, shape } = place;
	const { dtype } = tensor;
	if (!isWeightDType(dtype)) {
		throw new FormatError(
			'E_UNSUPPORTED_DTYPE',
			`${labelOf(place)} has dtype ${dtype}; a base model has F32, F16 or BF16 weights: convert it first.`,
			{ at: place.name },
		);
	}
	const rowElements = numel(tensor.shape.slice(1)) ?? 0;
	const [from, count] = rows ?? [0, tensor.shape[0] ?? 1];
	const total = tensor.shape.length === 0 ? 1 : rowElements * count;
	const size = tensor.nbytes / Math.max(1, numel(tensor.shape) ?? 1);
	const out = new Float32Array(total);
	let done = 0;
	for await (const bytes of pieces(tensor, from * rowElements * size, total * size)) {
		const bad = widen(dtype, bytes, out, done);
		if (bad >= 0) {
			throw new FormatError(
				'E_NONFINITE',
				`${labelOf(place)} holds ${String(out[bad])} at element ${bad}; every picture would be NaN: fetch the base again, or take another.`,
				{ at: place.name },
			);
		}
		done += bytes.byteLength / size;
	}
	return transposed === true ? transpose(out, shape) : out;
}

async function* pieces(tensor: Tensor, from: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
	if (tensor.range === undefined) {
		yield (await tensor.read()).subarray(from, from + length);
		return;
	}
	const { source, offset } = tensor.range;
	for (let done = 0; done < length; done += PIECE_BYTES) {
		yield await source.read(offset + from + done, Math.min(PIECE_BYTES, length - done));
	}
}

/** float32 bit patterns of all 65,536 halves. */
let halves: Uint32Array | undefined;

function halfTable(): Uint32Array {
	if (halves === undefined) {
		const all = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);
		halves = new Uint32Array(Float32Array.from(kernel().decode('F16', new Uint8Array(all.buffer))).buffer);
	}
	return halves;
}

/** Widen into `out` from element `at`; the first element that is not finite, or -1. */
function widen(dtype: WeightDType, bytes: Uint8Array, out: Float32Array, at: number): number {
	if (dtype === 'F64' || !LITTLE_ENDIAN) {
		const values = kernel().decode(dtype, bytes);
		out.set(values, at);
		return firstNonFinite(out, at, values.length);
	}
	if (dtype === 'F32') {
		new Uint8Array(out.buffer, at * 4).set(bytes);
		return firstNonFinite(out, at, bytes.byteLength / 4);
	}
	const count = bytes.byteLength / 2;
	const words =
		bytes.byteOffset % 2 === 0 ? new Uint16Array(bytes.buffer, bytes.byteOffset, count) : new Uint16Array(new Uint8Array(bytes).buffer);
	const target = new Uint32Array(out.buffer, at * 4, count);
	if (dtype === 'F16') {
		const table = halfTable();
		for (let i = 0; i < count; i++) target[i] = table[words[i] ?? 0] ?? 0;
	} else for (let i = 0; i < count; i++) target[i] = (words[i] ?? 0) << 16;
	return firstNonFinite(out, at, count);
}

/** By the exponent bits, which is faster than by value. */
function firstNonFinite(out: Float32Array, at: number, count: number): number {
	const bits = new Uint32Array(out.buffer, at * 4, count);
	for (let i = 0; i < count; i++) if (((bits[i] ?? 0) & 0x7f800000) === 0x7f800000) return at + i;
	return -1;
}

function transpose(values: Float32Array, shape: readonly number[]): Float32Array {
	const [rows = 0, columns = 0] = shape;
	const out = new Float32Array(values.length);
	for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r * columns + c] = values[c * rows + r] ?? 0;
	return out;
}

function labelOf({ file, name }: WeightPlace): string {
	return quote(`${file}:${name}`);
}
