import { decodeFloats, type WritableFloat } from '../half.js';
import type { Kernel, RoundingTally } from './kernel.js';
import { typescriptKernel } from './typescript-kernel.js';
import { wasmDense } from './wasm-dense.js';
import { type Arena, openArena, type WasmExports } from './wasm-memory.js';

/** Doubles of `acc` that one call adds to: with its share of `up` they fit the second cache. */
const ACC_DOUBLES = 32_768;
/** Doubles of `down` held at once; wider products are done by columns. */
const DOWN_DOUBLES = 2_097_152;
/** Fewer columns at a time than this and the copying costs more than the arithmetic. */
const MIN_COLUMNS = 32;
/** Elements rounded or decoded at a time. */
const ELEMENTS = 16_384;
/** Rows (or columns) of a Gram matrix's source that are summed at a time. */
const DEPTH = 128;
/** Widest Gram matrix kept in the kernel's memory, in doubles. */
const GRAM_DOUBLES = 2_097_152;

/**
 * The SIMD kernel.
 * @throws what WebAssembly throws where it, or its SIMD, is missing or not allowed.
 */
export async function createWasmKernel(): Promise<Kernel> {
	const arena = await openArena();
	const { exports } = arena;
	return {
		id: 'wasm-simd',
		dense: wasmDense(arena),
		addProduct: (acc, up, down, rows, rank, cols, scale) => addProduct(arena, acc, up, down, rows, rank, cols, scale, true),
		multiply: (a, b, rows, inner, cols) => {
			const out = new Float64Array(rows * cols);
			addProduct(arena, out, a, b, rows, inner, cols, 1, false);
			return out;
		},
		gram: (a, rows, cols) => gram(arena, a, rows, cols),
		gramOfRows: (a, rows, cols) => gramOfRows(arena, a, rows, cols),
		addRounded: (dtype, bytes, delta) => addRounded(arena, exports, dtype, bytes, delta),
		decode: (dtype, bytes) => decode(arena, exports, dtype, bytes),
	};
}

function addProduct(
	arena: Arena,
	acc: Float64Array,
	up: Float64Array,
	down: Float64Array,
	rows: number,
	rank: number,
	cols: number,
	scale: number,
	keep: boolean,
): void {
	if (rank === 0 || rows === 0 || cols === 0) return;
	const width = Math.min(cols, Math.floor(DOWN_DOUBLES / rank / 2) * 2);
	if (width < Math.min(cols, MIN_COLUMNS)) {
		typescriptKernel.addProduct(acc, up, down, rows, rank, cols, scale);
		return;
	}
	const { doubles, exports } = arena;
	const height = Math.max(2, Math.min(Math.floor(ACC_DOUBLES / width), Math.floor(DOWN_DOUBLES / rank)) & ~1);
	// Even numbers of doubles, so that every part starts at a multiple of 16 bytes.
	const downAt = arena.first;
	const upAt = downAt + DOWN_DOUBLES;
	const accAt = upAt + DOWN_DOUBLES + 2;
	for (let left = 0; left < cols; left += width) {
		const w = Math.min(width, cols - left);
		if (w === cols) doubles.set(down.length === rank * cols ? down : down.subarray(0, rank * cols), downAt);
		else for (let k = 0; k < rank; k++) doubles.set(down.subarray(k * cols + left, k * cols + left + w), downAt + k * w);
		for (let top = 0; top < rows; top += height) {
			const h = Math.min(height, rows - top);
			doubles.set(up.subarray(top * rank, (top + h) * rank), upAt);
			if (!keep) doubles.fill(0, accAt, accAt + h * w);
			else if (w === cols) doubles.set(acc.subarray(top * cols, (top + h) * cols), accAt);
			else for (let i = 0; i < h; i++) doubles.set(acc.subarray((top + i) * cols + left, (top + i) * cols + left + w), accAt + i * w);
			exports.addProduct(accAt * 8, upAt * 8, downAt * 8, h, rank, w, scale);
			if (w === cols) acc.set(doubles.subarray(accAt, accAt + h * w), top * cols);
			else for (let i = 0; i < h; i++) acc.set(doubles.subarray(accAt + i * w, accAt + (i + 1) * w), (top + i) * cols + left);
		}
	}
}

function gram(arena: Arena, a: Float64Array, rows: number, cols: number): Float64Array {
	const side = (cols + 3) & ~3;
	if (side * side > GRAM_DOUBLES) return largeGram(arena, turned(a, rows, cols), a, cols, rows);
	const { doubles, exports } = arena;
	const sumsAt = arena.first;
	const panelsAt = sumsAt + side * side;
	const sourceAt = panelsAt + (side / 4) * (DEPTH * 4 + 8);
	doubles.fill(0, sumsAt, panelsAt);
	for (let top = 0; top < rows; top += DEPTH) {
		const depth = Math.min(DEPTH, rows - top);
		doubles.set(a.subarray(top * cols, (top + depth) * cols), sourceAt);
		exports.packColumns(sourceAt * 8, panelsAt * 8, depth, cols);
		exports.addGram(panelsAt * 8, depth, cols, sumsAt * 8, side * 8);
	}
	return takeSums(arena, sumsAt, side, cols);
}

