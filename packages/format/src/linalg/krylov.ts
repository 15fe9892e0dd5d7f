import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import { transposed } from './matrix-tools.js';
import { symmetricEigen } from './symmetric-eigen.js';
import { multiplyQ, qrOfTransposed } from './thin-qr.js';

/** Columns of a block beyond the wanted ones: they keep the last wanted one from being the slowest. */
const SPARE = 8;
/** The basis may grow to this share of the matrix: beyond, the whole is cheaper. */
const MOST_SHARE = 0.35;
/** Error allowed in a singular value, relative to the largest, as the residuals bound it. */
const TOLERANCE = 1e-12;

/**
 * The leading `count` left singular vectors of m (rows, cols), rows <= cols, one to a row, by block Lanczos on
 * m m^T. Undefined when they had not settled within about a third of the rows.
 */
export function krylovLeft(m: Matrix, count: number): Matrix | undefined {
	const n = m.rows;
	const g = kernel().gramOfRows(m.data, n, m.cols);
	const width = count + SPARE;
	const most = Math.floor((n * MOST_SHARE) / width) * width;
	if (most < 2 * width) return undefined;
	const basis = new Float64Array(most * n);
	const projected = new Float64Array(most * most);
	let block = orthonormalRows({ rows: width, cols: n, data: noise(width * n) }).rows;
	for (let used = 0; used < most; used += width) {
		basis.set(block.data, used * n);
		const size = used + width;
		const next: Matrix = { rows: width, cols: n, data: kernel().multiply(block.data, g, width, n, n) };
		// First pass: what it has in common with the basis is the new rows of the projected matrix.
		const common = removeBasis(next, basis, size);
		for (let i = 0; i < width; i++) projected.set(common.subarray(i * size, (i + 1) * size), (used + i) * most);
		removeBasis(next, basis, size);
		const { rows, r } = orthonormalRows(next);
		if (size >= 3 * width || size === most) {
			const found = settled(projected, most, size, width, count, r);
			if (found !== undefined) {
				return { rows: count, cols: n, data: kernel().multiply(found, basis, count, size, n) };
			}
		}
		// Where rounding or an exhausted space left only noise, the rows must be cleaned once more.
		removeBasis(rows, basis, size);
		block = orthonormalRows(rows).rows;
	}
	return undefined;
}

/** Ritz vectors in terms of the basis, one to a row, when residuals say that the values are right. */
function settled(projected: Float64Array, ld: number, size: number, width: number, count: number, r: Matrix): Float64Array | undefined {
	const h = new Float64Array(size * size);
	for (let i = 0; i < size; i++) {
		// Rows of later blocks know their products with earlier ones: the lower triangle is the full one.
		for (let j = 0; j <= i; j++) {
			h[i * size + j] = projected[i * ld + j] as number;
			h[j * size + i] = projected[i * ld + j] as number;
		}
	}
	const eigen = symmetricEigen(h, size);
	const vectors = eigen.leading(count);
	const largest = eigen.values[0] ?? 0;
	const last = eigen.values[count - 1] ?? 0;
	const gap = last - (eigen.values[count] ?? 0);
	for (let i = 0; i < count; i++) {
		const residual = residualOf(r, vectors.subarray(i * size + size - width, (i + 1) * size));
		const value = Math.max(0, eigen.values[i] ?? 0);
		// An eigenvalue is off by at most the residual, and by its square over the distance to the unwanted ones.
		const error = Math.min(residual, (residual * residual) / Math.max(gap, Number.MIN_VALUE));
		if (error > 2 * TOLERANCE * Math.sqrt(value * largest)) return undefined;
	}
	return vectors;
}

/** Length of what the next block would add to a Ritz vector: r times the vector's last part. */
function residualOf(r: Matrix, last: Float64Array): number {
	let squares = 0;
	for (let i = 0; i < r.rows; i++) {
		let sum = 0;
		for (let j = i; j < r.cols; j++) sum += (r.data[i * r.cols + j] as number) * (last[j] as number);
		squares += sum * sum;
	}
	return Math.sqrt(squares);
}

/** Take the parts along the first `size` rows of the basis out of x; they come back as (x.rows, size). */
function removeBasis(x: Matrix, basis: Float64Array, size: number): Float64Array {
	const part = basis.subarray(0, size * x.cols);
	const products = kernel().multiply(part, transposed(x).data, size, x.cols, x.rows);
	const common = transposed({ rows: size, cols: x.rows, data: products }).data;
	kernel().addProduct(x.data, common, part, x.rows, size, x.cols, -1);
	return common;
}

function orthonormalRows(x: Matrix): { readonly rows: Matrix; readonly r: Matrix } {
	const { q, r } = qrOfTransposed(x);
	const unit = new Float64Array(x.rows * x.rows);
	for (let i = 0; i < x.rows; i++) unit[i * x.rows + i] = 1;
	return { rows: multiplyQ(q, unit, x.rows), r };
}

/** The fixed start: numbers between -1 and 1 without order. */
function noise(count: number): Float64Array {
	let state = 0x2545f491;
	return Float64Array.from({ length: count }, () => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return state * 2 ** -31;
	});
}
