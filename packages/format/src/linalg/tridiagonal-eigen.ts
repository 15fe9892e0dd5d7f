import { kernel } from '../kernel/index.js';

const EPSILON = 2.220446049250313e-16;
/** QL needs about 1.7 sweeps for each eigenvalue. */
const SWEEPS_PER_VALUE = 60;
/** Passes of inverse iteration for one vector. */
const MOST_PASSES = 6;

/** A tridiagonal matrix: `offDiagonal[i]` joins i and i + 1. */
export interface TridiagonalEntries {
	readonly diagonal: Float64Array;
	readonly offDiagonal: Float64Array;
}

/** Largest row sum of magnitudes: no eigenvalue is larger. */
export function tridiagonalNorm({ diagonal: d, offDiagonal: e }: TridiagonalEntries): number {
	let norm = 0;
	for (let i = 0; i < d.length; i++) {
		const left = i > 0 ? Math.abs(e[i - 1] ?? 0) : 0;
		const right = i + 1 < d.length ? Math.abs(e[i] ?? 0) : 0;
		norm = Math.max(norm, Math.abs(d[i] ?? 0) + left + right);
	}
	return norm;
}

/**
 * All eigenvalues, descending, each to a few units in the last place of the largest: QL without square roots
 * (Pal, Walker, Kahan) on the squared off-diagonal.
 */
export function tridiagonalValues(t: TridiagonalEntries): Float64Array {
	const d = t.diagonal.slice();
	const n = d.length;
	const tiny = (EPSILON * tridiagonalNorm(t) * 0.125) ** 2;
	const e = new Float64Array(n);
	for (let i = 0; i + 1 < n; i++) e[i] = (t.offDiagonal[i] ?? 0) ** 2;
	let sweeps = SWEEPS_PER_VALUE * n;
	for (let l = 0; l < n; l++) {
		for (;;) {
			let m = l;
			while (
				m + 1 < n &&
				(e[m] as number) > tiny &&
				(e[m] as number) > EPSILON * EPSILON * Math.abs((d[m] as number) * (d[m + 1] as number))
			) {
				m++;
			}
			if (m + 1 < n) e[m] = 0;
			if (m === l || sweeps-- <= 0) break;
			rootFreeSweep(d, e, l, m);
		}
	}
	return d.sort().reverse();
}

function rootFreeSweep(d: Float64Array, e: Float64Array, l: number, m: number): void {
	const root = Math.sqrt(e[l] as number);
	const half = ((d[l + 1] as number) - (d[l] as number)) / (2 * root);
	const length = Math.sqrt(half * half + 1);
	const sigma = (d[l] as number) - root / (half + (half < 0 ? -length : length));
	let c = 1;
	let s = 0;
	let gamma = (d[m] as number) - sigma;
	let p = gamma * gamma;
	for (let i = m - 1; i >= l; i--) {
		const b = e[i] as number;
		const r = p + b;
		if (i !== m - 1) e[i + 1] = s * r;
		const oldC = c;
		c = p / r;
		s = b / r;
		const oldGamma = gamma;
		const alpha = d[i] as number;
		gamma = c * (alpha - sigma) - s * oldGamma;
		d[i + 1] = oldGamma + (alpha - gamma);
		p = c === 0 ? oldC * b : (gamma * gamma) / c;
	}
	e[l] = s * p;
	d[l] = sigma + gamma;
}

/**
 * Eigenvectors of the first `values.length` (largest) eigenvalues, one to a row of length n, by inverse iteration,
 * orthogonal to the last places. Undefined when one of them did not come out right: then use `tridiagonalAll`.
 */
export function tridiagonalVectors(t: TridiagonalEntries, values: Float64Array): Float64Array | undefined {
	const n = t.diagonal.length;
	const norm = tridiagonalNorm(t);
	const z = new Float64Array(values.length * n);
	const factors = newFactors(n);
	let shift = Number.POSITIVE_INFINITY;
	for (let k = 0; k < values.length; k++) {
		// Equal eigenvalues are moved apart so that each start finds another vector.
		shift = Math.min(values[k] ?? 0, shift - 4 * EPSILON * norm);
		factorise(t, shift, factors, EPSILON * norm);
		const x = z.subarray(k * n, (k + 1) * n);
		for (let i = 0; i < n; i++) x[i] = noise(k * n + i);
		// Two passes settle a vector; one of a cluster loses much to its neighbours and needs more.
		for (let pass = 0; ; pass++) {
			solveFactored(factors, x);
			normalise(x);
			if (pass === 0) continue;
			const kept = orthogonalise(z, k, n, x);
			if (kept < 0.5) orthogonalise(z, k, n, x);
			if (!normalise(x)) return undefined;
			if (kept >= 0.5 && residual(t, values[k] ?? 0, x) <= 32 * EPSILON * norm) break;
			if (pass === MOST_PASSES) return undefined;
		}
	}
	return z;
}

