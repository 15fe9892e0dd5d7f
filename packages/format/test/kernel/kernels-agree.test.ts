import { beforeAll, describe, expect, it } from 'vitest';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../src/half.js';
import { useKernel } from '../../src/kernel/index.js';
import type { Kernel } from '../../src/kernel/kernel.js';
import { bytesOf, randomDoubles, seededWords, widths } from './random.js';

let plain: Kernel;
let simd: Kernel;

beforeAll(async () => {
	plain = await useKernel('typescript');
	simd = await useKernel('wasm-simd');
});

/** The promised order, one element at a time. */
function sumInOrder(acc: Float64Array, up: Float64Array, down: Float64Array, rows: number, rank: number, cols: number, scale: number) {
	for (let i = 0; i < rows; i++) {
		for (let j = 0; j < cols; j++) {
			let t = (up[i * rank] ?? 0) * (down[j] ?? 0);
			for (let k = 1; k < rank; k++) t += (up[i * rank + k] ?? 0) * (down[k * cols + j] ?? 0);
			acc[i * cols + j] = (acc[i * cols + j] ?? 0) + scale * t;
		}
	}
}

describe('addProduct', () => {
	it('sums in the promised order, in both kernels, to the last bit', () => {
		let seed = 1;
		for (let rank = 1; rank <= 40; rank++) {
			for (const [rows, cols] of [
				[1, 1],
				[2, 3],
				[5, 16],
				[7, 33],
			] as const) {
				const up = randomDoubles(seed++, rows * rank);
				const down = randomDoubles(seed++, rank * cols);
				const acc = randomDoubles(seed++, rows * cols);
				const want = acc.slice();
				sumInOrder(want, up, down, rows, rank, cols, 0.7);
				for (const kernel of [plain, simd]) {
					const got = acc.slice();
					kernel.addProduct(got, up, down, rows, rank, cols, 0.7);
					expect(bytesOf(got), `${kernel.id} (${rows}, ${rank}, ${cols})`).toEqual(bytesOf(want));
				}
			}
		}
	});

	it.each([
		[130, 8, 515],
		[3, 9, 20_001],
		[41, 130, 257],
	])('agrees beyond one block: (%i, %i, %i)', (rows, rank, cols) => {
		const up = randomDoubles(3, rows * rank);
		const down = randomDoubles(4, rank * cols);
		const a = randomDoubles(5, rows * cols);
		const b = a.slice();
		plain.addProduct(a, up, down, rows, rank, cols, -1.25);
		simd.addProduct(b, up, down, rows, rank, cols, -1.25);
		expect(Buffer.compare(bytesOf(a), bytesOf(b))).toBe(0);
	});

	it('does a product whose down is larger than the kernel holds at once by columns', () => {
		const [rows, rank, cols] = [2, 30_000, 71];
		const up = randomDoubles(6, rows * rank);
		const down = randomDoubles(7, rank * cols);
		const a = randomDoubles(8, rows * cols);
		const b = a.slice();
		plain.addProduct(a, up, down, rows, rank, cols, 1);
		simd.addProduct(b, up, down, rows, rank, cols, 1);
		expect(Buffer.compare(bytesOf(a), bytesOf(b))).toBe(0);
	});

	it('keeps the sign of zero, carries Inf and NaN, and leaves acc alone at rank 0', () => {
		for (const kernel of [plain, simd]) {
			const acc = Float64Array.of(-0, -0, 1, 1);
			kernel.addProduct(acc, Float64Array.of(0, 1), Float64Array.of(-1, 1), 2, 1, 2, 1);
			expect(Array.from(acc, (x) => (Object.is(x, -0) ? '-0' : String(x)))).toEqual(['-0', '0', '0', '2']);
			kernel.addProduct(acc, Float64Array.of(Number.POSITIVE_INFINITY, 1), Float64Array.of(0, 1), 2, 1, 2, 1);
			expect(Array.from(acc)).toEqual([Number.NaN, Number.POSITIVE_INFINITY, 0, 3]);
			const empty = Float64Array.of(-0);
			kernel.addProduct(empty, new Float64Array(0), new Float64Array(0), 1, 0, 1, 1);
			expect(Object.is(empty[0], -0)).toBe(true);
		}
	});
});

