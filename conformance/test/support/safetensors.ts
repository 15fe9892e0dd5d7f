/** Values and shape of a float32 tensor to write. */
export interface Plain {
	readonly shape: readonly number[];
	readonly values: readonly number[] | Float64Array;
	readonly dtype?: 'F32' | 'F64';
}

/** A safetensors file, written without the code under test. */
export function safetensors(tensors: Readonly<Record<string, Plain>>, metadata?: Readonly<Record<string, string>>): Buffer {
	const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
	const parts: Buffer[] = [];
	let at = 0;
	for (const [name, { shape, values, dtype = 'F32' }] of Object.entries(tensors)) {
		const data = Buffer.from(dtype === 'F32' ? Float32Array.from(values).buffer : Float64Array.from(values).buffer);
		header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
		parts.push(data);
		at += data.byteLength;
	}
	let text = JSON.stringify(header);
	text += ' '.repeat((8 - (text.length % 8)) % 8);
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(text.length));
	return Buffer.concat([size, Buffer.from(text), ...parts]);
}
