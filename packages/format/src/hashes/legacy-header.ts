import type { Tensor } from '../tensor.js';

/** What the header of a safetensors file needs to know of a tensor. */
export type HeaderTensor = Pick<Tensor, 'dtype' | 'shape' | 'nbytes'>;

/**
 * The header, with its eight length bytes, that safetensors' own writer gives for these tensors and only the
 * `ss_*` entries of the metadata, which is what sd-scripts hashes before it adds `sshs_*` and `modelspec.*`.
 * The writer keeps metadata in random order; only the length matters unless the header itself passes 1 MiB.
 *
 * Sources: kohya-ss/sd-scripts@48d368f library/train_util.py `precalculate_safetensors_hashes`;
 * huggingface/safetensors@24b0b28 safetensors/src/tensor.rs `prepare` (compact serde JSON, padded with spaces to 8).
 */
export function legacyHeader(tensors: Iterable<readonly [string, HeaderTensor]>, metadata: ReadonlyMap<string, string>): Uint8Array {
	const parts: string[] = [];
	const entries = [...metadata].filter(([key]) => key.startsWith('ss_'));
	// `safetensors.torch.save(tensors, {})` writes an empty object, as sd-scripts always passes one.
	parts.push(`"__metadata__":{${entries.map(([key, value]) => `${serdeString(key)}:${serdeString(value)}`).join(',')}}`);
	let offset = 0;
	for (const [name, { dtype, shape, nbytes }] of tensors) {
		parts.push(`${serdeString(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${offset + nbytes}]}`);
		offset += nbytes;
	}
	const json = new TextEncoder().encode(`{${parts.join(',')}}`);
	const length = Math.ceil(json.byteLength / 8) * 8;
	const bytes = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
	bytes.set(json, 8);
	return bytes;
}

/** serde_json escapes as JSON.stringify does, but lone surrogates cannot occur: they never came out of UTF-8. */
function serdeString(text: string): string {
	return JSON.stringify(text);
}
