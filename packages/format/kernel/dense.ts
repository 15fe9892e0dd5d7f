// Dense symmetric matrices and rows: Cholesky, R G R^T, tridiagonal form, reflections, one-sided Jacobi. AssemblyScript.
import { block, packColumns, packRows, panelBytes } from './gram';

/**
 * a = r^T r in place: r in the upper triangle, zeros below. Returns the smallest pivot relative to its diagonal
 * element before elimination; what is not positive there means that it was given up.
 */
export function cholesky(a: usize, n: i32, ld: usize, diagonal: usize): f64 {
	let worst: f64 = 1;
	for (let k = 0; k < n; k++) store<f64>(diagonal + (<usize>k << 3), load<f64>(a + <usize>k * (ld + 8)));
	for (let k = 0; k < n; k++) {
		const row = a + <usize>k * ld;
		const pivot = load<f64>(row + (<usize>k << 3));
		const ratio = pivot / load<f64>(diagonal + (<usize>k << 3));
		if (!(ratio > 0) || !(pivot > 0)) return 0;
		worst = min(worst, ratio);
		const f = 1 / sqrt(pivot);
		for (let j = 0; j < k; j++) store<f64>(row + (<usize>j << 3), 0);
		for (let j = k; j < n; j++) store<f64>(row + (<usize>j << 3), load<f64>(row + (<usize>j << 3)) * f);
		for (let i = k + 1; i < n; i++) {
			const x = load<f64>(row + (<usize>i << 3));
			const xs = f64x2.splat(x);
			let target = a + <usize>i * ld + (<usize>i << 3);
			let source = row + (<usize>i << 3);
			const end = row + (<usize>n << 3);
			if (i & 1) {
				store<f64>(target, load<f64>(target) - x * load<f64>(source));
				target += 8;
				source += 8;
			}
			for (; source + 8 < end; source += 16) {
				v128.store(target, f64x2.sub(v128.load(target), f64x2.mul(xs, v128.load(source))));
				target += 16;
			}
			if (source < end) store<f64>(target, load<f64>(target) - x * load<f64>(source));
		}
	}
	return worst;
}

/**
 * c = r g r^T, upper triangle; r upper triangular, g symmetric, all (side, side) with side a multiple of four.
 * c and t start as zeros; the panels need side / 4 panels each.
 */
export function sandwich(r: usize, g: usize, c: usize, side: i32, t: usize, panelsA: usize, panelsB: usize): void {
	const ld = <usize>side << 3;
	const size = panelBytes(side);
	const count = side >> 2;
	packRows(r, panelsA, side, side, ld);
	packColumns(g, panelsB, side, side);
	for (let i = 0; i < count; i++) {
		const skip = <usize>i << 7;
		for (let j = 0; j < count; j++) {
			block(panelsA + <usize>i * size + skip, panelsB + <usize>j * size + skip, side - (i << 2), t + <usize>i * 4 * ld + (<usize>j << 5), ld);
		}
	}
	packRows(t, panelsB, side, side, ld);
	for (let i = 0; i < count; i++) {
		for (let j = i; j < count; j++) {
			const skip = <usize>j << 7;
			block(panelsB + <usize>i * size + skip, panelsA + <usize>j * size + skip, side - (j << 2), c + <usize>i * 4 * ld + (<usize>j << 5), ld);
		}
	}
}

/** Row k minus v_k w + w_k v, from column k on. */
function updateRow(row: usize, k: i32, n: i32, v: usize, w: usize): void {
	const vk = load<f64>(v + (<usize>k << 3));
	const wk = load<f64>(w + (<usize>k << 3));
	for (let j = <usize>k << 3; j < <usize>n << 3; j += 8) {
		store<f64>(row + j, load<f64>(row + j) - (vk * load<f64>(w + j) + wk * load<f64>(v + j)));
	}
}

/**
 * q^T a q = tridiagonal (d, e), by reflections H_k = 1 - tau_k v_k v_k^T whose v_k stay in row k right of the
 * diagonal. Only the upper triangle of a is read. Each pass over what is left applies one reflection and multiplies
 * with the vector of the next. ld is a multiple of 16 bytes; work: four rows of ld + 16 bytes of zeros.
 */
