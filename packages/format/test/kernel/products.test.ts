import { beforeAll, describe, expect, it } from 'vitest';
import { useKernel } from '../../src/kernel/index.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { randomDoubles } from './random.js';

const kernels: Kernel[] = [];

beforeAll(async () => {
	kernels.push(await useKernel('typescript'), await useKernel('wasm-simd'));
});

function expectClose(got: Float64Array, want: Float64Array, tolerance: number): void {
	expect(got.length).toBe(want.length);
	let worst = 0;
	for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs((got[i] ?? 0) - (want[i] ?? 0)));
	expect(worst).toBeLessThanOrEqual(tolerance);
}

/** Sums over `inner` of a(i, k) b(k, j). */
function naive(rows: number, inner: number, cols: number, a: (i: number, k: number) => number, b: (k: number, j: number) => number) {
	const out = new Float64Array(rows * cols);
	for (let i = 0; i < rows; i++) {
		for (let j = 0; j < cols; j++) {
			let sum = 0;
			for (let k = 0; k < inner; k++) sum += a(i, k) * b(k, j);
			out[i * cols + j] = sum;
		}
	}
	return out;
}

describe.each([
	[1, 1],
	[3, 2],
	[5, 7],
	[129, 6],
	[260, 9],
	[7, 300],
	[4, 1],
])('(%i, %i)', (rows, cols) => {
	const a = randomDoubles(rows * 1000 + cols, rows * cols);
	const at = (i: number, j: number) => a[i * cols + j] ?? 0;

	it('gram is a^T a', () => {
		const want = naive(cols, rows, cols, (i, k) => at(k, i), at);
		for (const kernel of kernels) expectClose(kernel.gram(a, rows, cols), want, 1e-12);
	});

	it('gramOfRows is a a^T', () => {
		const want = naive(rows, cols, rows, at, (k, j) => at(j, k));
		for (const kernel of kernels) expectClose(kernel.gramOfRows(a, rows, cols), want, 1e-12);
	});

	it('multiply is a b', () => {
		const b = randomDoubles(9, cols * 5);
		const want = naive(rows, cols, 5, at, (k, j) => b[k * 5 + j] ?? 0);
		for (const kernel of kernels) expectClose(kernel.multiply(a, b, rows, cols, 5), want, 1e-12);
	});
});

it('is symmetric to the last bit', () => {
	const a = randomDoubles(77, 50 * 11);
	for (const kernel of kernels) {
		const g = kernel.gram(a, 50, 11);
		for (let i = 0; i < 11; i++) for (let j = 0; j < i; j++) expect(g[i * 11 + j]).toBe(g[j * 11 + i]);
	}
});
