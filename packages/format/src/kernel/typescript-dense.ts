import { type DenseKernel, jacobiTolerance, MAX_JACOBI_SWEEPS, type Reflections, type Tridiagonal } from './dense-kernel.js';
import { multiply } from './typescript-products.js';

/** Plain loops. */
export const typescriptDense: DenseKernel = { cholesky, sandwich, tridiagonalise, qrOfRows, reflectRows, rotateRows, orthogonaliseRows };

function cholesky(a: Float64Array, n: number): { readonly r: Float64Array; readonly quality: number } {
	const r = a.slice(0, n * n);
	let quality = 1;
	for (let k = 0; k < n; k++) {
		const at = k * n;
		const pivot = r[at + k] as number;
		const ratio = pivot / (a[at + k] as number);
		if (!(ratio > 0) || !(pivot > 0)) return { r, quality: 0 };
		quality = Math.min(quality, ratio);
		const f = 1 / Math.sqrt(pivot);
		r.fill(0, at, at + k);
		for (let j = k; j < n; j++) r[at + j] = (r[at + j] as number) * f;
		for (let i = k + 1; i < n; i++) {
			const x = r[at + i] as number;
			for (let j = i; j < n; j++) r[i * n + j] = (r[i * n + j] as number) - x * (r[at + j] as number);
		}
	}
	return { r, quality };
}

function sandwich(r: Float64Array, g: Float64Array, n: number): Float64Array {
	const turned = new Float64Array(n * n);
	for (let i = 0; i < n; i++) for (let j = i; j < n; j++) turned[j * n + i] = r[i * n + j] as number;
	return multiply(multiply(r, g, n, n, n), turned, n, n, n);
}

function tridiagonalise(input: Float64Array, n: number): Tridiagonal {
	const a = input.slice(0, n * n);
	const diagonal = new Float64Array(n);
	const offDiagonal = new Float64Array(n);
	const factors = new Float64Array(n);
	const v = new Float64Array(n);
	const w = new Float64Array(n);
	for (let k = 0; k < n; k++) {
		const row = k * n;
		diagonal[k] = a[row + k] as number;
		if (k === n - 1) break;
		let squares = 0;
		for (let j = k + 2; j < n; j++) squares += (a[row + j] as number) ** 2;
		const head = a[row + k + 1] as number;
		offDiagonal[k] = head;
		a[row + k + 1] = 1;
		if (!(squares > 0)) continue;
		const beta = head > 0 ? -Math.sqrt(head * head + squares) : Math.sqrt(head * head + squares);
		const factor = (beta - head) / beta;
		offDiagonal[k] = beta;
		factors[k] = factor;
		for (let j = k + 2; j < n; j++) a[row + j] = (a[row + j] as number) / (head - beta);
		for (let j = k + 1; j < n; j++) {
			v[j] = a[row + j] as number;
			w[j] = 0;
		}
		for (let i = k + 1; i < n; i++) {
			const x = v[i] as number;
			let sum = (a[i * n + i] as number) * x;
			for (let j = i + 1; j < n; j++) {
				const y = a[i * n + j] as number;
				sum += y * (v[j] as number);
				w[j] = (w[j] as number) + y * x;
			}
			w[i] = (w[i] as number) + sum;
		}
		let along = 0;
		for (let j = k + 1; j < n; j++) along += (w[j] as number) * (v[j] as number);
		const half = factor * factor * along * 0.5;
		for (let j = k + 1; j < n; j++) w[j] = factor * (w[j] as number) - half * (v[j] as number);
		for (let i = k + 1; i < n; i++) {
			const [x, y] = [v[i] as number, w[i] as number];
			for (let j = i; j < n; j++) a[i * n + j] = (a[i * n + j] as number) - (x * (w[j] as number) + y * (v[j] as number));
		}
	}
	return { n, diagonal, offDiagonal, q: { vectors: a, cols: n, shift: 1, factors: factors.subarray(0, Math.max(0, n - 2)) } };
}

function reflect(vectors: Float64Array, v: number, z: Float64Array, at: number, from: number, cols: number, factor: number): void {
	let along = 0;
	for (let j = from; j < cols; j++) along += (vectors[v + j] as number) * (z[at + j] as number);
	const f = factor * along;
	for (let j = from; j < cols; j++) z[at + j] = (z[at + j] as number) - f * (vectors[v + j] as number);
}

