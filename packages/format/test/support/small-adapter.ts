import type { Adapter, TargetModule } from '../../src/adapter.js';
import { decodeFloats } from '../../src/half.js';
import type { Tensor } from '../../src/tensor.js';

/** An adapter of these modules with nothing else in it. */
export function adapterOf(modules: readonly TargetModule[], more: Partial<Adapter> = {}): Adapter {
	return {
		naming: 'diffusers',
		modules,
		embeddings: [],
		metadata: new Map(),
		consumed: [],
		form: new Map(),
		unknown: new Map(),
		dead: new Map(),
		base: { family: 'sd1', label: 'Stable Diffusion 1.x', confidence: 1, evidence: [] },
		source: { layout: 'kohya', container: 'safetensors', name: 'test.safetensors' },
		warnings: [],
		...more,
	};
}

/** Numbers in (-1, 1), the same every time (mulberry32). */
export function numbers(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let t = Math.imul(state ^ (state >>> 15), 1 | state);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
	};
}

export async function valuesOf(tensor: Tensor | undefined): Promise<Float64Array> {
	if (tensor === undefined) throw new Error('no tensor');
	return decodeFloats(tensor.dtype, await tensor.read());
}

/** |a - b| / |b|, Frobenius. */
export function relativeDistance(a: Float64Array, b: Float64Array): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let [sum, size] = [0, 0];
	for (let i = 0; i < a.length; i++) {
		sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
		size += (b[i] ?? 0) ** 2;
	}
	return Math.sqrt(sum / size);
}