export function tridiagonalise(a: usize, n: i32, ld: usize, d: usize, e: usize, tau: usize, work: usize): void {
	let v = work;
	const w = v + ld + 16;
	let next = w + ld + 16;
	const p = next + ld + 16;
	const end = <usize>n << 3;
	for (let k = 0; k < n; k++) {
		const row = a + <usize>k * ld;
		const diagonal = <usize>k << 3;
		if (k > 0) updateRow(row, k, n, v, w);
		store<f64>(d + diagonal, load<f64>(row + diagonal));
		if (k == n - 1) break;
		let squares: f64 = 0;
		for (let j = diagonal + 16; j < end; j += 8) {
			const x = load<f64>(row + j);
			squares += x * x;
		}
		const head = load<f64>(row + diagonal + 8);
		let beta = head;
		let factor: f64 = 0;
		let scale: f64 = 0;
		if (squares > 0) {
			beta = -copysign(sqrt(head * head + squares), head);
			factor = (beta - head) / beta;
			scale = 1 / (head - beta);
		}
		store<f64>(e + diagonal, beta);
		store<f64>(tau + diagonal, factor);
		store<f64>(next + diagonal, 0);
		store<f64>(next + diagonal + 8, 1);
		store<f64>(row + diagonal + 8, 1);
		store<f64>(p + diagonal + 8, 0);
		for (let j = diagonal + 16; j < end; j += 8) {
			const x = load<f64>(row + j) * scale;
			store<f64>(row + j, x);
			store<f64>(next + j, x);
			store<f64>(p + j, 0);
		}
		for (let i = diagonal + 8; i < end; i += 8) {
			const from = a + (i >> 3) * ld;
			const vi = load<f64>(v + i);
			const wi = load<f64>(w + i);
			const xi = load<f64>(next + i);
			const pivot = load<f64>(from + i) - 2 * vi * wi;
			store<f64>(from + i, pivot);
			let sum = pivot * xi;
			let j = i + 8;
			if (j & 8 && j < end) {
				const x = load<f64>(from + j) - (vi * load<f64>(w + j) + wi * load<f64>(v + j));
				store<f64>(from + j, x);
				sum += x * load<f64>(next + j);
				store<f64>(p + j, load<f64>(p + j) + x * xi);
				j += 8;
			}
			const vs = f64x2.splat(vi);
			const ws = f64x2.splat(wi);
			const xs = f64x2.splat(xi);
			let sums = f64x2.splat(0);
			for (; j < end; j += 16) {
				const x = f64x2.sub(
					v128.load(from + j),
					f64x2.add(f64x2.mul(vs, v128.load(w + j)), f64x2.mul(ws, v128.load(v + j))),
				);
				v128.store(from + j, x);
				sums = f64x2.add(sums, f64x2.mul(x, v128.load(next + j)));
				v128.store(p + j, f64x2.add(v128.load(p + j), f64x2.mul(x, xs)));
			}
			store<f64>(p + i, load<f64>(p + i) + (sum + f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1)));
		}
		let along: f64 = 0;
		for (let j = diagonal + 8; j < end; j += 8) along += load<f64>(p + j) * load<f64>(next + j);
		const half = factor * factor * along * 0.5;
		for (let j = diagonal + 8; j < end; j += 8) {
			store<f64>(w + j, factor * load<f64>(p + j) - half * load<f64>(next + j));
		}
		if (factor == 0) for (let j = diagonal + 8; j < end; j += 8) store<f64>(next + j, 0);
		const swap = v;
		v = next;
		next = swap;
	}
}

/** Sum of products of two rows of n doubles (bytes: a multiple of 16). */
@inline
function dot(x: usize, y: usize, bytes: usize): f64 {
	let s = f64x2.splat(0);
	let t = f64x2.splat(0);
	let j: usize = 0;
	for (; j + 16 < bytes; j += 32) {
		s = f64x2.add(s, f64x2.mul(v128.load(x + j), v128.load(y + j)));
		t = f64x2.add(t, f64x2.mul(v128.load(x + j, 16), v128.load(y + j, 16)));
	}
	if (j < bytes) s = f64x2.add(s, f64x2.mul(v128.load(x + j), v128.load(y + j)));
	s = f64x2.add(s, t);
	return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
}

/**
 * Reflections made from rows 0, 1, ... of a (n, m), each clearing the row right of column k from its own row on: the
 * QR factors of a^T. Row k then holds q's vector from column k on (r's column k left of it), `diagonal` r's diagonal.
 */
export function householder(a: usize, n: i32, m: i32, ld: usize, tau: usize, diagonal: usize): void {
	const end = <usize>m << 3;
	const steps = min(n, m);
	for (let k = 0; k < steps; k++) {
		const row = a + <usize>k * ld;
		const start = <usize>k << 3;
		const from = (start + 8) & ~15;
		const head = load<f64>(row + start);
		let squares: f64 = 0;
		for (let j = start + 8; j < end; j += 8) {
			const x = load<f64>(row + j);
			squares += x * x;
		}
		let beta = head;
		let factor: f64 = 0;
		if (squares > 0) {
			beta = -copysign(sqrt(head * head + squares), head);
			factor = (beta - head) / beta;
			const scale = 1 / (head - beta);
			for (let j = start + 8; j < end; j += 8) store<f64>(row + j, load<f64>(row + j) * scale);
		}
		store<f64>(row + start, 1);
		store<f64>(diagonal + start, beta);
		store<f64>(tau + start, factor);
		if (factor != 0) for (let i = k + 1; i < n; i++) reflect(row, a + <usize>i * ld, start, from, ld, factor);
	}
}

