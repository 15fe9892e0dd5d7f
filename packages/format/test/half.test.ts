import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { DType } from '../src/dtype.js';
import { bf16ToF32, decodeFloats, encodeFloats, f16ToF32, f32ToBf16, f32ToF16, f64ToBf16, f64ToF16 } from '../src/half.js';

/** The value of a pattern by the book: sign, exponent, fraction. */
function byTheBook(bits: number, fraction: number, bias: number, width: number): number {
	const top = 2 ** (width - 1 - fraction) - 1;
	const sign = bits >= 2 ** (width - 1) ? -1 : 1;
	const exponent = Math.floor(bits / 2 ** fraction) & top;
	const f = bits % 2 ** fraction;
	if (exponent === top) return f === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
	return exponent === 0 ? sign * f * 2 ** (1 - bias - fraction) : sign * (2 ** fraction + f) * 2 ** (exponent - bias - fraction);
}

/** Nearest pattern, ties to even, by looking between which two neighbours a value lies. `table`: finite values from 0 up. */
function nearest(table: Float64Array, beyond: number, value: number): number {
	const x = Math.abs(value);
	let lo = 0;
	let hi = table.length;
	while (hi - lo > 1) {
		const mid = (lo + hi) >> 1;
		if ((table[mid] ?? 0) <= x) lo = mid;
		else hi = mid;
	}
	// Neighbours of a format this narrow have an exact middle in a double.
	const middle = (table[lo] ?? 0) / 2 + (table[lo + 1] ?? beyond) / 2;
	const up = x > middle || (x === middle && lo % 2 === 1);
	return (lo + (up ? 1 : 0)) | (value < 0 || Object.is(value, -0) ? 0x8000 : 0);
}

const F16 = Float64Array.from({ length: 0x7c00 }, (_, i) => byTheBook(i, 10, 15, 16));
const BF16 = Float64Array.from({ length: 0x7f80 }, (_, i) => byTheBook(i, 7, 127, 16));
const FORMS = [
	['F16', F16, 65536, f64ToF16, f32ToF16],
	['BF16', BF16, 2 ** 128, f64ToBf16, f32ToBf16],
] as const;

/** The next double away from zero (+1) or towards it (-1). */
function neighbour(x: number, step: 1 | -1): number {
	const view = new DataView(new ArrayBuffer(8));
	view.setFloat64(0, x);
	view.setBigInt64(0, view.getBigInt64(0) + BigInt(step));
	return view.getFloat64(0);
}

const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const patterns = (n: number): Uint8Array =>
	n === 256 ? Uint8Array.from({ length: n }, (_, i) => i) : new Uint8Array(Uint16Array.from({ length: n }, (_, i) => i).buffer);

describe('decodeFloats', () => {
	it.each(['F16', 'BF16', 'F32'] as const)('of %s in a Buffer at an odd offset', (dtype) => {
		// 0.5, -2: the same in all three, by their upper bytes.
		const upper = { F16: [0x3800, 0xc000], BF16: [0x3f00, 0xc000], F32: [0x3f000000, 0xc0000000] }[dtype];
		const size = dtype === 'F32' ? 4 : 2;
		const bytes = Buffer.alloc(3 + 2 * size, 0xff);
		for (const [i, x] of upper.entries()) bytes.writeUIntLE(x, 3 + i * size, size);
		const part = bytes.subarray(3);
		// Memory of Buffers is shared out from any offset: both kinds of parity.
		for (const shift of [0, 1]) {
			const moved = Buffer.alloc(16);
			part.copy(moved, shift);
			expect([...decodeFloats(dtype, moved.subarray(shift, shift + part.length))]).toEqual([0.5, -2]);
		}
	});
});

