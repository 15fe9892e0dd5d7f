import type { Picture } from './messages.js';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** An 8-bit RGB PNG with texts in it, by keyword (1 to 79 ASCII characters). Exactly the bytes of the picture, whatever the screen's colours are. */
export async function encodePng({ width, height, data }: Picture, texts: ReadonlyMap<string, string>): Promise<Blob> {
	const row = 3 * width;
	const lines = new Uint8Array(height * (row + 1));
	// Filter 0 at the head of each line.
	for (let y = 0; y < height; y++) lines.set(data.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
	const zlib = new Blob([lines]).stream().pipeThrough(new CompressionStream('deflate'));
	const packed = new Uint8Array(await new Response(zlib).arrayBuffer());

	const header = new DataView(new ArrayBuffer(13));
	header.setUint32(0, width);
	header.setUint32(4, height);
	header.setUint8(8, 8);
	header.setUint8(9, 2 /* RGB */);
	const utf8 = new TextEncoder();
	// iTXt: UTF-8, not compressed, no language.
	const written = [...texts].map(([keyword, text]) => chunk('iTXt', utf8.encode(`${keyword}\0\0\0\0\0${text.replaceAll('\0', ' ')}`)));
	return new Blob(
		[SIGNATURE, chunk('IHDR', new Uint8Array(header.buffer)), ...written, chunk('IDAT', packed), chunk('IEND', new Uint8Array())],
		{ type: 'image/png' },
	);
}

function chunk(type: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
	const out = new Uint8Array(body.byteLength + 12);
	const view = new DataView(out.buffer);
	view.setUint32(0, body.byteLength);
	out.set(new TextEncoder().encode(type), 4);
	out.set(body, 8);
	view.setUint32(body.byteLength + 8, crc32(out.subarray(4, body.byteLength + 8)));
	return out;
}

function crc32(bytes: Uint8Array): number {
	let crc = 0xffffffff;
	for (const byte of bytes) {
		crc ^= byte;
		for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc >>> 0;
}
