import type { Adapter, TargetModule } from '../../src/adapter.js';
import type { BaseModel, BaseTensorFile } from '../../src/bases/index.js';
import { baseModel } from '../../src/bases/index.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../src/half.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';
import { type AdapterUse, FULL_STRENGTH, type Strength } from '../../src/transforms/strength/adapter-use.js';
import { adapterOf } from '../support/small-adapter.js';

export { adapterOf };

/** name -> shape, and values or a rule for them. */
export type BaseEntries = Readonly<Record<string, { readonly shape: readonly number[]; readonly values?: readonly number[] }>>;

export function countOf(shape: readonly number[]): number {
	return shape.reduce((n, d) => n * d, 1);
}

/** A float tensor with the given values, repeated to fill. */
export function floats(dtype: WritableFloat, shape: readonly number[], values: readonly number[], origin?: string): Tensor {
	const all = Float64Array.from({ length: countOf(shape) }, (_, i) => values[i % values.length] ?? 0);
	return bytesTensor(dtype, shape, encodeFloats(dtype, all), origin);
}

export async function valuesOf(tensor: Tensor | undefined): Promise<number[]> {
	return tensor === undefined ? [] : [...decodeFloats(tensor.dtype, await tensor.read())];
}

/** One open weight file of a base. */
export function baseFile(
	entries: BaseEntries,
	where: { readonly component?: string; readonly path?: string; readonly dtype?: WritableFloat } = {},
): BaseTensorFile {
	const { component, path = 'base.safetensors', dtype = 'F32' } = where;
	const tensors = new Map(
		Object.entries(entries).map(([name, { shape, values = [1, -2, 0.5] }]) => [name, floats(dtype, shape, values, name)] as const),
	);
	return {
		path,
		component,
		state: {
			container: 'safetensors',
			name: path,
			tensors,
			metadata: new Map(),
			top: 'dict',
			wrapper: undefined,
			nonTensors: [],
			small: new Map(),
			smallComplete: true,
			warnings: [],
		},
	};
}

/** A single-file base. */
export function singleFile(entries: BaseEntries, dtype: WritableFloat = 'F32'): BaseModel {
	return baseModel([baseFile(entries, { dtype })], 'file', 'base.safetensors');
}

/** A diffusers folder: component -> entries. */
export function folder(components: Readonly<Record<string, BaseEntries>>, dtype: WritableFloat = 'F32'): BaseModel {
	const files = Object.entries(components).map(([component, entries]) =>
		baseFile(entries, { component, path: `${component}/model.safetensors`, dtype }),
	);
	return baseModel(files, 'folder', 'base');
}

export function useOf(modules: readonly TargetModule[], strength: Partial<Strength> = {}, more: Partial<Adapter> = {}): AdapterUse {
	return { adapter: adapterOf(modules, more), name: 'a.safetensors', strength: { ...FULL_STRENGTH, ...strength } };
}
