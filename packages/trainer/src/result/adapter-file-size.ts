import { computedTensor } from '@lorakit/format';
import { countOf } from '@lorakit/runtime';
import { planResult, type ResultFile, type ResultOptions } from './plan-result.js';
import { type AdapterDescription, adapterOf, type SizedTensor } from './trained-adapter.js';

/** Sizes of what training will write. */
export interface AdapterFileSize {
	/** All files together. */
	readonly bytes: number;
	readonly files: readonly Pick<ResultFile, 'name' | 'what' | 'bytes'>[];
	/** Trained numbers in them. */
	readonly parameters: number;
}

/**
 * The exact size of every file that `planResult` will give for tensors of these shapes, computed from shapes and header entries
 * alone: before training, and for adapters of any size without memory. Entries that end up with other values of the same length
 * (hashes, dates, counts of as many digits) do not change it.
 *
 * @throws {FormatError} as `trainedAdapter` and `planResult`: what could not be written is refused before it is trained
 */
export function adapterFileSize(
	tensors: readonly SizedTensor[],
	description: AdapterDescription,
	options: ResultOptions = {},
): AdapterFileSize {
	const adapter = adapterOf(tensors, description, (tensor, shape) =>
		computedTensor('F32', shape, undefined, () => Promise.reject(new TypeError(`${tensor.name} was planned, not trained`))),
	);
	const { files } = planResult(adapter, options);
	return {
		bytes: files.reduce((sum, file) => sum + file.bytes, 0),
		files: files.map(({ name, what, bytes }) => ({ name, what, bytes })),
		parameters: tensors.reduce((sum, { shape }) => sum + countOf(shape), 0),
	};
}
