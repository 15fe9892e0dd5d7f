// acc += scale * (up down), every sum in the order that src/kernel/kernel.ts promises. AssemblyScript.

/** Columns done at a time: two rows of sums and four of `down` lie in the fastest cache. */
const BLOCK: i32 = 256;
/** Two rows of sums, then two rows that odd row counts write into the void. */
const sums: usize = memory.data(BLOCK * 8 * 4, 16);

@inline
function step(t: v128, u: v128, d: v128): v128 {
	return f64x2.add(t, f64x2.mul(u, d));
}

/** Four terms of the sums of two rows; `first` starts the sums, `last` adds them to acc. */
@inline
function four(first: bool, last: bool, up0: usize, up1: usize, d: usize, ld: usize, n: usize, acc0: usize, acc1: usize, scale: v128): void {
	const u00 = v128.load64_splat(up0);
	const u01 = v128.load64_splat(up0, 8);
	const u02 = v128.load64_splat(up0, 16);
	const u03 = v128.load64_splat(up0, 24);
	const u10 = v128.load64_splat(up1);
	const u11 = v128.load64_splat(up1, 8);
	const u12 = v128.load64_splat(up1, 16);
	const u13 = v128.load64_splat(up1, 24);
	const d1 = d + ld;
	const d2 = d1 + ld;
	const d3 = d2 + ld;
	for (let j: usize = 0; j < n; j += 16) {
		let b = v128.load(d + j);
		let x: v128;
		let y: v128;
		if (first) {
			x = f64x2.mul(u00, b);
			y = f64x2.mul(u10, b);
		} else {
			x = step(v128.load(sums + j), u00, b);
			y = step(v128.load(sums + j, BLOCK * 8), u10, b);
		}
		b = v128.load(d1 + j);
		x = step(x, u01, b);
		y = step(y, u11, b);
		b = v128.load(d2 + j);
		x = step(x, u02, b);
		y = step(y, u12, b);
		b = v128.load(d3 + j);
		x = step(x, u03, b);
		y = step(y, u13, b);
		if (last) {
			v128.store(acc0 + j, step(v128.load(acc0 + j), scale, x));
			v128.store(acc1 + j, step(v128.load(acc1 + j), scale, y));
		} else {
			v128.store(sums + j, x);
			v128.store(sums + j, y, BLOCK * 8);
		}
	}
}

/** One term of the sums of two rows. */
@inline
function one(first: bool, last: bool, up0: usize, up1: usize, d: usize, n: usize, acc0: usize, acc1: usize, scale: v128): void {
	const u0 = v128.load64_splat(up0);
	const u1 = v128.load64_splat(up1);
	for (let j: usize = 0; j < n; j += 16) {
		const b = v128.load(d + j);
		let x: v128;
		let y: v128;
		if (first) {
			x = f64x2.mul(u0, b);
			y = f64x2.mul(u1, b);
		} else {
			x = step(v128.load(sums + j), u0, b);
			y = step(v128.load(sums + j, BLOCK * 8), u1, b);
		}
		if (last) {
			v128.store(acc0 + j, step(v128.load(acc0 + j), scale, x));
			v128.store(acc1 + j, step(v128.load(acc1 + j), scale, y));
		} else {
			v128.store(sums + j, x);
			v128.store(sums + j, y, BLOCK * 8);
		}
	}
}

/** acc (rows, cols) += scale * up (rows, rank) down (rank, cols); rank >= 1, all addresses multiples of 16 bytes where cols is even. */
export function addProduct(acc: usize, up: usize, down: usize, rows: i32, rank: i32, cols: i32, scale: f64): void {
	const s = f64x2.splat(scale);
	const ld = <usize>cols << 3;
	const even = cols & ~1;
	const bigSteps = rank >> 2;
	const total = bigSteps + (rank & 3);
	for (let j0 = 0; j0 < even; j0 += BLOCK) {
		const n = <usize>min(BLOCK, even - j0) << 3;
		const from = <usize>j0 << 3;
		for (let i = 0; i < rows; i += 2) {
			const pair = i + 1 < rows;
			let up0 = up + ((<usize>i * <usize>rank) << 3);
			let up1 = pair ? up0 + (<usize>rank << 3) : up0;
			const acc0 = acc + <usize>i * ld + from;
			const acc1 = pair ? acc0 + ld : sums + BLOCK * 16;
			let d = down + from;
			for (let k = 0; k < total; k++) {
				const last = k == total - 1;
				if (k < bigSteps) {
					if (k == 0) {
						if (last) four(true, true, up0, up1, d, ld, n, acc0, acc1, s);
						else four(true, false, up0, up1, d, ld, n, acc0, acc1, s);
					} else if (last) four(false, true, up0, up1, d, ld, n, acc0, acc1, s);
					else four(false, false, up0, up1, d, ld, n, acc0, acc1, s);
					up0 += 32;
					up1 += 32;
					d += ld << 2;
				} else {
					if (k == 0) {
						if (last) one(true, true, up0, up1, d, n, acc0, acc1, s);
						else one(true, false, up0, up1, d, n, acc0, acc1, s);
					} else if (last) one(false, true, up0, up1, d, n, acc0, acc1, s);
					else one(false, false, up0, up1, d, n, acc0, acc1, s);
					up0 += 8;
					up1 += 8;
					d += ld;
				}
			}
		}
	}
	if (even == cols) return;
	const column = down + (<usize>even << 3);
	for (let i = 0; i < rows; i++) {
		const u = up + ((<usize>i * <usize>rank) << 3);
		let t = load<f64>(u) * load<f64>(column);
		for (let k = 1; k < rank; k++) t += load<f64>(u + (<usize>k << 3)) * load<f64>(column + <usize>k * ld);
		const at = acc + <usize>i * ld + (<usize>even << 3);
		store<f64>(at, load<f64>(at) + scale * t);
	}
}