const TYPES: readonly WritableFloat[] = ['F16', 'BF16', 'F32', 'F64'];

describe('addRounded', () => {
	it.each(TYPES)('%s: is encodeFloats(decodeFloats + delta), in both kernels, over every kind of number', (dtype) => {
		const size = widths(dtype);
		for (const count of [1, 2, 3, 4, 5, 7, 64, 16_384, 70_001]) {
			const bytes = new Uint8Array(seededWords(count + size, Math.ceil((count * size) / 4)).buffer).subarray(0, count * size);
			// Every exponent of the base occurs; deltas from far below its last place to far above.
			const base = decodeFloats(dtype, bytes);
			const noise = randomDoubles(count, count);
			const delta = noise.map((x, i) => {
				const b = base[i] ?? 0;
				if (i % 7 === 0) return x * 2 ** ((i % 300) - 150);
				if (i % 7 === 1) return -b;
				if (i % 7 === 2) return 0;
				return Number.isFinite(b) ? x * b * 2 ** -(i % 14) : x;
			});
			const sums = base.map((b, i) => {
				const sum = b + (delta[i] ?? 0);
				return Number.isNaN(sum) ? Number.NaN : sum;
			});
			const want = encodeFloats(dtype, sums);
			const stored = decodeFloats(dtype, want);
			let overflowed = 0;
			let nonFinite = 0;
			for (let i = 0; i < count; i++) {
				if (!Number.isFinite(base[i]) || !Number.isFinite(delta[i])) nonFinite++;
				else if (!Number.isFinite(stored[i])) overflowed++;
			}
			for (const kernel of [plain, simd]) {
				const got = bytes.slice();
				expect(kernel.addRounded(dtype, got, delta), kernel.id).toEqual({ overflowed, nonFinite });
				expect(Buffer.compare(got, want), `${kernel.id} ${count}`).toBe(0);
			}
		}
	});

	it.each(['F16', 'BF16'] as const)('%s: ties go to even, just beside a tie does not, for every pattern', (dtype) => {
		const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);
		const values = decodeFloats(dtype, new Uint8Array(all.buffer));
		const next = (i: number) => values[i + 1] ?? 0;
		const half = (x: number, i: number) => (Number.isFinite(next(i) - x) ? (next(i) - x) / 2 : 0);
		const deltas = [
			values.map(half),
			values.map((x, i) => half(x, i) * (1 + 2 ** -30)),
			values.map((x, i) => half(x, i) * (1 - 2 ** -30)),
			values.map((x) => -x / 3),
		];
		for (const delta of deltas) {
			const want = encodeFloats(
				dtype,
				values.map((x, i) => (Number.isNaN(x + (delta[i] ?? 0)) ? Number.NaN : x + (delta[i] ?? 0))),
			);
			for (const kernel of [plain, simd]) {
				const got = new Uint8Array(all.slice().buffer);
				kernel.addRounded(dtype, got, delta);
				expect(Buffer.compare(got, want), kernel.id).toBe(0);
			}
		}
	});

	it('takes bytes at any alignment and writes the one NaN', () => {
		for (const kernel of [plain, simd]) {
			const all = Uint8Array.of(9, 0x00, 0x3c, 0x00, 0x7c, 9);
			const tally = kernel.addRounded('F16', all.subarray(1, 5), Float64Array.of(1, Number.NEGATIVE_INFINITY));
			expect(Array.from(all)).toEqual([9, 0x00, 0x40, 0x00, 0x7e, 9]);
			expect(tally).toEqual({ overflowed: 0, nonFinite: 1 });
		}
	});
});

describe('decode', () => {
	it.each(TYPES)('%s: is decodeFloats', (dtype) => {
		const words =
			dtype === 'F16' || dtype === 'BF16' ? Uint16Array.from({ length: 65_536 }, (_, i) => i) : seededWords(3, 4_000).map((x) => x >>> 2);
		const bytes = new Uint8Array(words.buffer);
		const want = decodeFloats(dtype, bytes);
		for (const kernel of [plain, simd]) {
			const got = kernel.decode(dtype, bytes);
			expect(got.length).toBe(want.length);
			expect(got.every((x, i) => Object.is(x, want[i]))).toBe(true);
		}
	});
});