/** A number between -1 and 1 that depends on i alone. */
function noise(i: number): number {
	let x = Math.imul(i + 1, 0x9e3779b1);
	x = Math.imul(x ^ (x >>> 15), 0x85ebca6b);
	x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
	return (x ^ (x >>> 16)) * 2 ** -31;
}

/** LU factors with row exchanges of a shifted tridiagonal matrix. */
interface Factors {
	readonly d: Float64Array;
	readonly u1: Float64Array;
	readonly u2: Float64Array;
	readonly lower: Float64Array;
	readonly exchanged: Uint8Array;
}

function newFactors(n: number): Factors {
	return {
		d: new Float64Array(n),
		u1: new Float64Array(n),
		u2: new Float64Array(n),
		lower: new Float64Array(n),
		exchanged: new Uint8Array(n),
	};
}

function factorise(t: TridiagonalEntries, shift: number, { d, u1, u2, lower, exchanged }: Factors, tiny: number): void {
	const n = t.diagonal.length;
	let pivot = (t.diagonal[0] ?? 0) - shift;
	let next = n > 1 ? (t.offDiagonal[0] ?? 0) : 0;
	for (let i = 0; i + 1 < n; i++) {
		const below = t.offDiagonal[i] as number;
		const diagonal = (t.diagonal[i + 1] as number) - shift;
		const right = i + 2 < n ? (t.offDiagonal[i + 1] as number) : 0;
		if (Math.abs(pivot) >= Math.abs(below)) {
			const p = pivot === 0 ? tiny : pivot;
			const f = below / p;
			d[i] = p;
			u1[i] = next;
			u2[i] = 0;
			lower[i] = f;
			exchanged[i] = 0;
			pivot = diagonal - f * next;
			next = right;
		} else {
			const f = pivot / below;
			d[i] = below;
			u1[i] = diagonal;
			u2[i] = right;
			lower[i] = f;
			exchanged[i] = 1;
			pivot = next - f * diagonal;
			next = -f * right;
		}
	}
	d[n - 1] = Math.abs(pivot) < tiny ? (pivot < 0 ? -tiny : tiny) : pivot;
}

function solveFactored({ d, u1, u2, lower, exchanged }: Factors, x: Float64Array): void {
	const n = x.length;
	for (let i = 0; i + 1 < n; i++) {
		if (exchanged[i] === 1) {
			const y = x[i] as number;
			x[i] = x[i + 1] as number;
			x[i + 1] = y - (lower[i] as number) * (x[i] as number);
		} else x[i + 1] = (x[i + 1] as number) - (lower[i] as number) * (x[i] as number);
	}
	for (let i = n - 1; i >= 0; i--) {
		let y = x[i] as number;
		if (i + 1 < n) y -= (u1[i] as number) * (x[i + 1] as number);
		if (i + 2 < n) y -= (u2[i] as number) * (x[i + 2] as number);
		x[i] = y / (d[i] as number);
	}
}

function normalise(x: Float64Array): boolean {
	let largest = 0;
	for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i] as number));
	if (!(largest > 0) || !Number.isFinite(largest)) return false;
	let squares = 0;
	for (let i = 0; i < x.length; i++) squares += ((x[i] as number) / largest) ** 2;
	const f = 1 / Math.sqrt(squares);
	for (let i = 0; i < x.length; i++) x[i] = ((x[i] as number) / largest) * f;
	return true;
}

