import { countOf, f32Tensor, type HostTensor } from '@lorakit/runtime';
import { createRecentCache } from './cache-recent.js';

/** Tensors by name. */
export type CachedTensors = Readonly<Record<string, HostTensor>>;

/** Keeps what costs much to compute, by a key that says what it was computed from. What it gives back is bit for bit what was put. */
export interface TensorCache {
	/**
	 * Undefined when there is nothing, or when what is there is damaged (which is warned of, and put right by the next `put`).
	 * @throws {FormatError} `E_IO` when it cannot be told
	 */
	get(key: string): Promise<CachedTensors | undefined>;
	/** @throws {FormatError} `E_NO_SPACE`, `E_IO`; nothing is left of it then */
	put(key: string, tensors: CachedTensors): Promise<void>;
}

/** A cache in memory that forgets what was not used for longest: for browsers, and for sets that fit. */
export function createMemoryCache(capacity: number): TensorCache {
	const sizeOf = (tensors: CachedTensors | undefined): number =>
		Object.values(tensors ?? {}).reduce((sum, { data }) => sum + data.byteLength, 0);
	const recent = createRecentCache<CachedTensors>(capacity, sizeOf);
	return {
		get: async (key) => await recent.peek(key),
		async put(key, tensors) {
			// Whoever put them may go on writing into their memory.
			const kept = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]));
			recent.drop(key);
			await recent.get(key, async () => kept);
		},
	};
}

/** What is in the cache, or what `make` makes, which is put there. Two calls at once for one key make it once. */
export interface CachedSource {
	get(key: string, isSound: (tensors: CachedTensors) => boolean, make: () => Promise<CachedTensors>): Promise<CachedTensors>;
}

/** @param cache left out: everything is made each time */
export function createCachedSource(cache: TensorCache | undefined): CachedSource {
	const making = new Map<string, Promise<CachedTensors>>();

	async function find(
		key: string,
		isSound: (tensors: CachedTensors) => boolean,
		make: () => Promise<CachedTensors>,
	): Promise<CachedTensors> {
		const known = await cache?.get(key);
		if (known !== undefined && isSound(known)) return known;
		const made = await make();
		await cache?.put(key, made);
		return made;
	}

	return {
		async get(key, isSound, make) {
			const running = making.get(key);
			if (running !== undefined) return await running;
			const found = find(key, isSound, make);
			making.set(key, found);
			try {
				return await found;
			} finally {
				making.delete(key);
			}
		},
	};
}

/** A float32 tensor of that rank with as many numbers as its shape says. */
export function isFloats(tensor: HostTensor | undefined, rank: number): tensor is HostTensor & { readonly data: Float32Array } {
	return tensor?.dtype === 'f32' && tensor.shape.length === rank && countOf(tensor.shape) === tensor.data.length;
}

/** The same numbers as float32: an engine may compute in float64. */
export function asFloats(tensor: HostTensor): HostTensor {
	return tensor.dtype === 'f32' ? tensor : f32Tensor(tensor.shape, Float32Array.from(tensor.data));
}