function gramOfRows(arena: Arena, a: Float64Array, rows: number, cols: number): Float64Array {
	const side = (rows + 3) & ~3;
	// Columns that are held at once.
	const width = Math.min(cols, Math.floor(GRAM_DOUBLES / rows / DEPTH) * DEPTH);
	if (side * side > GRAM_DOUBLES || width === 0) return largeGram(arena, a, turned(a, rows, cols), rows, cols);
	const { doubles, exports } = arena;
	const sumsAt = arena.first;
	const panelsAt = sumsAt + side * side;
	const sourceAt = panelsAt + (side / 4) * (DEPTH * 4 + 8);
	doubles.fill(0, sumsAt, panelsAt);
	for (let left = 0; left < cols; left += width) {
		const w = Math.min(width, cols - left);
		if (w === cols) doubles.set(a.subarray(0, rows * cols), sourceAt);
		else for (let i = 0; i < rows; i++) doubles.set(a.subarray(i * cols + left, i * cols + left + w), sourceAt + i * w);
		for (let from = 0; from < w; from += DEPTH) {
			const depth = Math.min(DEPTH, w - from);
			exports.packRows((sourceAt + from) * 8, panelsAt * 8, rows, depth, w * 8);
			exports.addGram(panelsAt * 8, depth, rows, sumsAt * 8, side * 8);
		}
	}
	return takeSums(arena, sumsAt, side, rows);
}

/** A Gram matrix that is too large to be summed in the kernel's memory, as a product of parts. */
function largeGram(arena: Arena, a: Float64Array, b: Float64Array, n: number, inner: number): Float64Array {
	const out = new Float64Array(n * n);
	addProduct(arena, out, a, b, n, inner, n, 1, false);
	// The same sums in the same order on both sides of the diagonal, and multiplication commutes: symmetric to the last bit.
	return out;
}

function turned(a: Float64Array, rows: number, cols: number): Float64Array {
	const out = new Float64Array(rows * cols);
	for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = a[i * cols + j] as number;
	return out;
}

function takeSums({ doubles, exports }: Arena, at: number, side: number, n: number): Float64Array {
	exports.mirror(at * 8, side, side * 8);
	if (side === n) return doubles.slice(at, at + n * n);
	const out = new Float64Array(n * n);
	for (let i = 0; i < n; i++) out.set(doubles.subarray(at + i * side, at + i * side + n), i * n);
	return out;
}

function addRounded(arena: Arena, exports: WasmExports, dtype: WritableFloat, bytes: Uint8Array, delta: Float64Array): RoundingTally {
	const size = dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : 2;
	if (bytes.byteLength !== delta.length * size) {
		throw new RangeError(`${bytes.byteLength} bytes of ${dtype} do not fit ${delta.length} deltas`);
	}
	const add = dtype === 'F64' ? exports.addF64 : dtype === 'F32' ? exports.addF32 : dtype === 'F16' ? exports.addF16 : exports.addBF16;
	const deltaAt = arena.first;
	const bytesAt = (deltaAt + ELEMENTS) * 8;
	let overflowed = 0;
	let nonFinite = 0;
	for (let start = 0; start < delta.length; start += ELEMENTS) {
		const n = Math.min(ELEMENTS, delta.length - start);
		const part = bytes.subarray(start * size, (start + n) * size);
		arena.doubles.set(delta.subarray(start, start + n), deltaAt);
		arena.bytes.set(part, bytesAt);
		add(bytesAt, deltaAt * 8, n);
		part.set(arena.bytes.subarray(bytesAt, bytesAt + n * size));
		overflowed += exports.countOverflowed();
		nonFinite += exports.countNonFinite();
	}
	return { overflowed, nonFinite };
}

function decode(arena: Arena, exports: WasmExports, dtype: WritableFloat, bytes: Uint8Array): Float64Array {
	if (dtype !== 'F16' || bytes.byteLength % 2 !== 0) return decodeFloats(dtype, bytes);
	const count = bytes.byteLength / 2;
	const out = new Float64Array(count);
	const toAt = arena.first;
	const fromAt = (toAt + ELEMENTS) * 8;
	for (let start = 0; start < count; start += ELEMENTS) {
		const n = Math.min(ELEMENTS, count - start);
		arena.bytes.set(bytes.subarray(start * 2, (start + n) * 2), fromAt);
		exports.decodeF16(fromAt, toAt * 8, n);
		out.set(arena.doubles.subarray(toAt, toAt + n), start);
	}
	return out;
}
