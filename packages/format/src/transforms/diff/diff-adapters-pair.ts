import { FormatError } from '../../errors.js';
import { allocate, type Matrix } from '../../families/matrix.js';
import { innerProduct } from '../../linalg/gram-inner.js';
import { singularValuesOfProduct } from '../../linalg/svd-of-product.js';
import { type DeltaProduct, flattenProduct, type MatrixPair } from '../product/delta-product.js';
import { type ModuleDelta, sumOfSquares } from './energy.js';

/** Two deltas of one module, compared. */
export interface DeltaComparison {
	/** <a, b> of all elements. */
	readonly inner: number;
	/** |a - b|^2, exact to the rounding of doubles also where a and b are nearly the same. */
	readonly squaredDistance: number;
}

/** Below this share of the norms |a|^2 + |b|^2 - 2 <a, b> is mostly rounding, so the difference itself is decomposed. */
const CANCELLED = 1e-6;

/**
 * Compare by Gram traces: tr((U_a^T U_b)(V_b V_a^T)); full deltas are never made for products. Dense deltas are
 * compared element by element. undefined when one is dense and the other is not: make both dense.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` when they are of different sizes.
 */
export function compareDeltas(
	where: string,
	a: ModuleDelta,
	b: ModuleDelta,
	squaredA: number,
	squaredB: number,
): DeltaComparison | undefined {
	if (a.kind === 'product' && b.kind === 'product') return compareProducts(where, a, b, squaredA, squaredB);
	if (a.kind === 'product' || b.kind === 'product' || a.kind !== b.kind) return undefined;
	let inner = 0;
	let squaredDistance = 0;
	const parts = Math.max(a.values.length, b.values.length);
	for (let n = 0; n < parts; n++) {
		const [x, y] = [a.values[n], b.values[n]];
		// A part that one side lacks (a bias) counts as zeros.
		if (x === undefined || y === undefined) {
			squaredDistance += sumOfSquares(x ?? y ?? new Float64Array());
			continue;
		}
		if (x.length !== y.length) {
			if (a.kind === 'factors') return { inner: 0, squaredDistance: squaredA + squaredB };
			throw otherSize(where, x.length, y.length);
		}
		for (let i = 0; i < x.length; i++) {
			inner += (x[i] ?? 0) * (y[i] ?? 0);
			squaredDistance += ((x[i] ?? 0) - (y[i] ?? 0)) ** 2;
		}
	}
	return { inner, squaredDistance };
}

type Product = Extract<ModuleDelta, { kind: 'product' }>;

function compareProducts(where: string, a: Product, b: Product, squaredA: number, squaredB: number): DeltaComparison {
	if (a.scaling === b.scaling && sameFactors(a.product, b.product)) return { inner: squaredA, squaredDistance: 0 };
	const inner = a.scaling * b.scaling * innerOf(where, a.product, b.product);
	const squaredDistance = squaredA + squaredB - 2 * inner;
	if (squaredDistance > CANCELLED * Math.max(squaredA, squaredB)) return { inner, squaredDistance };
	const difference = differenceOf(where, a, b);
	return { inner, squaredDistance: sumOfSquares(singularValuesOfProduct(difference.up, difference.down, { where })) };
}

function innerOf(where: string, a: DeltaProduct, b: DeltaProduct): number {
	if (a.kind === 'kron' && b.kind === 'kron' && sameSplit(a.factors, b.factors)) {
		return innerOfPairs(where, a.factors[0], b.factors[0]) * innerOfPairs(where, a.factors[1], b.factors[1]);
	}
	return innerOfPairs(where, flattenProduct(where, a), flattenProduct(where, b));
}

function sameSplit(a: readonly [MatrixPair, MatrixPair], b: readonly [MatrixPair, MatrixPair]): boolean {
	return a.every((pair, i) => pair.up.rows === b[i]?.up.rows && pair.down.cols === b[i]?.down.cols);
}

function innerOfPairs(where: string, a: MatrixPair, b: MatrixPair): number {
	if (a.up.rows !== b.up.rows || a.down.cols !== b.down.cols) {
		throw otherSize(where, a.up.rows * a.down.cols, b.up.rows * b.down.cols);
	}
	return innerProduct({ ...a, shape: [] }, { ...b, shape: [] });
}

/** a - b as one product of rank r_a + r_b. */
function differenceOf(where: string, a: Product, b: Product): MatrixPair {
	const one = flattenProduct(where, a.product);
	const two = flattenProduct(where, b.product);
	if (one.up.rows !== two.up.rows || one.down.cols !== two.down.cols)
		throw otherSize(where, one.up.rows * one.down.cols, two.up.rows * two.down.cols);
	const cols = one.up.cols + two.up.cols;
	const up = allocate(where, one.up.rows * cols);
	for (let i = 0; i < one.up.rows; i++) {
		for (let k = 0; k < one.up.cols; k++) up[i * cols + k] = a.scaling * (one.up.data[i * one.up.cols + k] ?? 0);
		for (let k = 0; k < two.up.cols; k++) up[i * cols + one.up.cols + k] = -b.scaling * (two.up.data[i * two.up.cols + k] ?? 0);
	}
	const down = allocate(where, cols * one.down.cols);
	down.set(one.down.data);
	down.set(two.down.data, one.down.data.length);
	return { up: { rows: one.up.rows, cols, data: up }, down: { rows: cols, cols: one.down.cols, data: down } };
}

function sameFactors(a: DeltaProduct, b: DeltaProduct): boolean {
	const pairs = (d: DeltaProduct): readonly MatrixPair[] => (d.kind === 'product' ? [d.factors] : d.factors);
	const [x, y] = [pairs(a), pairs(b)];
	return x.length === y.length && x.every((pair, i) => sameData(pair.up, y[i]?.up) && sameData(pair.down, y[i]?.down));
}

function sameData(a: Matrix, b: Matrix | undefined): boolean {
	return b !== undefined && a.rows === b.rows && a.cols === b.cols && a.data.every((x, i) => x === b.data[i]);
}

function otherSize(where: string, a: number, b: number): FormatError {
	return new FormatError(
		'E_BASE_MISMATCH',
		`${where} changes a weight of ${a} elements in the first adapter and of ${b} in the second: they are for different models.`,
		{
			at: where.slice(where.indexOf(' ') + 1),
		},
	);
}
