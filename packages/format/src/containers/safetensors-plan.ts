import { dtypeOrder } from '../dtype.js';
import { FormatError, quote } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { compareUtf8, isWellFormed } from '../utf8-order.js';
import { safetensorsHeader } from './safetensors-header.js';

/** A safetensors file that is decided to the byte, but not read or computed yet. */
export interface SafetensorsPlan {
	/** Length field, JSON and padding; a multiple of 8 bytes. */
	readonly header: Uint8Array;
	/** Tensors in the order of their data. */
	readonly order: readonly (readonly [string, Tensor])[];
	/** Where the data of each of `order` begins, from the start of the data section. */
	readonly dataOffsets: readonly number[];
	/** Size of the whole file. */
	readonly totalBytes: number;
}

/**
 * Lay out a safetensors file as huggingface/safetensors@24b0b28 safetensors/src/tensor.rs `prepare` does: tensors
 * by dtype (the enum's order, descending), then by name (UTF-8 bytes); `__metadata__` first; JSON without spaces,
 * padded with spaces to 8 bytes. One thing is fixed that is random there: metadata keys are sorted. Empty
 * metadata is left out. So the same content is always the same bytes.
 *
 * @throws {FormatError} `E_NAME` for a tensor named `__metadata__` or with half a surrogate pair, `E_METADATA` for
 *   such text in the metadata, `E_HEADER_TOO_LARGE`, `E_OVERFLOW`.
 */
export function planSafetensors(tensors: ReadonlyMap<string, Tensor>, metadata: ReadonlyMap<string, string>): SafetensorsPlan {
	const order = [...tensors].sort(([nameA, a], [nameB, b]) => dtypeOrder(b.dtype) - dtypeOrder(a.dtype) || compareUtf8(nameA, nameB));
	const dataOffsets: number[] = [];
	let offset = 0;
	for (const [name, tensor] of order) {
		checkName(name);
		const end = offset + tensor.nbytes;
		if (!Number.isSafeInteger(end))
			throw new FormatError('E_OVERFLOW', 'The tensors together are beyond 2^53 bytes; no file is that large.');
		dataOffsets.push(offset);
		offset = end;
	}
	const header = safetensorsHeader(order, metadata);
	return { header, order, dataOffsets, totalBytes: header.byteLength + offset };
}

function checkName(name: string): void {
	if (name === '__metadata__') {
		throw new FormatError('E_NAME', 'A tensor is named "__metadata__", which safetensors keeps for its metadata; rename it.', { at: name });
	}
	if (!isWellFormed(name)) {
		throw new FormatError('E_NAME', `The tensor name ${quote(name)} holds half a surrogate pair, which no UTF-8 can hold; rename it.`, {
			at: name,
		});
	}
}
