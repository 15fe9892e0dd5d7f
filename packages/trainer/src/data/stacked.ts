import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor } from '@lorakit/runtime';

/**
 * Rows of one batch as one tensor, (1, ...) each -> (b, ...).
 * @param what they are, for the message: `latents`
 * @throws {FormatError} `E_USAGE` for none, or for tensors of different shapes
 */
export function stacked(tensors: readonly HostTensor[], what: string): HostTensor {
	const [first] = tensors;
	if (first === undefined) throw new FormatError('E_USAGE', `A batch of no pictures has no ${what}.`);
	const size = first.data.length;
	const data = new Float32Array(size * tensors.length);
	for (const [i, tensor] of tensors.entries()) {
		if (tensor.shape.join() !== first.shape.join()) {
			throw new FormatError(
				'E_USAGE',
				`What is in one batch has one size, but its ${what} are (${first.shape.join(', ')}) and (${tensor.shape.join(', ')}).`,
			);
		}
		data.set(tensor.data, i * size);
	}
	return f32Tensor([tensors.length, ...first.shape.slice(1)], data);
}
