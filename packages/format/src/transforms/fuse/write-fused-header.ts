import { FormatError, quote } from '../../errors.js';
import { countBytes, groupDigits } from '../../group-digits.js';
import { MAX_HEADER_BYTES } from '../../limits.js';
import type { StateDict } from '../../state-dict.js';
import { compareUtf8, isWellFormed } from '../../utf8-order.js';

/**
 * The header of a safetensors file that keeps the data order of `state` (so that its data is copied in long runs)
 * under other metadata: length field, JSON without spaces, spaces up to a multiple of 8. Metadata keys are sorted, so
 * the same content is always the same bytes.
 *
 * @throws {FormatError} `E_METADATA` for half a surrogate pair, `E_HEADER_TOO_LARGE`.
 */
export function fusedHeader(state: Pick<StateDict, 'tensors'>, metadata: ReadonlyMap<string, string>): Uint8Array {
	const parts: string[] = [];
	if (metadata.size > 0) parts.push(`"__metadata__":${metadataJson(metadata)}`);
	let offset = 0;
	for (const [name, { dtype, shape, nbytes }] of state.tensors) {
		parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${offset + nbytes}]}`);
		offset += nbytes;
	}
	const json = new TextEncoder().encode(`{${parts.join(',')}}`);
	const length = Math.ceil(json.byteLength / 8) * 8;
	if (length > MAX_HEADER_BYTES) {
		throw new FormatError(
			'E_HEADER_TOO_LARGE',
			`The header would have ${countBytes(length)}, but safetensors allows ${groupDigits(MAX_HEADER_BYTES)}; the base has too much metadata.`,
		);
	}
	const header = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
	new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
	header.set(json, 8);
	return header;
}

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
