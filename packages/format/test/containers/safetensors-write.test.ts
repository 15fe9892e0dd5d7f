import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type ByteSource, bytesSource } from '../../src/byte-source.js';
import { readSafetensors } from '../../src/containers/safetensors-read.js';
import { planSafetensors, safetensorsBytes, writeSafetensors } from '../../src/containers/safetensors-write.js';
import { COPY_CHUNK_BYTES } from '../../src/limits.js';
import { bytesTensor, computedTensor, rangeTensor, type Tensor } from '../../src/tensor.js';

const fixture = (name: string): Uint8Array =>
	new Uint8Array(readFileSync(new URL(`../../../../fixtures/safetensors/${name}`, import.meta.url)));
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const one = (name: string, dtype: 'U8' | 'F16' | 'F32' = 'U8'): [string, Tensor] => [
	name,
	bytesTensor(dtype, [1], new Uint8Array({ U8: 1, F16: 2, F32: 4 }[dtype])),
];

function counting(bytes: Uint8Array): { source: ByteSource; reads: [number, number][] } {
	const inner = bytesSource(bytes);
	const reads: [number, number][] = [];
	return {
		reads,
		source: {
			...inner,
			read(offset, length) {
				reads.push([offset, length]);
				return inner.read(offset, length);
			},
		},
	};
}

describe('planSafetensors', () => {
	it('writes the literal bytes of the format', async () => {
		const bytes = await safetensorsBytes(
			new Map([
				['b', bytesTensor('F16', [1], Uint8Array.of(1, 2))],
				['a', bytesTensor('F32', [], Uint8Array.of(3, 4, 5, 6))],
			]),
			new Map([
				['z', '\u0000\b\t\n\f\r"\\/\u001f\u007f\u00e9\u2028\u{1f600}'],
				['k', ''],
			]),
		);
		const json =
			'{"__metadata__":{"k":"","z":"\\u0000\\b\\t\\n\\f\\r\\"\\\\/\\u001f\u007f\u00e9\u2028\u{1f600}"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}';
		const size = new TextEncoder().encode(json).byteLength;
		const padded = Math.ceil(size / 8) * 8;
		expect(new DataView(bytes.buffer).getBigUint64(0, true)).toBe(BigInt(padded));
		expect(text(bytes.subarray(8, 8 + padded))).toBe(json + ' '.repeat(padded - size));
		expect(bytes.subarray(8 + padded)).toEqual(Uint8Array.of(3, 4, 5, 6, 1, 2));
	});

	it('sorts by dtype, descending, then by the bytes of the name', () => {
		const names = ['\u{1f600}', '\uff21', 'b', 'B', '', '\ue000', 'a10', 'a9', '\u00e9'];
		const plan = planSafetensors(new Map([one('u'), one('zz', 'F32'), ...names.map((n) => one(n, 'F16'))]), new Map());
		// UTF-16 order would put the emoji (surrogates) before U+E000 and U+FF21.
		expect(plan.order.map(([n]) => n)).toEqual(['zz', '', 'B', 'a10', 'a9', 'b', '\u00e9', '\ue000', '\uff21', '\u{1f600}', 'u']);
		expect(plan.dataOffsets).toEqual([0, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]);
		expect(plan.totalBytes).toBe(plan.header.byteLength + 23);
	});

	it('leaves empty metadata out', () => {
		expect(text(planSafetensors(new Map(), new Map()).header.subarray(8))).toBe('{}      ');
	});

	it.each([
		['the reserved name', new Map([one('__metadata__')]), new Map<string, string>(), 'E_NAME'],
		['half a pair in a name', new Map([one('a\ud800')]), new Map<string, string>(), 'E_NAME'],
		['half a pair in a key', new Map([one('a')]), new Map([['\udc00', '']]), 'E_METADATA'],
		['half a pair in a value', new Map([one('a')]), new Map([['k', '\ud83d']]), 'E_METADATA'],
		['100 MB of metadata', new Map([one('a')]), new Map([['k', ' '.repeat(100_000_000)]]), 'E_HEADER_TOO_LARGE'],
	])('refuses %s', (_, tensors, metadata, code) => {
		expect(() => planSafetensors(tensors, metadata)).toThrow(expect.objectContaining({ code }));
	});
});