/** row -= factor (v . row) v, from byte `start` on; `from` is the next multiple of 16. */
@inline
function reflect(v: usize, row: usize, start: usize, from: usize, ld: usize, factor: f64): void {
	let along = dot(v + from, row + from, ld - from);
	if (from != start) along += load<f64>(v + start) * load<f64>(row + start);
	const f = factor * along;
	const fs = f64x2.splat(f);
	if (from != start) store<f64>(row + start, load<f64>(row + start) - f * load<f64>(v + start));
	for (let j = from; j < ld; j += 16) {
		v128.store(row + j, f64x2.sub(v128.load(row + j), f64x2.mul(fs, v128.load(v + j))));
	}
}

/**
 * Rows of z become rows of z q^T, q = H_0 H_1 ... H_(steps - 1); the vector of H_k is row k of a from column
 * k + shift on. Rows of both are ld bytes (a multiple of 16), padded with zeros.
 */
export function reflectRows(a: usize, steps: i32, shift: i32, ld: usize, tau: usize, z: usize, count: i32): void {
	for (let k = steps - 1; k >= 0; k--) {
		const factor = load<f64>(tau + (<usize>k << 3));
		if (factor == 0) continue;
		const start = <usize>(k + shift) << 3;
		const from = (start + 8) & ~15;
		for (let i = 0; i < count; i++) reflect(a + <usize>k * ld, z + <usize>i * ld, start, from, ld, factor);
	}
}

/** (x, y) becomes (c x - s y, s x + c y). */
@inline
function rotate(x: usize, y: usize, bytes: usize, c: f64, s: f64): void {
	const cs = f64x2.splat(c);
	const ss = f64x2.splat(s);
	for (let j: usize = 0; j < bytes; j += 16) {
		const a = v128.load(x + j);
		const b = v128.load(y + j);
		v128.store(x + j, f64x2.sub(f64x2.mul(cs, a), f64x2.mul(ss, b)));
		v128.store(y + j, f64x2.add(f64x2.mul(ss, a), f64x2.mul(cs, b)));
	}
}

/** Rows i, i + 1 for i = from, from - 1, ... are rotated by (c, s) pairs: one sweep of QL. */
export function rotateRows(z: usize, ld: usize, from: i32, count: i32, pairs: usize): void {
	// Some columns at a time, so that the row two rotations share is still near.
	for (let left: usize = 0; left < ld; left += 1024) {
		const bytes = min(<usize>1024, ld - left);
		for (let k = 0; k < count; k++) {
			const x = z + <usize>(from - k) * ld + left;
			rotate(x, x + ld, bytes, load<f64>(pairs + (<usize>k << 4)), load<f64>(pairs + (<usize>k << 4), 8));
		}
	}
}

/**
 * One sweep over all pairs of rows, turning each pair until its first `width` bytes are orthogonal; the rest of the
 * rows (`ld` bytes) turns along. Returns how many pairs were turned.
 */
export function jacobiSweep(rows: usize, n: i32, ld: usize, width: usize, norms: usize, tolerance: f64): i32 {
	let turned = 0;
	for (let p = 0; p < n; p++) store<f64>(norms + (<usize>p << 3), dot(rows + <usize>p * ld, rows + <usize>p * ld, width));
	for (let p = 0; p < n - 1; p++) {
		const x = rows + <usize>p * ld;
		for (let q = p + 1; q < n; q++) {
			const y = rows + <usize>q * ld;
			const gamma = dot(x, y, width);
			const a = load<f64>(norms + (<usize>p << 3));
			const b = load<f64>(norms + (<usize>q << 3));
			if (!(abs(gamma) > tolerance * sqrt(a) * sqrt(b))) continue;
			turned++;
			const zeta = (b - a) / (2 * gamma);
			const t = copysign(1 / (abs(zeta) + sqrt(1 + zeta * zeta)), zeta);
			const c = 1 / sqrt(1 + t * t);
			rotate(x, y, ld, c, c * t);
			store<f64>(norms + (<usize>p << 3), max(0, a - t * gamma));
			store<f64>(norms + (<usize>q << 3), b + t * gamma);
		}
	}
	return turned;
}
