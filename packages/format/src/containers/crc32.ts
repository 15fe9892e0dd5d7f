/** Eight tables of 256: table k advances a byte that has k more bytes behind it. */
const TABLES: readonly Uint32Array[] = buildTables();

/**
 * CRC-32 of zip (reflected polynomial 0xEDB88320), eight bytes a step. `crc` continues an earlier result, so
 * that a stream can be summed in pieces; start with 0.
 */
export function crc32(bytes: Uint8Array, crc = 0): number {
	const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as readonly [
		Uint32Array,
		Uint32Array,
		Uint32Array,
		Uint32Array,
		Uint32Array,
		Uint32Array,
		Uint32Array,
		Uint32Array,
	];
	let c = ~crc;
	let i = 0;
	const end = bytes.byteLength - 7;
	for (; i < end; i += 8) {
		c ^= at(bytes, i) | (at(bytes, i + 1) << 8) | (at(bytes, i + 2) << 16) | (at(bytes, i + 3) << 24);
		c =
			at(t7, c & 255) ^
			at(t6, (c >>> 8) & 255) ^
			at(t5, (c >>> 16) & 255) ^
			at(t4, c >>> 24) ^
			at(t3, at(bytes, i + 4)) ^
			at(t2, at(bytes, i + 5)) ^
			at(t1, at(bytes, i + 6)) ^
			at(t0, at(bytes, i + 7));
	}
	for (; i < bytes.byteLength; i++) c = at(t0, (c ^ at(bytes, i)) & 255) ^ (c >>> 8);
	return ~c >>> 0;
}

/** Index that is inside by construction; V8 inlines it. */
function at(array: Uint8Array | Uint32Array, index: number): number {
	return array[index] as number;
}

function buildTables(): Uint32Array[] {
	const tables: Uint32Array[] = [];
	const first = new Uint32Array(256);
	for (let n = 0; n < 256; n++) {
		let c = n;
		for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
		first[n] = c;
	}
	tables.push(first);
	for (let k = 1; k < 8; k++) {
		const previous = tables[k - 1] as Uint32Array;
		tables.push(Uint32Array.from(previous, (c) => at(first, c & 255) ^ (c >>> 8)));
	}
	return tables;
}
