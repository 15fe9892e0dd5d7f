import { type DenseKernel, jacobiTolerance, MAX_JACOBI_SWEEPS, type Reflections, type Tridiagonal } from './dense-kernel.js';
import { typescriptDense, upperFactor } from './typescript-dense.js';
import type { Arena } from './wasm-memory.js';

/** The dense loops on the kernel's memory. Every call copies in and out; what does not fit is done in TypeScript. */
export function wasmDense(arena: Arena): DenseKernel {
	return {
		cholesky: (a, n) => cholesky(arena, a, n),
		sandwich: (r, g, n) => sandwich(arena, r, g, n),
		tridiagonalise: (a, n) => tridiagonalise(arena, a, n),
		qrOfRows: (a, rows, cols) => qrOfRows(arena, a, rows, cols),
		reflectRows: (q, z, count) => reflectRows(arena, q, z, count),
		rotateRows: (z, cols, sweeps, pairs) => rotateRows(arena, z, cols, sweeps, pairs),
		orthogonaliseRows: (a, rows, cols, width) => orthogonaliseRows(arena, a, rows, cols, width),
	};
}

/** Rows of a (rows, cols) into memory, each `ld` doubles after the other, zeros between. */
function putRows({ doubles }: Arena, a: Float64Array, rows: number, cols: number, at: number, ld: number): void {
	if (ld === cols) {
		doubles.set(a.length === rows * cols ? a : a.subarray(0, rows * cols), at);
		return;
	}
	for (let i = 0; i < rows; i++) {
		doubles.set(a.subarray(i * cols, (i + 1) * cols), at + i * ld);
		doubles.fill(0, at + i * ld + cols, at + (i + 1) * ld);
	}
}

function takeRows(
	{ doubles }: Arena,
	rows: number,
	cols: number,
	at: number,
	ld: number,
	to: Float64Array = new Float64Array(rows * cols),
): Float64Array {
	if (ld === cols) to.set(doubles.subarray(at, at + rows * cols));
	else for (let i = 0; i < rows; i++) to.set(doubles.subarray(at + i * ld, at + i * ld + cols), i * cols);
	return to;
}

const even = (n: number): number => (n + 1) & ~1;

function cholesky(arena: Arena, a: Float64Array, n: number): { readonly r: Float64Array; readonly quality: number } {
	const at = arena.first;
	const ld = even(n);
	if (at + (n + 1) * ld > arena.doubles.length) return typescriptDense.cholesky(a, n);
	putRows(arena, a, n, n, at, ld);
	const quality = arena.exports.cholesky(at * 8, n, ld * 8, (at + n * ld) * 8);
	return { r: takeRows(arena, n, n, at, ld), quality };
}

function sandwich(arena: Arena, r: Float64Array, g: Float64Array, n: number): Float64Array {
	const side = (n + 3) & ~3;
	const rAt = arena.first;
	const gAt = rAt + side * side;
	const cAt = gAt + side * side;
	const tAt = cAt + side * side;
	const panelsA = tAt + side * side;
	const panels = (side / 4) * (side * 4 + 8);
	if (panelsA + 2 * panels > arena.doubles.length) return typescriptDense.sandwich(r, g, n);
	// Rows that are not there count too.
	if (side !== n) arena.doubles.fill(0, rAt, cAt);
	putRows(arena, r, n, n, rAt, side);
	putRows(arena, g, n, n, gAt, side);
	arena.doubles.fill(0, cAt, panelsA);
	arena.exports.sandwich(rAt * 8, gAt * 8, cAt * 8, side, tAt * 8, panelsA * 8, (panelsA + panels) * 8);
	return takeRows(arena, n, n, cAt, side);
}

function tridiagonalise(arena: Arena, a: Float64Array, n: number): Tridiagonal {
	const { doubles } = arena;
	const ld = even(n);
	const at = arena.first;
	const vectors = at + n * ld;
	const work = vectors + 3 * ld;
	const end = work + 4 * (ld + 2);
	if (end > doubles.length) return typescriptDense.tridiagonalise(a, n);
	putRows(arena, a, n, n, at, ld);
	doubles.fill(0, vectors, end);
	arena.exports.tridiagonalise(at * 8, n, ld * 8, vectors * 8, (vectors + ld) * 8, (vectors + 2 * ld) * 8, work * 8);
	return {
		n,
		diagonal: doubles.slice(vectors, vectors + n),
		offDiagonal: doubles.slice(vectors + ld, vectors + ld + n),
		q: {
			vectors: takeRows(arena, n, n, at, ld),
			cols: n,
			shift: 1,
			factors: doubles.slice(vectors + 2 * ld, vectors + 2 * ld + Math.max(0, n - 2)),
		},
	};
}

