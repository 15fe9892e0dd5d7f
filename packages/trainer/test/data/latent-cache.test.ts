import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor, i32Tensor } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { createRecentCache } from '../../src/data/cache-recent.js';
import { type CachedTensors, createMemoryCache, type TensorCache } from '../../src/data/cache-tensors.js';
import { createLatentSource, type LatentRequest } from '../../src/data/latent-cache.js';
import { createTextSource } from '../../src/data/text-cache.js';

/** Something with the shapes of a VAE whose every number depends on the whole input, and that counts. */
function encoder(): { readonly encode: (pixels: HostTensor) => Promise<{ mean: HostTensor; logvar: HostTensor }>; calls: number } {
	const made = {
		calls: 0,
		async encode(pixels: HostTensor) {
			made.calls++;
			const [, , h = 0, w = 0] = pixels.shape;
			const sum = Array.from(pixels.data).reduce((total, x) => total + x, 0);
			const of = (scale: number): HostTensor =>
				f32Tensor(
					[1, 4, h / 8, w / 8],
					Float32Array.from({ length: (4 * h * w) / 64 }, (_, i) => (scale * sum) / (i + 3)),
				);
			return { mean: of(1 / 7), logvar: of(-1 / 300) };
		},
	};
	return made;
}

const picture = (seed: number, side = 16): HostTensor =>
	f32Tensor(
		[1, 3, side, side],
		Float32Array.from({ length: 3 * side * side }, (_, i) => Math.sin(i * seed)),
	);
const request = (seed: number, side = 16): LatentRequest => ({
	key: seed.toString(16).padStart(64, '0'),
	pixels: () => picture(seed, side),
});

describe('latents through a cache', () => {
	it('are the same bits with and without, whatever the batch', async () => {
		const without = encoder();
		const plain = createLatentSource({ encode: without.encode });
		const withCache = encoder();
		const cached = createLatentSource({ encode: withCache.encode, cache: createMemoryCache(1e6) });
		const expected = await plain.latents([request(1), request(2), request(3)]);
		expect(expected.mean.shape).toEqual([3, 4, 2, 2]);
		for (const batch of [[3], [1, 2], [1, 2, 3]]) {
			const { mean, logvar } = await cached.latents(batch.map((seed) => request(seed)));
			for (const [i, seed] of batch.entries()) {
				expect(mean.data.subarray(i * 16, i * 16 + 16)).toEqual(expected.mean.data.subarray((seed - 1) * 16, seed * 16));
				expect(logvar.data.subarray(i * 16, i * 16 + 16)).toEqual(expected.logvar.data.subarray((seed - 1) * 16, seed * 16));
			}
		}
		expect([without.calls, withCache.calls]).toEqual([3, 3]);
	});

	it('decode no picture that is in the cache', async () => {
		const source = createLatentSource({ encode: encoder().encode, cache: createMemoryCache(1e6) });
		await source.latents([request(5)]);
		const { key } = request(5);
		await source.latents([
			{
				key,
				pixels: () => {
					throw new Error('decoded again');
				},
			},
		]);
	});

	it('make once what is asked for twice at once', async () => {
		const counted = encoder();
		const source = createLatentSource({ encode: counted.encode });
		await Promise.all([source.latents([request(5)]), source.latents([request(5)])]);
		expect(counted.calls).toBe(1);
	});

	it('are made anew where the cache holds something else under the key', async () => {
		const wrong: readonly CachedTensors[] = [
			{},
			{ mean: f32Tensor([1, 4, 2, 2], new Float32Array(16)) },
			{ mean: f32Tensor([1, 4, 2, 2], new Float32Array(16)), logvar: f32Tensor([1, 4, 4, 1], new Float32Array(16)) },
			{ mean: f32Tensor([1, 4, 2, 2], new Float32Array(16)), logvar: f32Tensor([1, 4, 2, 2], new Float32Array(16).fill(Number.NaN)) },
			{ mean: i32Tensor([1, 4, 2, 2], new Int32Array(16)), logvar: f32Tensor([1, 4, 2, 2], new Float32Array(16)) },
		];
		for (const tensors of wrong) {
			const put: string[] = [];
			const cache: TensorCache = { get: async () => tensors, put: async (key) => void put.push(key) };
			const { mean } = await createLatentSource({ encode: encoder().encode, cache }).latents([request(2)]);
			expect(mean.data).toEqual((await encoder().encode(picture(2))).mean.data);
			expect(put).toEqual([request(2).key]);
		}
	});

	it('refuse pictures of two sizes in a batch, and what is no picture', async () => {
		const source = createLatentSource({ encode: encoder().encode });
		await expect(source.latents([request(1), request(2, 24)])).rejects.toThrow(/one size/);
		await expect(source.latents([])).rejects.toThrow(FormatError);
		await expect(source.latents([{ key: 'k', pixels: () => f32Tensor([2, 3, 8, 8], new Float32Array(384)) }])).rejects.toThrow(
			/\(1, 3, h, w\), not f32 of \(2, 3, 8, 8\)/,
		);
	});
});