/** x, of length 1, minus its parts along the first `count` rows of z. Returns the square of what is left of its length. */
function orthogonalise(z: Float64Array, count: number, n: number, x: Float64Array): number {
	let left = 1;
	for (let k = 0; k < count; k++) {
		const at = k * n;
		let along = 0;
		for (let i = 0; i < n; i++) along += (z[at + i] as number) * (x[i] as number);
		for (let i = 0; i < n; i++) x[i] = (x[i] as number) - along * (z[at + i] as number);
		left -= along * along;
	}
	return left;
}

function residual({ diagonal: d, offDiagonal: e }: TridiagonalEntries, value: number, x: Float64Array): number {
	let worst = 0;
	for (let i = 0; i < x.length; i++) {
		let y = ((d[i] as number) - value) * (x[i] as number);
		if (i > 0) y += (e[i - 1] as number) * (x[i - 1] as number);
		if (i + 1 < x.length) y += (e[i] as number) * (x[i + 1] as number);
		worst = Math.max(worst, Math.abs(y));
	}
	return worst;
}

/** All eigenvalues, descending, and all eigenvectors, one to a row: implicit QL, whose turns the kernel applies. */
export function tridiagonalAll(t: TridiagonalEntries): { readonly values: Float64Array; readonly vectors: Float64Array } {
	const d = t.diagonal.slice();
	const n = d.length;
	const e = new Float64Array(n);
	e.set(t.offDiagonal.subarray(0, Math.max(0, n - 1)));
	const tiny = EPSILON * tridiagonalNorm(t) * 0.125;
	const z = new Float64Array(n * n);
	for (let i = 0; i < n; i++) z[i * n + i] = 1;
	// Turns are gathered and applied together.
	const pairs = new Float64Array(Math.max(2 * n, 262_144));
	let sweeps: (readonly [from: number, count: number])[] = [];
	let used = 0;
	const flush = (): void => {
		if (used > 0) kernel().dense.rotateRows(z, n, sweeps, pairs.subarray(0, used));
		sweeps = [];
		used = 0;
	};
	let left = SWEEPS_PER_VALUE * n;
	for (let l = 0; l < n; l++) {
		for (;;) {
			let m = l;
			while (
				m + 1 < n &&
				Math.abs(e[m] as number) > tiny &&
				Math.abs(e[m] as number) > EPSILON * Math.sqrt(Math.abs((d[m] as number) * (d[m + 1] as number)))
			) {
				m++;
			}
			if (m + 1 < n) e[m] = 0;
			if (m === l || left-- <= 0) break;
			if (used + 2 * (m - l) > pairs.length) flush();
			const count = turningSweep(d, e, l, m, pairs, used);
			sweeps.push([m - 1, count]);
			used += 2 * count;
		}
	}
	flush();
	const order = Array.from(d, (_, i) => i).sort((a, b) => (d[b] as number) - (d[a] as number) || a - b);
	const vectors = new Float64Array(n * n);
	order.forEach((from, to) => {
		vectors.set(z.subarray(from * n, (from + 1) * n), to * n);
	});
	return { values: d.sort().reverse(), vectors };
}

/** One implicit QL sweep between l and m; writes its (cosine, sine) pairs, from row m - 1 down, and says how many. */
function turningSweep(d: Float64Array, e: Float64Array, l: number, m: number, pairs: Float64Array, at: number): number {
	let g = ((d[l + 1] as number) - (d[l] as number)) / (2 * (e[l] as number));
	let r = Math.sqrt(g * g + 1);
	g = (d[m] as number) - (d[l] as number) + (e[l] as number) / (g + (g < 0 ? -r : r));
	let s = 1;
	let c = 1;
	let p = 0;
	let count = 0;
	for (let i = m - 1; i >= l; i--) {
		const f = s * (e[i] as number);
		const b = c * (e[i] as number);
		r = Math.sqrt(f * f + g * g);
		e[i + 1] = r;
		if (r === 0) {
			// An eigenvalue has split off in the middle.
			d[i + 1] = (d[i + 1] as number) - p;
			e[m] = 0;
			return count;
		}
		s = f / r;
		c = g / r;
		g = (d[i + 1] as number) - p;
		r = ((d[i] as number) - g) * s + 2 * c * b;
		p = s * r;
		d[i + 1] = g + p;
		g = c * r - b;
		pairs[at + 2 * count] = c;
		pairs[at + 2 * count + 1] = s;
		count++;
	}
	d[l] = (d[l] as number) - p;
	e[l] = g;
	e[m] = 0;
	return count;
}
