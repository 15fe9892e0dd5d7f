import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Matrix } from '../../src/families/matrix.js';
import type { Svd } from '../../src/linalg/low-rank.js';

/** A product whose singular values numpy computed; numbers as in fixtures/linalg/make.py. */
export interface ProductCase {
	readonly name: string;
	readonly out: number;
	readonly rank: number;
	readonly in: number;
	readonly step: number;
	readonly seed: number;
	readonly values: readonly number[];
}

export interface DenseCase {
	readonly name: string;
	readonly rows: number;
	readonly cols: number;
	readonly seed: number;
	/** At most the first 40. */
	readonly values: readonly number[];
}

export const FIXTURE = JSON.parse(readFileSync(new URL('../../../../fixtures/linalg/singular-values.json', import.meta.url), 'utf8')) as {
	readonly products: readonly ProductCase[];
	readonly dense: readonly DenseCase[];
};

/** The generator of fixtures/linalg/make.py. */
export function numbers(seed: number, count: number): Float64Array {
	let x = seed;
	return Float64Array.from({ length: count }, () => {
		x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
		return x / 2 ** 32 - 0.5;
	});
}

export function matrix(rows: number, cols: number, data: ArrayLike<number>): Matrix {
	return { rows, cols, data: Float64Array.from(data) };
}

export function randomMatrix(rows: number, cols: number, seed: number): Matrix {
	return { rows, cols, data: numbers(seed, rows * cols) };
}

export function factorsOf({ out, rank, in: inn, step, seed }: ProductCase): readonly [up: Matrix, down: Matrix] {
	const data = numbers(seed, out * rank + rank * inn);
	const up = data.slice(0, out * rank).map((x, i) => (step === 0 ? x : x * 2 ** -Math.floor((i % rank) / step)));
	return [
		{ rows: out, cols: rank, data: up },
		{ rows: rank, cols: inn, data: data.slice(out * rank) },
	];
}

export function naiveProduct(a: Matrix, b: Matrix): Matrix {
	const data = new Float64Array(a.rows * b.cols);
	for (let i = 0; i < a.rows; i++) {
		for (let k = 0; k < a.cols; k++) {
			const x = a.data[i * a.cols + k] ?? 0;
			for (let j = 0; j < b.cols; j++) data[i * b.cols + j] = (data[i * b.cols + j] ?? 0) + x * (b.data[k * b.cols + j] ?? 0);
		}
	}
	return { rows: a.rows, cols: b.cols, data };
}

export function flip({ rows, cols, data }: Matrix): Matrix {
	const out = new Float64Array(rows * cols);
	for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j] ?? 0;
	return { rows: cols, cols: rows, data: out };
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
	if (a.length !== b.length) return Number.NaN;
	let worst = 0;
	for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)));
	return worst;
}

/** Columns are orthonormal. */
export function expectOrthonormal(q: Matrix, tolerance = 1e-11): void {
	const unit = new Float64Array(q.cols * q.cols);
	for (let i = 0; i < q.cols; i++) unit[i * q.cols + i] = 1;
	expect(largestDifference(naiveProduct(flip(q), q).data, unit)).toBeLessThan(tolerance);
}

/** u diag(s) v^T. */
export function rebuild({ u, s, v }: Svd): Matrix {
	return naiveProduct({ ...u, data: u.data.map((x, i) => x * (s[i % s.length] ?? 0)) }, flip(v));
}

/** Orthonormal, descending, and u diag(s) v^T = a to `tolerance` of the largest value. */
export function expectSvd(svd: Svd, a: Matrix, tolerance = 1e-12): void {
	const k = Math.min(a.rows, a.cols);
	expect([svd.u.rows, svd.v.rows]).toEqual([a.rows, a.cols]);
	expect(svd.s.length).toBeLessThanOrEqual(k);
	for (let i = 1; i < svd.s.length; i++) expect(svd.s[i]).toBeLessThanOrEqual((svd.s[i - 1] ?? 0) * (1 + 1e-12));
	expectOrthonormal(svd.u);
	expectOrthonormal(svd.v);
	expect(largestDifference(rebuild(svd).data, a.data)).toBeLessThanOrEqual(tolerance * (svd.s[0] ?? 0));
}
