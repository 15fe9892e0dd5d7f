/** CRC-32C (Castagnoli), reflected polynomial 0x82f63b78 (RFC 3720, B.4). */
const TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, i) => {
	let crc = i;
	for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
	return crc >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
	let crc = 0xffffffff;
	for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
	return (crc ^ 0xffffffff) >>> 0;
}

/** As TFRecord files have it: turned and moved, for a CRC over bytes that hold CRCs is weak (tensorflow/core/lib/hash/crc32c.h). */
export function maskedCrc32c(bytes: Uint8Array): number {
	const crc = crc32c(bytes);
	return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