function qrOfRows(input: Float64Array, rows: number, cols: number): { readonly q: Reflections; readonly r: Float64Array } {
	const a = input.slice(0, rows * cols);
	const steps = Math.min(rows, cols);
	const factors = new Float64Array(steps);
	const diagonal = new Float64Array(steps);
	for (let k = 0; k < steps; k++) {
		const row = k * cols;
		const head = a[row + k] as number;
		let squares = 0;
		for (let j = k + 1; j < cols; j++) squares += (a[row + j] as number) ** 2;
		diagonal[k] = head;
		a[row + k] = 1;
		if (!(squares > 0)) continue;
		const beta = head > 0 ? -Math.sqrt(head * head + squares) : Math.sqrt(head * head + squares);
		const factor = (beta - head) / beta;
		diagonal[k] = beta;
		factors[k] = factor;
		for (let j = k + 1; j < cols; j++) a[row + j] = (a[row + j] as number) / (head - beta);
		for (let i = k + 1; i < rows; i++) reflect(a, row, a, i * cols, k, cols, factor);
	}
	return { q: { vectors: a, cols, shift: 0, factors }, r: upperFactor(a, rows, cols, diagonal) };
}

/** r from what `qrOfRows` leaves: column j in row j, left of its vector. */
export function upperFactor(a: Float64Array, rows: number, cols: number, diagonal: Float64Array): Float64Array {
	const steps = diagonal.length;
	const r = new Float64Array(steps * rows);
	for (let j = 0; j < rows; j++) {
		for (let k = 0; k < Math.min(j, steps); k++) r[k * rows + j] = a[j * cols + k] as number;
		if (j < steps) r[j * rows + j] = diagonal[j] as number;
	}
	return r;
}

function reflectRows({ vectors, cols, shift, factors }: Reflections, z: Float64Array, count: number): void {
	for (let k = factors.length - 1; k >= 0; k--) {
		const factor = factors[k] as number;
		if (factor === 0) continue;
		for (let i = 0; i < count; i++) reflect(vectors, k * cols, z, i * cols, k + shift, cols, factor);
	}
}

function turn(a: Float64Array, x: number, y: number, cols: number, c: number, s: number): void {
	for (let j = 0; j < cols; j++) {
		const p = a[x + j] as number;
		const q = a[y + j] as number;
		a[x + j] = c * p - s * q;
		a[y + j] = s * p + c * q;
	}
}

function rotateRows(z: Float64Array, cols: number, sweeps: readonly (readonly [from: number, count: number])[], pairs: Float64Array): void {
	let at = 0;
	for (const [from, count] of sweeps) {
		for (let k = 0; k < count; k++) {
			turn(z, (from - k) * cols, (from - k + 1) * cols, cols, pairs[at] as number, pairs[at + 1] as number);
			at += 2;
		}
	}
}

function dot(a: Float64Array, x: number, y: number, width: number): number {
	let sum = 0;
	for (let j = 0; j < width; j++) sum += (a[x + j] as number) * (a[y + j] as number);
	return sum;
}

function orthogonaliseRows(a: Float64Array, rows: number, cols: number, width: number): number {
	const tolerance = jacobiTolerance(width);
	const norms = new Float64Array(rows);
	for (let sweep = 1; sweep <= MAX_JACOBI_SWEEPS; sweep++) {
		let turned = 0;
		for (let p = 0; p < rows; p++) norms[p] = dot(a, p * cols, p * cols, width);
		for (let p = 0; p < rows - 1; p++) {
			for (let q = p + 1; q < rows; q++) {
				const gamma = dot(a, p * cols, q * cols, width);
				const [x, y] = [norms[p] as number, norms[q] as number];
				if (!(Math.abs(gamma) > tolerance * Math.sqrt(x) * Math.sqrt(y))) continue;
				turned++;
				const zeta = (y - x) / (2 * gamma);
				const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
				const c = 1 / Math.sqrt(1 + t * t);
				turn(a, p * cols, q * cols, cols, c, c * t);
				norms[p] = Math.max(0, x - t * gamma);
				norms[q] = y + t * gamma;
			}
		}
		if (turned === 0) return sweep;
	}
	return Number.POSITIVE_INFINITY;
}
