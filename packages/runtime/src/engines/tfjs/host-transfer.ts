import type { Tensor } from '@tensorflow/tfjs';
import type { HostTensor } from '../../host-tensor.js';
import type { TfjsContext } from './kernel.js';

/** Numbers in host memory as a tensor of TensorFlow.js: int32, or float32 whatever they were. */
export function toTensor({ tf }: TfjsContext, { dtype, shape, data }: HostTensor): Tensor {
	// Some backends keep the array they are given.
	return dtype === 'i32'
		? tf.tensor(Int32Array.from(data), [...shape], 'int32')
		: tf.tensor(Float32Array.from(data), [...shape], 'float32');
}

/** The other way round, in memory that is the caller's. */
export async function toHost(tensor: Tensor): Promise<HostTensor> {
	const data = await tensor.data();
	const shape = [...tensor.shape];
	return tensor.dtype === 'int32'
		? { dtype: 'i32', shape, data: Int32Array.from(data) }
		: { dtype: 'f32', shape, data: Float32Array.from(data) };
}
