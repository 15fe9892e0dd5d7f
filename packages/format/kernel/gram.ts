// Gram matrices: a^T a and a a^T from panels of four columns (or rows), summed by 4 x 4 blocks held in registers. AssemblyScript.

/** Bytes from one panel to the next: 64 more than it holds, so that panels do not meet in the same cache sets. */
@inline
export function panelBytes(depth: i32): usize {
	return (<usize>depth << 5) + 64;
}

/** Panels of four columns of `depth` rows of (depth, cols); missing columns are zero. */
export function packColumns(from: usize, to: usize, depth: i32, cols: i32): void {
	const ld = <usize>cols << 3;
	for (let j = 0; j < cols; j += 4) {
		const n = min(4, cols - j);
		let source = from + (<usize>j << 3);
		let target = to + <usize>(j >> 2) * panelBytes(depth);
		for (let k = 0; k < depth; k++) {
			if (n == 4) {
				v128.store(target, v128.load(source));
				v128.store(target, v128.load(source, 16), 16);
			} else {
				store<f64>(target, load<f64>(source));
				store<f64>(target, n > 1 ? load<f64>(source, 8) : 0, 8);
				store<f64>(target, n > 2 ? load<f64>(source, 16) : 0, 16);
				store<f64>(target, 0, 24);
			}
			source += ld;
			target += 32;
		}
	}
}

/** Panels of four rows of (rows, ...), `depth` columns from `from` on, rows `ld` bytes apart; missing rows are zero. */
export function packRows(from: usize, to: usize, rows: i32, depth: i32, ld: usize): void {
	for (let i = 0; i < rows; i += 4) {
		const n = min(4, rows - i);
		const r0 = from + <usize>i * ld;
		const r1 = n > 1 ? r0 + ld : r0;
		const r2 = n > 2 ? r1 + ld : r0;
		const r3 = n > 3 ? r2 + ld : r0;
		let target = to + <usize>(i >> 2) * panelBytes(depth);
		for (let k: usize = 0; k < <usize>depth << 3; k += 8) {
			store<f64>(target, load<f64>(r0 + k));
			store<f64>(target, n > 1 ? load<f64>(r1 + k) : 0, 8);
			store<f64>(target, n > 2 ? load<f64>(r2 + k) : 0, 16);
			store<f64>(target, n > 3 ? load<f64>(r3 + k) : 0, 24);
			target += 32;
		}
	}
}

@inline
export function block(p: usize, q: usize, depth: i32, c: usize, ld: usize): void {
	let c00 = v128.load(c);
	let c01 = v128.load(c, 16);
	let c10 = v128.load(c + ld);
	let c11 = v128.load(c + ld, 16);
	let c20 = v128.load(c + 2 * ld);
	let c21 = v128.load(c + 2 * ld, 16);
	let c30 = v128.load(c + 3 * ld);
	let c31 = v128.load(c + 3 * ld, 16);
	const end = p + (<usize>depth << 5);
	// Unrolling makes it slower.
	while (p < end) {
		const b0 = v128.load(q);
		const b1 = v128.load(q, 16);
		let a = v128.load64_splat(p);
		c00 = f64x2.add(c00, f64x2.mul(a, b0));
		c01 = f64x2.add(c01, f64x2.mul(a, b1));
		a = v128.load64_splat(p, 8);
		c10 = f64x2.add(c10, f64x2.mul(a, b0));
		c11 = f64x2.add(c11, f64x2.mul(a, b1));
		a = v128.load64_splat(p, 16);
		c20 = f64x2.add(c20, f64x2.mul(a, b0));
		c21 = f64x2.add(c21, f64x2.mul(a, b1));
		a = v128.load64_splat(p, 24);
		c30 = f64x2.add(c30, f64x2.mul(a, b0));
		c31 = f64x2.add(c31, f64x2.mul(a, b1));
		p += 32;
		q += 32;
	}
	v128.store(c, c00);
	v128.store(c, c01, 16);
	v128.store(c + ld, c10);
	v128.store(c + ld, c11, 16);
	v128.store(c + 2 * ld, c20);
	v128.store(c + 2 * ld, c21, 16);
	v128.store(c + 3 * ld, c30);
	v128.store(c + 3 * ld, c31, 16);
}

/** c += panels panels^T, blocks on and above the diagonal; c has a multiple of four rows of `ld` bytes. */
export function addGram(panels: usize, depth: i32, n: i32, c: usize, ld: usize): void {
	const size = panelBytes(depth);
	const count = (n + 3) >> 2;
	for (let i = 0; i < count; i++) {
		for (let j = i; j < count; j++) {
			block(panels + <usize>i * size, panels + <usize>j * size, depth, c + <usize>i * 4 * ld + (<usize>j << 5), ld);
		}
	}
}

/** The upper triangle into the lower one; n a multiple of four. */
export function mirror(c: usize, n: i32, ld: usize): void {
	for (let i = 1; i < n; i++) {
		let source = c + (<usize>i << 3);
		let target = c + <usize>i * ld;
		for (let j = 0; j < i; j++) {
			store<f64>(target, load<f64>(source));
			source += ld;
			target += 8;
		}
	}
}
