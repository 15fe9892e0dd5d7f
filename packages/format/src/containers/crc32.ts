/** Sixteen tables of 256, one after the other: table k advances a byte that has k more bytes behind it. */
const TABLES: Int32Array = buildTables();

/** Words are read as the machine has them; where that is not little-endian, only the byte loop runs. */
const LITTLE: boolean = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/**
 * CRC-32 of zip (reflected polynomial 0xEDB88320), sixteen bytes a step. `crc` continues an earlier result, so
 * that a stream can be summed in pieces; start with 0.
 */
export function crc32(bytes: Uint8Array, crc = 0): number {
	const t = TABLES;
	let c = ~crc;
	let i = 0;
	// Up to the first whole word of the buffer.
	const head = LITTLE ? Math.min(-bytes.byteOffset & 3, bytes.byteLength) : bytes.byteLength;
	for (; i < head; i++) c = at(t, (c ^ at(bytes, i)) & 255) ^ (c >>> 8);
	const steps = (bytes.byteLength - i) >>> 4;
	if (steps > 0) {
		const words = new Int32Array(bytes.buffer, bytes.byteOffset + i, steps * 4);
		for (let w = 0; w < words.length; w += 4) {
			const a = at(words, w) ^ c;
			const b = at(words, w + 1);
			const d = at(words, w + 2);
			const e = at(words, w + 3);
			c =
				at(t, 3840 + (a & 255)) ^
				at(t, 3584 + ((a >>> 8) & 255)) ^
				at(t, 3328 + ((a >>> 16) & 255)) ^
				at(t, 3072 + (a >>> 24)) ^
				at(t, 2816 + (b & 255)) ^
				at(t, 2560 + ((b >>> 8) & 255)) ^
				at(t, 2304 + ((b >>> 16) & 255)) ^
				at(t, 2048 + (b >>> 24)) ^
				at(t, 1792 + (d & 255)) ^
				at(t, 1536 + ((d >>> 8) & 255)) ^
				at(t, 1280 + ((d >>> 16) & 255)) ^
				at(t, 1024 + (d >>> 24)) ^
				at(t, 768 + (e & 255)) ^
				at(t, 512 + ((e >>> 8) & 255)) ^
				at(t, 256 + ((e >>> 16) & 255)) ^
				at(t, e >>> 24);
		}
		i += steps * 16;
	}
	for (; i < bytes.byteLength; i++) c = at(t, (c ^ at(bytes, i)) & 255) ^ (c >>> 8);
	return ~c >>> 0;
}

/** Index that is inside by construction; V8 inlines it. */
function at(array: Uint8Array | Int32Array, index: number): number {
	return array[index] as number;
}

function buildTables(): Int32Array {
	const tables = new Int32Array(16 * 256);
	for (let n = 0; n < 256; n++) {
		let c = n;
		for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
		tables[n] = c;
	}
	for (let k = 256; k < tables.length; k++) {
		const c = at(tables, k - 256);
		tables[k] = at(tables, c & 255) ^ (c >>> 8);
	}
	return tables;
}
