import { bytesTensor, type DType, FormatError, quote, type Tensor } from '@lorakit/format';
import type { SavedTensor } from './run-snapshot.js';

const DTYPE_OF: Readonly<Record<SavedTensor['dtype'], DType>> = { f32: 'F32', f64: 'F64', i32: 'I32', u8: 'U8' };

/** Tensors of a snapshot as those of a safetensors file: the same bits (little-endian, as every machine that runs this is). */
export function snapshotTensors(tensors: ReadonlyMap<string, SavedTensor>): ReadonlyMap<string, Tensor> {
	return new Map(
		[...tensors].map(([name, { dtype, shape, data }]) => [
			name,
			bytesTensor(DTYPE_OF[dtype], shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), name),
		]),
	);
}

/** The way back. @throws {FormatError} `E_DTYPE` for a tensor of another type, and what reading throws */
export async function readSnapshotTensors(tensors: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, SavedTensor>> {
	const out = new Map<string, SavedTensor>();
	for (const [name, tensor] of tensors) {
		// A copy of its own: aligned, and not a view of a larger buffer.
		const { buffer } = new Uint8Array(await tensor.read());
		const { shape } = tensor;
		if (tensor.dtype === 'F32') out.set(name, { dtype: 'f32', shape, data: new Float32Array(buffer) });
		else if (tensor.dtype === 'F64') out.set(name, { dtype: 'f64', shape, data: new Float64Array(buffer) });
		else if (tensor.dtype === 'I32') out.set(name, { dtype: 'i32', shape, data: new Int32Array(buffer) });
		else if (tensor.dtype === 'U8') out.set(name, { dtype: 'u8', shape, data: new Uint8Array(buffer) });
		else
			throw new FormatError('E_DTYPE', `The training state has ${quote(name)} in ${tensor.dtype}; it holds F32, F64, I32 and U8 alone.`, {
				at: name,
			});
	}
	return out;
}
