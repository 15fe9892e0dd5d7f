import type { Tensor } from '@lorakit/format';
import type { BaseRef, Precision } from '../suite/case.js';
import { roundTo } from './number-format.js';
import { openTensorFile, type TensorFile, valuesOf } from './tensor-file.js';

/** The weights of a base under `component.name`. */
export interface BaseWeights {
	readonly tensors: ReadonlyMap<string, Tensor>;
	close(): Promise<void>;
}

/** @throws {Error} for a base without weights. */
export async function openBaseWeights(base: BaseRef, file: (ref: string) => string): Promise<BaseWeights> {
	const files: TensorFile[] = [];
	const tensors = new Map<string, Tensor>();
	for (const [component, ref] of Object.entries(base.components ?? {})) {
		const opened = await openTensorFile(file(ref));
		files.push(opened);
		for (const [name, tensor] of opened.tensors) tensors.set(`${component}.${name}`, tensor);
	}
	return {
		tensors,
		close: async () => {
			for (const opened of files) await opened.close();
		},
	};
}

/** Values of a base's tensor as a subject of that precision holds them. Not to be changed. */
export async function heldValues(tensor: Tensor, precision: Precision): Promise<Float64Array> {
	const values = await valuesOf(tensor);
	if (tensor.dtype === 'BF16' || (tensor.dtype === 'F16' && precision !== 'bf16') || (tensor.dtype === 'F32' && precision === 'f32'))
		return values;
	return values.map((x) => roundTo(precision, x));
}

/** True for dtypes that a merge can touch. */
export function isFloat(dtype: string): boolean {
	return dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}
