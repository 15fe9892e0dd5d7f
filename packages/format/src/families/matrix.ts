import { FormatError } from '../errors.js';
import { kernel } from '../kernel/index.js';
import { MAX_COMPUTED_TENSOR_BYTES } from '../limits.js';
import { shapeError, type Values } from './delta.js';

/** A matrix of doubles, row by row. */
export interface Matrix {
	readonly rows: number;
	readonly cols: number;
	readonly data: Float64Array;
}

/** Zeros. @throws {FormatError} `E_LIMIT` when that many doubles would not fit the limit for computed tensors. */
export function allocate(where: string, count: number): Float64Array {
	if (!Number.isSafeInteger(count) || count * 8 > MAX_COMPUTED_TENSOR_BYTES) {
		throw new FormatError(
			'E_LIMIT',
			`${where} makes an array of ${count} doubles; at most ${MAX_COMPUTED_TENSOR_BYTES} bytes are computed in memory.`,
		);
	}
	return new Float64Array(count);
}

/** Product of some dimensions; 1 for none. */
export function product(dims: readonly number[]): number {
	let n = 1;
	for (const d of dims) n *= d;
	return n;
}

/** First axis against all others: `flatten(1)`. Nothing is copied. */
export function flat(values: Values): Matrix {
	const rows = values.shape[0] ?? 1;
	const cols = product(values.shape.slice(1));
	return { rows, cols, data: values.data };
}

/** a b, times `scale` after the sum. @throws {FormatError} `E_LORA_SHAPE` when the inner dimensions differ, `E_LIMIT`. */
export function multiply(where: string, a: Matrix, b: Matrix, scale = 1): Matrix {
	if (a.cols !== b.rows) throw shapeError(where, `a (${a.rows}, ${a.cols}) matrix cannot multiply a (${b.rows}, ${b.cols}) one.`);
	const { rows, cols: inner } = a;
	const { cols } = b;
	const out = allocate(where, rows * cols);
	// The sum over k in ascending order, then the scale: the same bits in every kernel.
	kernel().addProduct(out, a.data, b.data, rows, inner, cols, scale);
	return { rows, cols, data: out };
}

/** Multiply every element. Returns its argument. */
export function scaleInPlace(data: Float64Array, scale: number): Float64Array {
	if (scale !== 1) for (let i = 0; i < data.length; i++) data[i] = (data[i] ?? 0) * scale;
	return data;
}

/** a + b. @throws {FormatError} `E_LORA_SHAPE`. */
export function add(where: string, a: Float64Array, b: Float64Array): Float64Array {
	sameLength(where, a, b);
	const out = allocate(where, a.length);
	for (let i = 0; i < a.length; i++) out[i] = (a[i] ?? 0) + (b[i] ?? 0);
	return out;
}

/** a - b. @throws {FormatError} `E_LORA_SHAPE`. */
export function subtract(where: string, a: Float64Array, b: Float64Array): Float64Array {
	sameLength(where, a, b);
	const out = allocate(where, a.length);
	for (let i = 0; i < a.length; i++) out[i] = (a[i] ?? 0) - (b[i] ?? 0);
	return out;
}

function sameLength(where: string, a: Float64Array, b: Float64Array): void {
	if (a.length !== b.length) throw shapeError(where, `${a.length} values cannot meet ${b.length}; adapter and base do not fit.`);
}

/** Rows and columns exchanged. */
export function transpose(where: string, m: Matrix): Matrix {
	const out = allocate(where, m.data.length);
	for (let i = 0; i < m.rows; i++) for (let j = 0; j < m.cols; j++) out[j * m.rows + i] = m.data[i * m.cols + j] ?? 0;
	return { rows: m.cols, cols: m.rows, data: out };
}

/** Identity plus `sign` times a square block. */
export function identityPlus(block: Matrix, sign: number): Matrix {
	const data = Float64Array.from(block.data, (x) => sign * x);
	for (let i = 0; i < block.rows; i++) data[i * block.cols + i] = (data[i * block.cols + i] ?? 0) + 1;
	return { rows: block.rows, cols: block.cols, data };
}

/** X with a X = b, by elimination with row pivots. @throws {FormatError} `E_LORA_SHAPE` when `a` is singular. */
export function solve(where: string, a: Matrix, b: Matrix): Matrix {
	const n = a.rows;
	if (a.cols !== n || b.rows !== n) throw shapeError(where, `a (${a.rows}, ${a.cols}) system does not fit (${b.rows}, ${b.cols}).`);
	const { cols } = b;
	const left = a.data.slice();
	const right = b.data.slice();
	for (let col = 0; col < n; col++) {
		let pivot = col;
		for (let row = col + 1; row < n; row++) {
			if (Math.abs(left[row * n + col] ?? 0) > Math.abs(left[pivot * n + col] ?? 0)) pivot = row;
		}
		const head = left[pivot * n + col] ?? 0;
		if (!(Math.abs(head) > 0)) throw shapeError(where, 'its rotation has no inverse (values are not finite or not skew).');
		if (pivot !== col) {
			swapRows(left, n, pivot, col);
			swapRows(right, cols, pivot, col);
		}
		for (let row = col + 1; row < n; row++) {
			const f = (left[row * n + col] ?? 0) / head;
			if (f === 0) continue;
			for (let j = col; j < n; j++) left[row * n + j] = (left[row * n + j] ?? 0) - f * (left[col * n + j] ?? 0);
			for (let j = 0; j < cols; j++) right[row * cols + j] = (right[row * cols + j] ?? 0) - f * (right[col * cols + j] ?? 0);
		}
	}
	for (let row = n - 1; row >= 0; row--) {
		const d = left[row * n + row] ?? 1;
		for (let j = 0; j < cols; j++) {
			let x = right[row * cols + j] ?? 0;
			for (let k = row + 1; k < n; k++) x -= (left[row * n + k] ?? 0) * (right[k * cols + j] ?? 0);
			right[row * cols + j] = x / d;
		}
	}
	return { rows: n, cols, data: right };
}

function swapRows(data: Float64Array, cols: number, a: number, b: number): void {
	for (let j = 0; j < cols; j++) {
		const x = data[a * cols + j] ?? 0;
		data[a * cols + j] = data[b * cols + j] ?? 0;
		data[b * cols + j] = x;
	}
}