describe('half floats', () => {
	it('decodes every pattern by the book', () => {
		for (let i = 0; i < 65536; i++) {
			if (!Object.is(f16ToF32(i), byTheBook(i, 10, 15, 16))) expect.fail(`F16 ${i}`);
			if (!Object.is(bf16ToF32(i), byTheBook(i, 7, 127, 16))) expect.fail(`BF16 ${i}`);
		}
	});

	it('comes back from every pattern that is a number', () => {
		for (let i = 0; i < 65536; i++) {
			const half = f16ToF32(i);
			if (!Number.isNaN(half) && (f64ToF16(half) !== i || f32ToF16(half) !== i)) expect.fail(`F16 ${i}`);
			const brain = bf16ToF32(i);
			if (!Number.isNaN(brain) && (f64ToBf16(brain) !== i || f32ToBf16(brain) !== i)) expect.fail(`BF16 ${i}`);
		}
	});

	it.each(FORMS)('rounds doubles once: ties and their neighbours, %s', (_, table, beyond, from64) => {
		for (let i = 0; i < table.length; i++) {
			const tie = (table[i] ?? 0) / 2 + (table[i + 1] ?? beyond) / 2;
			// The neighbours differ from the tie in the last bit of a double: rounding through F32 would lose it.
			for (const x of [tie, neighbour(tie, 1), neighbour(tie, -1), neighbour(table[i] ?? 0, 1)]) {
				if (from64(x) !== nearest(table, beyond, x)) expect.fail(`${x}: ${from64(x)}, not ${nearest(table, beyond, x)}`);
				if (from64(-x) !== nearest(table, beyond, -x)) expect.fail(`${-x}`);
			}
		}
	});

	it.each(FORMS)('rounds any double and any F32, %s', (_, table, beyond, from64, from32) => {
		let seed = 12345;
		const random = (): number => {
			seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
			return seed / 2 ** 32;
		};
		for (let i = 0; i < 100_000; i++) {
			const x = (random() - 0.5 + random() * 2 ** -32) * 2 ** Math.floor(random() * 300 - 150);
			if (from64(x) !== nearest(table, beyond, x)) expect.fail(String(x));
			const y = Math.fround(x);
			if (from32(y) !== nearest(table, beyond, Number.isFinite(y) ? y : x * 2 ** 30)) expect.fail(String(y));
		}
	});

	it.each([
		[65504, 0x7bff, 0x4780],
		[65519.999999999, 0x7bff, 0x4780],
		[65520, 0x7c00, 0x4780],
		[2 ** -24, 1, 0x3380],
		[2 ** -25, 0, 0x3300],
		[neighbour(2 ** -25, 1), 1, 0x3300],
		[3 * 2 ** -25, 2, 0x33c0],
		[2 ** -149, 0, 0],
		[Number.MIN_VALUE, 0, 0],
		[neighbour((2 - 2 ** -8) * 2 ** 127, -1), 0x7c00, 0x7f7f],
		[(2 - 2 ** -8) * 2 ** 127, 0x7c00, 0x7f80],
		[Number.MAX_VALUE, 0x7c00, 0x7f80],
		[Number.POSITIVE_INFINITY, 0x7c00, 0x7f80],
		[0, 0, 0],
		[-0, 0x8000, 0x8000],
		[1 / 3, 0x3555, 0x3eab],
	])('%s', (x, f16, bf16) => {
		expect(f64ToF16(x)).toBe(f16);
		expect(f64ToBf16(x)).toBe(bf16);
	});

	it('keeps NaN a NaN, whatever its payload', () => {
		const view = new DataView(new ArrayBuffer(4));
		for (const bits of [0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff]) {
			view.setUint32(0, bits);
			for (const to of [f64ToF16, f32ToF16]) expect(Number.isNaN(f16ToF32(to(view.getFloat32(0))))).toBe(true);
			for (const to of [f64ToBf16, f32ToBf16]) expect(Number.isNaN(bf16ToF32(to(view.getFloat32(0))))).toBe(true);
		}
	});

	// fixtures/safetensors/make.py prints these: numpy 2.4.6 and torch 2.13.0, NaN as 0, as little-endian F64.
	it.each<[DType, number, string]>([
		['F16', 65536, '62dd074b90fef6531d8f6d66a4bb7b109b3e67f4c35521b7d520918eddd6cd97'],
		['BF16', 65536, 'cdd6cd28c2627258961a5a1133ec750921bec23e583457712d58d9ecdd1a778b'],
		['F8_E4M3', 256, 'e98d42e6b02e4149a280aabb1cee98972c74fec84cf16f463ee19ce79fca9bcc'],
		['F8_E5M2', 256, '5930221c7ec052a06add278c59d3e4b050cbb344ad0d7a08f4c3ea2a691af27f'],
		['F8_E4M3FNUZ', 256, '42a574de2248c0b16be30c6419e2302b61e8521f0a13b1ac6556d0e98fa9cae3'],
		['F8_E5M2FNUZ', 256, 'ac895718c110395374682d8c3b575559cb0dc65f16450b02949169127ca32e2e'],
		['F8_E8M0', 256, '4b506fbd5b8dc01c591de9038ba3e191c2350bcebd4d4d6ffe46d2154745c0af'],
	])('every %s is what numpy and torch say', (dtype, count, want) => {
		const values = decodeFloats(dtype, patterns(count)).map((x) => (Number.isNaN(x) ? 0 : x));
		expect(hex(new Uint8Array(values.buffer))).toBe(want);
	});

	it('rounds 190,464 F32 ties and their neighbours as numpy and torch do', () => {
		const view = new DataView(new ArrayBuffer(4));
		const near = (x: number, step: number): number => {
			view.setFloat32(0, x);
			view.setUint32(0, view.getUint32(0) + step);
			return view.getFloat32(0);
		};
		const up: number[] = [];
		for (let i = 0; i < F16.length; i++) {
			const tie = ((F16[i] ?? 0) + (F16[i + 1] ?? 65536)) / 2;
			up.push(near(tie, -1), tie, near(tie, 1));
		}
		const all = Float64Array.from([...up, ...up.map((x) => -x)]);
		expect(hex(encodeFloats('F32', all))).toBe('27a0dc42c99f8a72834ea4fa89f9a83cce13d433c6296166f6068c699a50d9f4');
		expect(hex(encodeFloats('F16', all))).toBe('dde0b3252f428f533286690e2f8cd982e2ea7def858917c876f56e057684a464');
		expect(hex(encodeFloats('BF16', all))).toBe('065396ae116dd7bbe99f596fb4a18f1dfe757fe2d82a58be43e415d5f0ba6099');
	});

	it.each<[DType, number[], number[]]>([
		['BOOL', [0, 1], [0, 1]],
		['U8', [255], [255]],
		['I8', [255], [-1]],
		['I16', [0xfe, 0xff], [-2]],
		['U16', [0xfe, 0xff], [65534]],
		['I32', [0, 0, 0, 0x80], [-(2 ** 31)]],
		['U32', [0, 0, 0, 0x80], [2 ** 31]],
		['I64', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [-1]],
		['U64', [0, 0, 0, 0, 1, 0, 0, 0], [2 ** 32]],
		['F32', [0, 0, 0x20, 0xc0], [-2.5]],
		['F64', [0, 0, 0, 0, 0, 0, 0xf8, 0x3f], [1.5]],
		['F16', [0, 0x3c, 1, 0], [1, 2 ** -24]],
		['BF16', [0x80, 0xbf], [-1]],
	])('decodes %s at any alignment', (dtype, bytes, want) => {
		for (const pad of [0, 1, 3, 8]) {
			const buffer = new Uint8Array(pad + bytes.length + 5);
			buffer.set(bytes, pad);
			expect([...decodeFloats(dtype, buffer.subarray(pad, pad + bytes.length))]).toEqual(want);
		}
	});

	it('refuses what it cannot compute with', () => {
		expect(() => decodeFloats('C64', new Uint8Array(8))).toThrow(expect.objectContaining({ code: 'E_UNSUPPORTED_DTYPE' }));
		expect(() => decodeFloats('F4', new Uint8Array(8))).toThrow(expect.objectContaining({ code: 'E_UNSUPPORTED_DTYPE' }));
		expect(() => decodeFloats('F32', new Uint8Array(7))).toThrow(expect.objectContaining({ code: 'E_SHAPE' }));
	});
});
