import { type DType, numel } from './dtype.js';
import { elementReader } from './half.js';
import { SMALL_TENSOR_ELEMENTS } from './limits.js';
import { type RangeRequest, readRanges } from './range-reads.js';
import type { Tensor } from './tensor.js';

const NONE: readonly number[] = [];

/** True for a tensor whose values belong in `StateDict.small`. */
export function isSmall(tensor: Tensor): boolean {
	const count = numel(tensor.shape);
	return count !== undefined && count <= SMALL_TENSOR_ELEMENTS && elementReader(tensor.dtype) !== undefined;
}

/**
 * The values of every small tensor (at most `SMALL_TENSOR_ELEMENTS` elements, of a type that a number can
 * hold), by name, in the order given. Integers beyond 2^53 leave their tensor out; complex and 4- and 6-bit types
 * are left out. Reads are joined, so that a few hundred scalars in a small file cost one read.
 *
 * @throws {FormatError} what the source throws: `E_TRUNCATED`, `E_IO`, `E_HTTP`.
 */
export async function readSmallValues(tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, readonly number[]>> {
	const names: string[] = [];
	const dtypes: DType[] = [];
	const requests: RangeRequest[] = [];
	const values = new Map<string, readonly number[]>();
	for (const [name, tensor] of tensors) {
		if (!isSmall(tensor)) continue;
		// Set now, so that the order is that of the file whatever the order of reading.
		values.set(name, NONE);
		if (tensor.range === undefined) settle(values, name, tensor.dtype, await tensor.read());
		else if (tensor.nbytes > 0) {
			names.push(name);
			dtypes.push(tensor.dtype);
			requests.push({ source: tensor.range.source, offset: tensor.range.offset, length: tensor.nbytes });
		}
	}
	await readRanges(requests, (i, bytes) => {
		const name = names[i];
		const dtype = dtypes[i];
		if (name !== undefined && dtype !== undefined) settle(values, name, dtype, bytes);
	});
	return values;
}

function settle(values: Map<string, readonly number[]>, name: string, dtype: DType, bytes: Uint8Array): void {
	const reader = elementReader(dtype);
	if (reader === undefined) return;
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const list: number[] = [];
	for (let at = 0; at < bytes.byteLength; at += reader.size) {
		const value = reader.read(view, at);
		if (reader.integer && !Number.isSafeInteger(value)) {
			values.delete(name);
			return;
		}
		list.push(value);
	}
	values.set(name, list);
}
