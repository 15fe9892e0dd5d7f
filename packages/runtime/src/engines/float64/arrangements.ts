import type { OpAttributes } from '../../graph/op-table.js';
import { type Array64, broadcastStrides, stridesOf, walk, zeros } from './array64.js';

export function broadcast(x: Array64, shape: readonly number[]): Array64 {
	const out = zeros(shape);
	const steps = broadcastStrides(x.shape, shape);
	let i = 0;
	walk(shape, steps, steps, (from) => {
		out.data[i++] = x.data[from] ?? 0;
	});
	return out;
}

export function slice(x: Array64, { axis, start, end }: OpAttributes<'slice'>): Array64 {
	const shape = x.shape.map((d, i) => (i === axis ? end - start : d));
	const strides = stridesOf(x.shape);
	const out = zeros(shape);
	const first = start * (strides[axis] ?? 0);
	let i = 0;
	walk(shape, strides, strides, (from) => {
		out.data[i++] = x.data[first + from] ?? 0;
	});
	return out;
}

export function pad(x: Array64, { axis, before, after }: OpAttributes<'pad'>): Array64 {
	const shape = x.shape.map((d, i) => (i === axis ? d + before + after : d));
	const out = zeros(shape);
	const strides = stridesOf(shape);
	const first = before * (strides[axis] ?? 0);
	let i = 0;
	walk(x.shape, strides, strides, (to) => {
		out.data[first + to] = x.data[i++] ?? 0;
	});
	return out;
}

export function concat(parts: readonly Array64[], axis: number): Array64 {
	const [first] = parts;
	const total = parts.reduce((sum, p) => sum + (p.shape[axis] ?? 0), 0);
	const shape = (first?.shape ?? []).map((d, i) => (i === axis ? total : d));
	const out = zeros(shape);
	const strides = stridesOf(shape);
	let at = 0;
	for (const part of parts) {
		let i = 0;
		const offset = at;
		walk(part.shape, strides, strides, (to) => {
			out.data[offset + to] = part.data[i++] ?? 0;
		});
		at += (part.shape[axis] ?? 0) * (strides[axis] ?? 0);
	}
	return out;
}

/** Sum or largest over axes, which stay with size 1. */
export function reduce(x: Array64, axes: readonly number[], kind: 'sum' | 'amax'): Array64 {
	const shape = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
	const out = zeros(shape);
	if (kind === 'amax') out.data.fill(Number.NEGATIVE_INFINITY);
	const steps = broadcastStrides(shape, x.shape);
	let i = 0;
	walk(x.shape, steps, steps, (to) => {
		const value = x.data[i++] ?? 0;
		const before = out.data[to] ?? 0;
		out.data[to] = kind === 'sum' ? before + value : Math.max(before, value);
	});
	return out;
}

/** Rows of a table. @throws RangeError for an index outside it: whoever feeds ids checks them. */
export function gather(table: Array64, indices: Array64): Array64 {
	const [rows = 0, width = 0] = table.shape;
	const out = zeros([...indices.shape, width]);
	for (const [i, index] of indices.data.entries()) {
		if (index < 0 || index >= rows) throw new RangeError(`index ${index} of ${rows}`);
		out.data.set(table.data.subarray(index * width, (index + 1) * width), i * width);
	}
	return out;
}

export function oneHot(indices: Array64, depth: number): Array64 {
	const out = zeros([...indices.shape, depth]);
	for (const [i, index] of indices.data.entries()) if (index >= 0 && index < depth) out.data[i * depth + index] = 1;
	return out;
}
