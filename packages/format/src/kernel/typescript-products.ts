/** Sum of one row before it is scaled and added; grown when a wider matrix comes. */
let rowSums = new Float64Array(4096);

/**
 * acc += scale * (up down), see `Kernel.addProduct`. Four terms of the sum are taken in one pass over a row, in the
 * promised order: ((((t + p0) + p1) + p2) + p3).
 */
export function addProduct(
	acc: Float64Array,
	up: Float64Array,
	down: Float64Array,
	rows: number,
	rank: number,
	cols: number,
	scale: number,
): void {
	if (rank === 0) return;
	if (rowSums.length < cols) rowSums = new Float64Array(cols);
	const t = rowSums;
	for (let i = 0; i < rows; i++) {
		const at = i * cols;
		firstTerms(t, up, i * rank, down, Math.min(4, rank), cols);
		let k = 4;
		for (; k + 4 <= rank; k += 4) {
			const u = i * rank + k;
			const [u0, u1, u2, u3] = [up[u] as number, up[u + 1] as number, up[u + 2] as number, up[u + 3] as number];
			const d0 = k * cols;
			const d1 = d0 + cols;
			const d2 = d1 + cols;
			const d3 = d2 + cols;
			for (let j = 0; j < cols; j++) {
				t[j] =
					(t[j] as number) +
					u0 * (down[d0 + j] as number) +
					u1 * (down[d1 + j] as number) +
					u2 * (down[d2 + j] as number) +
					u3 * (down[d3 + j] as number);
			}
		}
		for (; k < rank; k++) {
			const x = up[i * rank + k] as number;
			const d = k * cols;
			for (let j = 0; j < cols; j++) t[j] = (t[j] as number) + x * (down[d + j] as number);
		}
		for (let j = 0; j < cols; j++) acc[at + j] = (acc[at + j] as number) + scale * (t[j] as number);
	}
}

/** t = the first `n` (1 to 4) terms of the sum. */
function firstTerms(t: Float64Array, up: Float64Array, u: number, down: Float64Array, n: number, cols: number): void {
	const [u0, u1, u2, u3] = [up[u] as number, up[u + 1] as number, up[u + 2] as number, up[u + 3] as number];
	const d2 = 2 * cols;
	const d3 = 3 * cols;
	if (n === 1) for (let j = 0; j < cols; j++) t[j] = u0 * (down[j] as number);
	else if (n === 2) for (let j = 0; j < cols; j++) t[j] = u0 * (down[j] as number) + u1 * (down[cols + j] as number);
	else if (n === 3) {
		for (let j = 0; j < cols; j++) {
			t[j] = u0 * (down[j] as number) + u1 * (down[cols + j] as number) + u2 * (down[d2 + j] as number);
		}
	} else {
		for (let j = 0; j < cols; j++) {
			t[j] = u0 * (down[j] as number) + u1 * (down[cols + j] as number) + u2 * (down[d2 + j] as number) + u3 * (down[d3 + j] as number);
		}
	}
}

/** a b, see `Kernel.multiply`. */
export function multiply(a: Float64Array, b: Float64Array, rows: number, inner: number, cols: number): Float64Array {
	const out = new Float64Array(rows * cols);
	addProduct(out, a, b, rows, inner, cols, 1);
	return out;
}

/** a^T a, see `Kernel.gram`: four rows of `a` at a time are added to the upper triangle. */
export function gram(a: Float64Array, rows: number, cols: number): Float64Array {
	const out = new Float64Array(cols * cols);
	let row = 0;
	for (; row + 4 <= rows; row += 4) {
		const a0 = row * cols;
		const a1 = a0 + cols;
		const a2 = a1 + cols;
		const a3 = a2 + cols;
		for (let i = 0; i < cols; i++) {
			const [x0, x1, x2, x3] = [a[a0 + i] as number, a[a1 + i] as number, a[a2 + i] as number, a[a3 + i] as number];
			const at = i * cols;
			for (let j = i; j < cols; j++) {
				out[at + j] =
					(out[at + j] as number) +
					(x0 * (a[a0 + j] as number) + x1 * (a[a1 + j] as number) + (x2 * (a[a2 + j] as number) + x3 * (a[a3 + j] as number)));
			}
		}
	}
	for (; row < rows; row++) {
		const a0 = row * cols;
		for (let i = 0; i < cols; i++) {
			const x = a[a0 + i] as number;
			for (let j = i; j < cols; j++) out[i * cols + j] = (out[i * cols + j] as number) + x * (a[a0 + j] as number);
		}
	}
	for (let i = 0; i < cols; i++) for (let j = 0; j < i; j++) out[i * cols + j] = out[j * cols + i] as number;
	return out;
}

/** a a^T, see `Kernel.gramOfRows`: two by two rows at a time. */
export function gramOfRows(a: Float64Array, rows: number, cols: number): Float64Array {
	const out = new Float64Array(rows * rows);
	for (let i = 0; i < rows; i += 2) {
		const a0 = i * cols;
		const a1 = i + 1 < rows ? a0 + cols : a0;
		for (let j = i; j < rows; j += 2) {
			const b0 = j * cols;
			const b1 = j + 1 < rows ? b0 + cols : b0;
			let [s00, s01, s10, s11] = [0, 0, 0, 0];
			for (let k = 0; k < cols; k++) {
				const x0 = a[a0 + k] as number;
				const x1 = a[a1 + k] as number;
				const y0 = a[b0 + k] as number;
				const y1 = a[b1 + k] as number;
				s00 += x0 * y0;
				s01 += x0 * y1;
				s10 += x1 * y0;
				s11 += x1 * y1;
			}
			out[i * rows + j] = s00;
			if (j + 1 < rows) out[i * rows + j + 1] = s01;
			if (i + 1 < rows) out[(i + 1) * rows + j] = s10;
			if (i + 1 < rows && j + 1 < rows) out[(i + 1) * rows + j + 1] = s11;
		}
	}
	for (let i = 0; i < rows; i++) for (let j = 0; j < i; j++) out[i * rows + j] = out[j * rows + i] as number;
	return out;
}
