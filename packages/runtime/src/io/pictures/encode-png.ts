import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** A picture of bytes (height, width, 3). */
export interface Rgb {
	readonly width: number;
	readonly height: number;
	readonly data: Uint8Array;
}

/**
 * An 8-bit RGB PNG with texts, in their order, before the picture. A text is a tEXt chunk where Latin-1 holds it, else
 * iTXt (UTF-8), as Pillow writes them; so A1111, ComfyUI and Civitai read it. The same input gives the same bytes under one
 * version of zlib.
 * @param texts keyword (1 to 79 Latin-1 characters) and text
 */
export function encodePng({ width, height, data }: Rgb, texts: Iterable<readonly [string, string]> = []): Uint8Array {
	const header = Buffer.alloc(13);
	header.writeUInt32BE(width, 0);
	header.writeUInt32BE(height, 4);
	header.set([8, 2, 0, 0, 0], 8);
	const rows = Buffer.alloc(height * (3 * width + 1));
	for (let y = 0; y < height; y++) filterRow(data, y, width, rows.subarray(y * (3 * width + 1), (y + 1) * (3 * width + 1)));
	const parts: Uint8Array[] = [SIGNATURE, chunk('IHDR', header)];
	for (const [keyword, text] of texts) parts.push(textChunk(keyword, text));
	parts.push(chunk('IDAT', deflateSync(rows)), chunk('IEND', new Uint8Array()));
	return Buffer.concat(parts);
}

/** The difference from the row above (filter 2): pictures compress by half again. */
function filterRow(data: Uint8Array, y: number, width: number, out: Uint8Array): void {
	const from = y * 3 * width;
	out[0] = y === 0 ? 0 : 2;
	for (let i = 0; i < 3 * width; i++) out[i + 1] = (data[from + i] ?? 0) - (y === 0 ? 0 : (data[from + i - 3 * width] ?? 0));
}

function textChunk(keyword: string, text: string): Uint8Array {
	if ([...text].every((c) => c.charCodeAt(0) < 256 && c.length === 1) && !text.includes('\0')) {
		return chunk('tEXt', Buffer.from(`${keyword}\0${text}`, 'latin1'));
	}
	// Neither compressed nor in a named language.
	return chunk('iTXt', Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(text.replaceAll('\0', ' '), 'utf8')]));
}

function chunk(type: string, body: Uint8Array): Uint8Array {
	const out = Buffer.alloc(body.byteLength + 12);
	out.writeUInt32BE(body.byteLength, 0);
	out.write(type, 4, 'latin1');
	out.set(body, 8);
	out.writeUInt32BE(crc32(out.subarray(4, body.byteLength + 8)), body.byteLength + 8);
	return out;
}
