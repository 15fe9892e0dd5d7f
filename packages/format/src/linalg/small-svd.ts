import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import type { Svd } from './low-rank.js';
import { largestMagnitude, powerScale, scaled, transposed } from './matrix-tools.js';
import { symmetricEigen } from './symmetric-eigen.js';
import { multiplyQ, qrOfTransposed } from './thin-qr.js';

/** Rows from which on Jacobi starts from the eigenvectors of the Gram matrix: two or three sweeps instead of ten. */
const PREPARED_FROM = 24;
/** Rows shorter than this (of a matrix whose largest element is about 1) count as zero. */
const NOTHING = 1e-140;

/**
 * Thin SVD of a dense matrix of any shape, by one-sided Jacobi: k = min(rows, cols) singular values, each to about
 * 1e-15 of the largest (small ones of a graded matrix often better), u and v orthonormal also where values are zero.
 *
 * @throws {FormatError} `E_NONFINITE`, naming `where`.
 */
export function smallSvd(a: Matrix, where = 'the matrix'): Svd {
	if (a.rows < a.cols) {
		const { u, s, v } = smallSvd(transposed(a), where);
		return { u: v, s, v: u };
	}
	const scale = powerScale(largestMagnitude(where, a.data));
	const columns = transposed({ ...a, data: scaled(a.data, scale) });
	const { left, values, right } = a.rows > a.cols * 1.25 ? throughQr(columns) : jacobi(columns.data, columns.rows, columns.cols);
	return {
		u: transposed(left),
		s: scaled(values, 1 / scale),
		v: transposed(right),
	};
}

interface RowSvd {
	/** Left singular vectors, one to a row. */
	readonly left: Matrix;
	readonly values: Float64Array;
	/** Right singular vectors, one to a row. */
	readonly right: Matrix;
}

/** SVD of a tall matrix, given as its columns, through its triangular factor. */
function throughQr(columns: Matrix): RowSvd {
	const n = columns.rows;
	const { q, r } = qrOfTransposed(columns);
	const core = jacobi(transposed(r).data, n, n);
	return { ...core, left: multiplyQ(q, core.left.data, n) };
}

/** SVD of a matrix (m, n), m >= n, given as its n columns of m numbers. */
function jacobi(columns: Float64Array, n: number, m: number): RowSvd {
	const turn = startVectors(columns, n, m);
	const start = turn === undefined ? columns : kernel().multiply(turn, columns, n, n, m);
	const width = m + n;
	const rows = new Float64Array(n * width);
	for (let i = 0; i < n; i++) {
		rows.set(start.subarray(i * m, (i + 1) * m), i * width);
		if (turn === undefined) rows[i * width + m + i] = 1;
		else rows.set(turn.subarray(i * n, (i + 1) * n), i * width + m);
	}
	kernel().dense.orthogonaliseRows(rows, n, width, m);
	const lengths = Float64Array.from({ length: n }, (_, i) => lengthOf(rows.subarray(i * width, i * width + m)));
	const order = Array.from(lengths, (_, i) => i).sort((p, q) => (lengths[q] ?? 0) - (lengths[p] ?? 0) || p - q);
	const left = new Float64Array(n * m);
	const right = new Float64Array(n * n);
	const values = new Float64Array(n);
	order.forEach((from, to) => {
		const at = from * width;
		const length = lengths[from] ?? 0;
		right.set(rows.subarray(at + m, at + width), to * n);
		if (length < NOTHING) {
			completeRow(left, to, m);
			return;
		}
		values[to] = length;
		for (let j = 0; j < m; j++) left[to * m + j] = (rows[at + j] ?? 0) / length;
	});
	return { left: { rows: n, cols: m, data: left }, values, right: { rows: n, cols: n, data: right } };
}

/** Eigenvectors of columns columns^T, one to a row: an orthogonal matrix that leaves little for Jacobi to do. */
function startVectors(columns: Float64Array, n: number, m: number): Float64Array | undefined {
	if (n < PREPARED_FROM) return undefined;
	return symmetricEigen(kernel().gramOfRows(columns, n, m), n).leading(n);
}

function lengthOf(x: Float64Array): number {
	let squares = 0;
	for (let i = 0; i < x.length; i++) squares += (x[i] as number) ** 2;
	return Math.sqrt(squares);
}

/** Fill row `index` with a unit vector orthogonal to all rows above it. */
function completeRow(rows: Float64Array, index: number, m: number): void {
	const row = rows.subarray(index * m, (index + 1) * m);
	for (let axis = 0; axis < m; axis++) {
		row.fill(0);
		row[(axis + index) % m] = 1;
		// Twice is enough (Kahan, Parlett).
		for (let pass = 0; pass < 2; pass++) {
			for (let k = 0; k < index; k++) {
				let along = 0;
				for (let j = 0; j < m; j++) along += (rows[k * m + j] as number) * (row[j] as number);
				for (let j = 0; j < m; j++) row[j] = (row[j] as number) - along * (rows[k * m + j] as number);
			}
		}
		const length = lengthOf(row);
		// Some axis keeps at least 1 / sqrt(m) of its length.
		if (length < 0.5 / Math.sqrt(m)) continue;
		for (let j = 0; j < m; j++) row[j] = (row[j] as number) / length;
		return;
	}
}
