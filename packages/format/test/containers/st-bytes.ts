/** Literal safetensors files for tests: written by hand, so that nothing of ours is in them. */
export function stFile(header: string | Uint8Array, data: number | readonly number[] = 0, length?: bigint): Uint8Array {
	const json = typeof header === 'string' ? new TextEncoder().encode(header) : header;
	const body = typeof data === 'number' ? new Uint8Array(data) : Uint8Array.from(data);
	const out = new Uint8Array(8 + json.byteLength + body.byteLength);
	new DataView(out.buffer).setBigUint64(0, length ?? BigInt(json.byteLength), true);
	out.set(json, 8);
	out.set(body, 8 + json.byteLength);
	return out;
}

/** A header entry. */
export function entry(name: string, dtype: string, shape: string, begin: number, end: number): string {
	return `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]}`;
}

export function fromHex(hex: string): Uint8Array {
	return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