describe('writeSafetensors', () => {
	it.each(['all-dtypes', 'names', 'empty-and-scalar', 'no-tensors', 'kohya-mini'])(
		'gives the bytes of the real safetensors from tensors in any order: %s',
		async (name) => {
			const golden = fixture(`${name}.safetensors`);
			const { tensors, metadata } = await readSafetensors(bytesSource(golden));
			expect(await safetensorsBytes(tensors, metadata)).toEqual(golden);
			expect(await safetensorsBytes(new Map([...tensors].reverse()), metadata)).toEqual(golden);
		},
	);

	it('reads neighbours together, in chunks', async () => {
		const n = 1000;
		const data = Uint8Array.from({ length: n * 10_000 }, (_, i) => i >>> 8);
		const { source, reads } = counting(data);
		const tensors = new Map<string, Tensor>();
		for (let i = 0; i < n; i++) tensors.set(`t${String(i).padStart(4, '0')}`, rangeTensor('U8', [10_000], source, i * 10_000));
		const out = await safetensorsBytes(tensors, new Map());
		expect(Buffer.compare(out.subarray(out.byteLength - data.byteLength), data)).toBe(0);
		expect(reads).toEqual([
			[0, COPY_CHUNK_BYTES],
			[COPY_CHUNK_BYTES, COPY_CHUNK_BYTES],
			[2 * COPY_CHUNK_BYTES, data.byteLength - 2 * COPY_CHUNK_BYTES],
		]);
	});

	it('gathers small tensors that lie in another order with one read', async () => {
		const data = Uint8Array.from({ length: 6400 }, (_, i) => i % 251);
		const { source, reads } = counting(data);
		const tensors = new Map<string, Tensor>();
		for (let i = 0; i < 100; i++) tensors.set(`t${String(99 - i).padStart(2, '0')}`, rangeTensor('U8', [10], source, i * 64));
		const out = await safetensorsBytes(tensors, new Map());
		const want = Array.from({ length: 100 }, (_, i) => [...data.subarray((99 - i) * 64, (99 - i) * 64 + 10)]).flat();
		expect([...out.subarray(out.byteLength - 1000)]).toEqual(want);
		expect(reads).toEqual([[0, 99 * 64 + 10]]);
	});

	it('mixes computed and lying tensors, large and small, in order', async () => {
		const big = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 253);
		const tensors = new Map<string, Tensor>([
			['a', computedTensor('U8', [3_000_000], undefined, async () => big)],
			['b', rangeTensor('U8', [2], bytesSource(Uint8Array.of(7, 8, 9)), 1)],
			['c', rangeTensor('U8', [3_000_000], bytesSource(big), 0)],
			['d', computedTensor('U8', [3], undefined, async () => Uint8Array.of(1, 2, 3))],
			['e', rangeTensor('U8', [0], bytesSource(big), 5)],
		]);
		const plan = planSafetensors(tensors, new Map());
		const parts: Uint8Array[] = [];
		const progress: number[] = [];
		const hash = createHash('sha256');
		await writeSafetensors(plan, { write: (b) => void parts.push(b.slice()) }, { onProgress: (n) => progress.push(n), hasher: hash });
		const want = Buffer.concat([big, Uint8Array.of(8, 9), big, Uint8Array.of(1, 2, 3)]);
		const out = Buffer.concat(parts);
		expect(Buffer.compare(out.subarray(plan.header.byteLength), want)).toBe(0);
		expect(hash.digest('hex')).toBe(createHash('sha256').update(want).digest('hex'));
		expect(progress[0]).toBe(plan.header.byteLength);
		expect(progress.at(-1)).toBe(plan.totalBytes);
		expect(out.byteLength).toBe(plan.totalBytes);
	});

	it('passes on what the source and the sink throw, and leaves no rejection behind', async () => {
		const inner = bytesSource(new Uint8Array(20_000_000));
		const failing: ByteSource = { ...inner, read: (at, n) => (at > 5_000_000 ? Promise.reject(new Error('disk')) : inner.read(at, n)) };
		const plan = planSafetensors(new Map([['a', rangeTensor('U8', [20_000_000], failing, 0)]]), new Map());
		await expect(writeSafetensors(plan, { write: () => {} })).rejects.toThrow('disk');
		let writes = 0;
		const sink = {
			write: () => {
				if (++writes === 2) throw new Error('full');
			},
		};
		await expect(writeSafetensors(plan, sink)).rejects.toThrow('full');
		await new Promise((resolve) => setTimeout(resolve, 10));
	});
});
