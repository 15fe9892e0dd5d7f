import { FormatError, quote } from '../errors.js';
import { countBytes, groupDigits } from '../group-digits.js';
import { MAX_HEADER_BYTES } from '../limits.js';
import type { Tensor } from '../tensor.js';
import { compareUtf8, isWellFormed } from '../utf8-order.js';

/**
 * The header of a safetensors file whose data lies in the order of `tensors`: length field, JSON without spaces with
 * `__metadata__` first (keys sorted; left out when empty), spaces up to a multiple of 8. The same content is always the
 * same bytes.
 *
 * @throws {FormatError} `E_METADATA` for half a surrogate pair in the metadata, `E_HEADER_TOO_LARGE`.
 */
export function safetensorsHeader(
	tensors: Iterable<readonly [name: string, tensor: Pick<Tensor, 'dtype' | 'shape' | 'nbytes'>]>,
	metadata: ReadonlyMap<string, string>,
): Uint8Array {
	const parts: string[] = [];
	if (metadata.size > 0) parts.push(`"__metadata__":${metadataJson(metadata)}`);
	let offset = 0;
	for (const [name, { dtype, shape, nbytes }] of tensors) {
		parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${offset + nbytes}]}`);
		offset += nbytes;
	}
	return frame(new TextEncoder().encode(`{${parts.join(',')}}`));
}

/** Length field + JSON + spaces up to a multiple of 8, so that the data is aligned. */
function frame(json: Uint8Array): Uint8Array {
	const length = Math.ceil(json.byteLength / 8) * 8;
	if (length > MAX_HEADER_BYTES) {
		throw new FormatError(
			'E_HEADER_TOO_LARGE',
			`The header would have ${countBytes(length)}, but safetensors allows ${groupDigits(MAX_HEADER_BYTES)}; write fewer tensors or less metadata.`,
		);
	}
	const header = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
	new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
	header.set(json, 8);
	return header;
}

/** `JSON.stringify` escapes exactly as serde_json does, lone surrogates aside, which are refused before. */
function metadataJson(metadata: ReadonlyMap<string, string>): string {
	const parts: string[] = [];
	for (const [key, value] of [...metadata].sort(([a], [b]) => compareUtf8(a, b))) {
		if (!isWellFormed(key) || !isWellFormed(value)) {
			throw new FormatError('E_METADATA', `The metadata entry ${quote(key)} holds half a surrogate pair, which no UTF-8 can hold.`, {
				at: `__metadata__.${key}`,
			});
		}
		parts.push(`${JSON.stringify(key)}:${JSON.stringify(value)}`);
	}
	return `{${parts.join(',')}}`;
}