function qrOfRows(arena: Arena, a: Float64Array, rows: number, cols: number): { readonly q: Reflections; readonly r: Float64Array } {
	const ld = even(cols);
	const at = arena.first;
	const steps = Math.min(rows, cols);
	const factors = at + rows * ld;
	const diagonal = factors + steps;
	if (diagonal + steps > arena.doubles.length) return typescriptDense.qrOfRows(a, rows, cols);
	putRows(arena, a, rows, cols, at, ld);
	arena.exports.householder(at * 8, rows, cols, ld * 8, factors * 8, diagonal * 8);
	const vectors = takeRows(arena, rows, cols, at, ld);
	const r = upperFactor(vectors, rows, cols, arena.doubles.slice(diagonal, diagonal + steps));
	return { q: { vectors, cols, shift: 0, factors: arena.doubles.slice(factors, factors + steps) }, r };
}

function reflectRows(arena: Arena, q: Reflections, z: Float64Array, count: number): void {
	const { cols } = q;
	const steps = q.factors.length;
	const ld = even(cols);
	const at = arena.first;
	const factors = at + steps * ld;
	const zAt = factors + even(steps);
	const fit = Math.min(count, Math.floor((arena.doubles.length - zAt) / ld));
	if (fit < 1) {
		typescriptDense.reflectRows(q, z, count);
		return;
	}
	putRows(arena, q.vectors, steps, cols, at, ld);
	arena.doubles.set(q.factors, factors);
	for (let from = 0; from < count; from += fit) {
		const rows = Math.min(fit, count - from);
		const part = z.subarray(from * cols, (from + rows) * cols);
		putRows(arena, part, rows, cols, zAt, ld);
		arena.exports.reflectRows(at * 8, steps, q.shift, ld * 8, factors * 8, zAt * 8, rows);
		takeRows(arena, rows, cols, zAt, ld, part);
	}
}

function rotateRows(
	arena: Arena,
	z: Float64Array,
	cols: number,
	sweeps: readonly (readonly [from: number, count: number])[],
	pairs: Float64Array,
): void {
	const rows = Math.floor(z.length / cols);
	const ld = even(cols);
	const at = arena.first;
	const pairsAt = at + rows * ld;
	if (pairsAt + pairs.length > arena.doubles.length) {
		typescriptDense.rotateRows(z, cols, sweeps, pairs);
		return;
	}
	putRows(arena, z, rows, cols, at, ld);
	arena.doubles.set(pairs, pairsAt);
	let next = pairsAt;
	for (const [from, count] of sweeps) {
		arena.exports.rotateRows(at * 8, ld * 8, from, count, next * 8);
		next += count * 2;
	}
	takeRows(arena, rows, cols, at, ld, z);
}

function orthogonaliseRows(arena: Arena, a: Float64Array, rows: number, cols: number, width: number): number {
	const { doubles, exports } = arena;
	// The part that is multiplied and the part that turns along each start at an even place.
	const left = even(width);
	const ld = left + even(cols - width);
	const at = arena.first;
	if (at + rows * (ld + 1) > doubles.length) return typescriptDense.orthogonaliseRows(a, rows, cols, width);
	doubles.fill(0, at, at + rows * ld);
	for (let i = 0; i < rows; i++) {
		doubles.set(a.subarray(i * cols, i * cols + width), at + i * ld);
		doubles.set(a.subarray(i * cols + width, (i + 1) * cols), at + i * ld + left);
	}
	let sweeps = 0;
	while (sweeps < MAX_JACOBI_SWEEPS) {
		sweeps++;
		if (exports.jacobiSweep(at * 8, rows, ld * 8, left * 8, (at + rows * ld) * 8, jacobiTolerance(width)) === 0) break;
		if (sweeps === MAX_JACOBI_SWEEPS) sweeps = Number.POSITIVE_INFINITY;
	}
	for (let i = 0; i < rows; i++) {
		a.set(doubles.subarray(at + i * ld, at + i * ld + width), i * cols);
		a.set(doubles.subarray(at + i * ld + left, at + i * ld + left + cols - width), i * cols + width);
	}
	return sweeps;
}
