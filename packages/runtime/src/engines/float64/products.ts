import { broadcastShapes, type ConvAttributes, convSize } from '../../graph/index.js';
import type { OpAttributes } from '../../graph/op-table.js';
import { type Array64, broadcastStrides, stridesOf, walk, zeros } from './array64.js';

/** (..., m, k) (..., k, n) */
export function matmul(a: Array64, b: Array64, { transposeA, transposeB }: OpAttributes<'matmul'>): Array64 {
	const left = transposeA ? swapLast(a) : a;
	// Rows of the right operand's transpose are what the inner loop reads.
	const right = transposeB ? b : swapLast(b);
	const [m, k] = left.shape.slice(-2) as [number, number];
	const [n] = right.shape.slice(-2) as [number, number];
	const [batchA, batchB] = [left.shape.slice(0, -2), right.shape.slice(0, -2)];
	const batch = broadcastShapes(batchA, batchB) as readonly number[];
	const out = zeros([...batch, m, n]);
	const scale = (strides: readonly number[], by: number): number[] => strides.map((s) => s * by);
	let at = 0;
	walk(batch, scale(broadcastStrides(batchA, batch), m * k), scale(broadcastStrides(batchB, batch), n * k), (x, y) => {
		product(left.data, x, right.data, y, out.data, at, m, n, k);
		at += m * n;
	});
	return out;
}

function product(
	a: Float64Array,
	fromA: number,
	b: Float64Array,
	fromB: number,
	out: Float64Array,
	to: number,
	m: number,
	n: number,
	k: number,
): void {
	for (let i = 0; i < m; i++) {
		for (let j = 0; j < n; j++) {
			let sum = 0;
			const [rowA, rowB] = [fromA + i * k, fromB + j * k];
			for (let c = 0; c < k; c++) sum += (a[rowA + c] as number) * (b[rowB + c] as number);
			out[to + i * n + j] = sum;
		}
	}
}

function swapLast(x: Array64): Array64 {
	const axes = x.shape.map((_, i) => i);
	const n = axes.length;
	return transpose(x, [...axes.slice(0, -2), n - 1, n - 2]);
}

export function transpose(x: Array64, permutation: readonly number[]): Array64 {
	const shape = permutation.map((axis) => x.shape[axis] ?? 1);
	const strides = stridesOf(x.shape);
	const out = zeros(shape);
	let i = 0;
	const steps = permutation.map((axis) => strides[axis] ?? 0);
	walk(shape, steps, steps, (from) => {
		out.data[i++] = x.data[from] ?? 0;
	});
	return out;
}

/** Convolution by gathering each picture's patches into rows, then one product. */
export function conv2d(x: Array64, w: Array64, bias: Array64 | undefined, attributes: ConvAttributes): Array64 {
	const [b, c, h, width] = x.shape as [number, number, number, number];
	const [out, , kh, kw] = w.shape as [number, number, number, number];
	const [oh, ow] = convSize(h, width, kh, kw, attributes);
	const result = zeros([b, out, oh, ow]);
	const inner = c * kh * kw;
	const patches = new Float64Array(oh * ow * inner);
	for (let n = 0; n < b; n++) {
		gatherPatches(x.data.subarray(n * c * h * width, (n + 1) * c * h * width), [c, h, width], [kh, kw], [oh, ow], attributes, patches);
		product(w.data, 0, patches, 0, result.data, n * out * oh * ow, out, oh * ow, inner);
	}
	if (bias !== undefined) {
		for (let i = 0; i < b * out; i++) {
			const add = bias.data[i % out] ?? 0;
			for (let p = 0; p < oh * ow; p++) result.data[i * oh * ow + p] = (result.data[i * oh * ow + p] as number) + add;
		}
	}
	return result;
}

/** One row for each output position: the elements under the kernel, 0 outside the picture. */
function gatherPatches(
	x: Float64Array,
	[c, h, w]: readonly [number, number, number],
	[kh, kw]: readonly [number, number],
	[oh, ow]: readonly [number, number],
	{ stride, padding, dilation }: ConvAttributes,
	patches: Float64Array,
): void {
	let at = 0;
	for (let y = 0; y < oh; y++) {
		for (let z = 0; z < ow; z++) {
			for (let channel = 0; channel < c; channel++) {
				for (let ky = 0; ky < kh; ky++) {
					const row = y * stride[0] - padding[0] + ky * dilation[0];
					for (let kx = 0; kx < kw; kx++) {
						const column = z * stride[1] - padding[2] + kx * dilation[1];
						const inside = row >= 0 && row < h && column >= 0 && column < w;
						patches[at++] = inside ? (x[(channel * h + row) * w + column] as number) : 0;
					}
				}
			}
		}
	}
}

/** Every input element spreads over the output elements that a convolution would have read it for. */
export function convTranspose2d(x: Array64, w: Array64, { stride, padding, dilation, size }: OpAttributes<'convTranspose2d'>): Array64 {
	const [b, c, h, width] = x.shape as [number, number, number, number];
	const [, out, kh, kw] = w.shape as [number, number, number, number];
	const [oh, ow] = size;
	const result = zeros([b, out, oh, ow]);
	for (let n = 0; n < b; n++) {
		for (let channel = 0; channel < c; channel++) {
			for (let y = 0; y < h; y++) {
				for (let z = 0; z < width; z++) {
					const value = x.data[((n * c + channel) * h + y) * width + z] as number;
					for (let o = 0; o < out; o++) {
						for (let ky = 0; ky < kh; ky++) {
							const row = y * stride[0] - padding[0] + ky * dilation[0];
							if (row < 0 || row >= oh) continue;
							for (let kx = 0; kx < kw; kx++) {
								const column = z * stride[1] - padding[2] + kx * dilation[1];
								if (column < 0 || column >= ow) continue;
								const to = ((n * out + o) * oh + row) * ow + column;
								result.data[to] = (result.data[to] as number) + value * (w.data[((channel * out + o) * kh + ky) * kw + kx] as number);
							}
						}
					}
				}
			}
		}
	}
	return result;
}