describe('text states through a cache', () => {
	it('are the same bits with and without, for one encoder and for two', async () => {
		for (const encoders of [1, 2]) {
			let calls = 0;
			const encode = async (ids: readonly Int32Array[]) => {
				calls++;
				return Array.from({ length: encoders }, (_, n) => ({
					states: f32Tensor(
						[1, 3, 2],
						Float32Array.from({ length: 6 }, (_, i) => (ids[0]?.[i % 3] ?? 0) / (n + 3)),
					),
					pooled: f32Tensor([1, 2], Float32Array.of(n, 1 / 3)),
				}));
			};
			const source = createTextSource({ encode, cache: createMemoryCache(1e6) });
			const ids = [Int32Array.of(1, 2, 3)];
			const first = await source.states('a', ids);
			expect(await source.states('a', ids)).toEqual(await encode(ids));
			expect(first.length).toBe(encoders);
			expect(calls).toBe(2);
		}
	});

	it('are made anew where the cache holds latents under the key', async () => {
		const cache: TensorCache = { get: async () => ({ mean: picture(1), logvar: picture(1) }), put: async () => {} };
		const states = [{ states: f32Tensor([1, 1, 1], Float32Array.of(1)), pooled: f32Tensor([1, 1], Float32Array.of(2)) }];
		expect(await createTextSource({ encode: async () => states, cache }).states('a', [])).toEqual(states);
	});
});

describe('the cache in memory', () => {
	it('keeps what was put, not what becomes of it', async () => {
		const cache = createMemoryCache(1e6);
		const data = Float32Array.of(1, 2);
		await cache.put('a', { x: f32Tensor([2], data) });
		data.fill(9);
		expect((await cache.get('a'))?.['x']?.data).toEqual(Float32Array.of(1, 2));
		await cache.put('a', { x: f32Tensor([1], Float32Array.of(3)) });
		expect((await cache.get('a'))?.['x']?.data).toEqual(Float32Array.of(3));
	});

	it('forgets what was not used for longest, and keeps one thing whatever its size', async () => {
		const cache = createMemoryCache(40);
		for (const key of ['a', 'b', 'c']) {
			await cache.put(key, { x: f32Tensor([5], new Float32Array(5)) });
			await cache.get('a');
		}
		expect(await cache.get('b')).toBeUndefined();
		expect(await cache.get('a')).toBeDefined();
		await cache.put('large', { x: f32Tensor([500], new Float32Array(500)) });
		expect(await cache.get('large')).toBeDefined();
		expect(await cache.get('a')).toBeUndefined();
	});

	it('makes a value once for all who ask, and again after a failure', async () => {
		const cache = createRecentCache<number>(10, () => 1);
		let calls = 0;
		const make = async (): Promise<number> => ++calls;
		expect(await Promise.all([cache.get('a', make), cache.get('a', make)])).toEqual([1, 1]);
		await expect(cache.get('b', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
		expect(await cache.get('b', make)).toBe(2);
		cache.clear();
		expect(await cache.get('a', make)).toBe(3);
	});
});
