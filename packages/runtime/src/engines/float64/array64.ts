import { countOf } from '../../host-tensor.js';

/** Doubles with a shape, row-major. Indices are held as doubles too. */
export interface Array64 {
	readonly shape: readonly number[];
	readonly data: Float64Array;
}

export function zeros(shape: readonly number[]): Array64 {
	return { shape, data: new Float64Array(countOf(shape)) };
}

/** Steps of each axis, row-major. */
export function stridesOf(shape: readonly number[]): number[] {
	const strides = new Array<number>(shape.length).fill(1);
	for (let i = shape.length - 2; i >= 0; i--) strides[i] = (strides[i + 1] ?? 1) * (shape[i + 1] ?? 1);
	return strides;
}

/** Steps with which `shape` is walked as if it were `to`: 0 along axes that stretch. */
export function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
	const own = stridesOf(shape);
	const shift = to.length - shape.length;
	return to.map((d, i) => (i < shift || (shape[i - shift] === 1 && d !== 1) ? 0 : (own[i - shift] ?? 0)));
}

/**
 * Call `visit(offsetA, offsetB)` for every element of `shape` in order, with offsets that advance by the steps given.
 */
export function walk(shape: readonly number[], a: readonly number[], b: readonly number[], visit: (a: number, b: number) => void): void {
	const rank = shape.length;
	if (shape.includes(0)) return;
	if (rank === 0) {
		visit(0, 0);
		return;
	}
	const index = new Array<number>(rank).fill(0);
	const last = rank - 1;
	const [size, stepA, stepB] = [shape[last] ?? 1, a[last] ?? 0, b[last] ?? 0];
	let [atA, atB] = [0, 0];
	for (;;) {
		for (let i = 0; i < size; i++) visit(atA + i * stepA, atB + i * stepB);
		let axis = last - 1;
		for (; axis >= 0; axis--) {
			const next = (index[axis] ?? 0) + 1;
			atA += a[axis] ?? 0;
			atB += b[axis] ?? 0;
			if (next < (shape[axis] ?? 1)) {
				index[axis] = next;
				break;
			}
			index[axis] = 0;
			atA -= next * (a[axis] ?? 0);
			atB -= next * (b[axis] ?? 0);
		}
		if (axis < 0) return;
	}
}
