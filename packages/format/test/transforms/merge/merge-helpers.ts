import type { Adapter, TargetModule } from '../../../src/adapter.js';
import type { DType } from '../../../src/dtype.js';
import { type DeltaOptions, deltaOf } from '../../../src/families/index.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../../src/half.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import type { AdapterUse, Strength } from '../../../src/transforms/strength/adapter-use.js';
import { adapterOf as smallAdapter } from '../../support/small-adapter.js';

/** An adapter in memory, called x. */
export function adapterOf(modules: readonly TargetModule[], more: Partial<Adapter> = {}): Adapter {
	return smallAdapter(modules, { source: { layout: 'kohya', container: 'memory', name: 'x' }, ...more });
}

export function useOf(adapter: Adapter, name: string, scale = 1, more: Partial<Strength> = {}): AdapterUse {
	return { adapter, name, strength: { scale, components: new Map(), blocks: undefined, ...more } };
}

export function tensorOf(dtype: WritableFloat, shape: readonly number[], data: readonly number[]): Tensor {
	return bytesTensor(dtype, shape, encodeFloats(dtype, Float64Array.from(data)));
}

export async function numbers(tensor: Tensor | undefined): Promise<number[]> {
	if (tensor === undefined) throw new Error('no tensor');
	return [...decodeFloats(tensor.dtype, await tensor.read())];
}

export function dtypesOf(adapter: Adapter): ReadonlySet<DType> {
	return new Set(adapter.modules.flatMap((m) => Object.values(m.factors).map((t) => t.dtype)));
}

export function moduleAt(adapter: Adapter, path: string): TargetModule {
	const module = adapter.modules.find((m) => m.path === path);
	if (module === undefined) throw new Error(`no module ${path}`);
	return module;
}

/** Weight's delta of a module, every element. */
export async function weightOf(module: TargetModule, options: DeltaOptions = {}): Promise<number[]> {
	const { weight } = await deltaOf(module, options);
	return [...(weight?.data ?? [])];
}

/** Largest |a - b| / max |b|. */
export function distance(a: readonly number[], b: readonly number[]): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	const scale = b.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
	return a.reduce((m, x, i) => Math.max(m, Math.abs(x - (b[i] ?? Number.NaN))), 0) / scale;
}
