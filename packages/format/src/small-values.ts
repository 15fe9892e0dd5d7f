import { type DType, numel } from './dtype.js';
import { elementReader } from './half.js';
import { SMALL_TENSOR_ELEMENTS } from './limits.js';
import { type RangeRequest, readJoined } from './range-reads.js';
import type { Tensor } from './tensor.js';

const NONE: readonly number[] = [];

/** True for a tensor whose values belong in `StateDict.small`. */
export function isSmall(tensor: Tensor): boolean {
	// No element that a number can hold has more than 8 bytes.
	if (tensor.nbytes > 8 * SMALL_TENSOR_ELEMENTS) return false;
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
	const wanted: Wanted[] = [];
	const made: [string, Tensor][] = [];
	const values = new Map<string, readonly number[]>();
	tensors.forEach((tensor, name) => {
		if (!isSmall(tensor)) return;
		// Set now, so that the order is that of the file whatever the order of reading.
		values.set(name, NONE);
		const { range, dtype, nbytes: length } = tensor;
		if (range === undefined) made.push([name, tensor]);
		else if (length > 0) wanted.push({ source: range.source, offset: range.offset, length, name, dtype });
	});
	for (const [name, tensor] of made) {
		const bytes = await tensor.read();
		settle(values, { name, dtype: tensor.dtype, length: bytes.byteLength }, viewOf(bytes), 0);
	}
	let seen: Uint8Array | undefined;
	let view: DataView | undefined;
	await readJoined(wanted, (i, bytes, at) => {
		const what = wanted[i];
		if (what === undefined) return;
		if (view === undefined || seen !== bytes) view = viewOf(bytes);
		seen = bytes;
		settle(values, what, view, at);
	});
	return values;
}

interface Wanted extends RangeRequest {
	readonly name: string;
	readonly dtype: DType;
}

function viewOf(bytes: Uint8Array): DataView {
	return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Take the values of one tensor, which begins at `from`. */
function settle(
	values: Map<string, readonly number[]>,
	{ name, dtype, length }: Pick<Wanted, 'name' | 'dtype' | 'length'>,
	view: DataView,
	from: number,
): void {
	const reader = elementReader(dtype);
	if (reader === undefined) return;
	let list: number[] | undefined;
	for (let at = from; at < from + length; at += reader.size) {
		const value = reader.read(view, at);
		if (reader.integer && !Number.isSafeInteger(value)) {
			values.delete(name);
			return;
		}
		if (list === undefined) list = [value];
		else list.push(value);
	}
	values.set(name, list ?? NONE);
}
