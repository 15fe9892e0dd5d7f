import { crc32, inflateSync } from 'node:zlib';
import { FormatError, quote } from '@lorakit/format';
import type { Rgb } from '@lorakit/runtime/node';
import { decode } from 'fast-png';

const SIGNATURE = '89504e470d0a1a0a';
/** A picture of the largest side in 16 bits and RGBA, stored as badly as can be. */
const MAX_PNG_BYTES = 256 * 1024 * 1024;
const MAX_PNG_SIDE = 16_384;
/** Largest picture that is inflated: our own largest sheet, 8 bits RGB, a filter byte a row. */
const MAX_RAW_BYTES = MAX_PNG_SIDE * (3 * MAX_PNG_SIDE + 1);
const MAX_TEXT_BYTES = 4 * 1024 * 1024;
/** Samples of a pixel by colour type. */
const SAMPLES: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

interface Chunk {
	readonly type: string;
	readonly body: Buffer;
}

export interface ReadPng extends Rgb {
	/** tEXt and iTXt (not compressed) by keyword; the first of a name. */
	readonly texts: ReadonlyMap<string, string>;
}

/**
 * A PNG as 8-bit RGB: palettes and grey are widened, the upper 8 of 16 bits are kept, transparency is dropped (as Pillow's
 * `convert("RGB")`, which diffusers uses). Sizes are checked before anything is inflated; only the chunks that make the
 * picture are given to the decoder.
 * @throws {FormatError} `E_FORMAT` for what is no PNG (other kinds are named), `E_TRUNCATED`, `E_LIMIT`.
 */
export function readPng(bytes: Uint8Array, name: string): ReadPng {
	const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const kind = pictureKind(buffer);
	if (kind !== 'PNG') {
		throw new FormatError(
			'E_FORMAT',
			kind === undefined
				? `${quote(name)} is no picture; a PNG that lora generate made is needed.`
				: `${quote(name)} is a ${kind} picture; only a PNG of lora generate says how it was made, so name that one.`,
		);
	}
	if (buffer.byteLength > MAX_PNG_BYTES) {
		throw new FormatError('E_LIMIT', `${quote(name)} has ${buffer.byteLength} bytes; the limit for a picture is ${MAX_PNG_BYTES}.`);
	}
	const chunks = readChunks(buffer, name);
	const header = chunks[0];
	if (header?.type !== 'IHDR' || header.body.byteLength !== 13) throw broken(name, 'it does not begin with a header');
	const [width, height] = [header.body.readUInt32BE(0), header.body.readUInt32BE(4)];
	if (width < 1 || height < 1 || width > MAX_PNG_SIDE || height > MAX_PNG_SIDE) {
		throw new FormatError('E_LIMIT', `${quote(name)} says it is ${width}x${height}; sides from 1 to ${MAX_PNG_SIDE} are read.`);
	}
	checkData(chunks, header.body, width, height, name);
	const needed = new Set(['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND']);
	let decoded: ReturnType<typeof decode>;
	try {
		decoded = decode(Buffer.concat([buffer.subarray(0, 8), ...chunks.filter(({ type }) => needed.has(type)).map(rawChunk)]));
	} catch (error) {
		throw broken(name, error instanceof Error ? error.message : 'it cannot be decoded', error);
	}
	return { width, height, data: toRgb(decoded), texts: textsOf(chunks) };
}

/** The kind of picture by its first bytes; undefined for none that is known. */
export function pictureKind(bytes: Buffer): string | undefined {
	const hex = bytes.subarray(0, 12).toString('hex');
	if (hex.startsWith(SIGNATURE)) return 'PNG';
	if (hex.startsWith('ffd8ff')) return 'JPEG';
	if (hex.startsWith('52494646') && hex.slice(16) === '57454250') return 'WebP';
	if (hex.startsWith('47494638')) return 'GIF';
	if (hex.startsWith('424d')) return 'BMP';
	if (/^0000....6674797061766966/.test(hex)) return 'AVIF';
	return hex.startsWith('49492a00') || hex.startsWith('4d4d002a') ? 'TIFF' : undefined;
}

function readChunks(bytes: Buffer, name: string): readonly Chunk[] {
	const chunks: Chunk[] = [];
	for (let at = 8; at < bytes.byteLength; ) {
		if (at + 12 > bytes.byteLength) break;
		const length = bytes.readUInt32BE(at);
		if (at + 12 + length > bytes.byteLength) break;
		const type = bytes.toString('latin1', at + 4, at + 8);
		if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== bytes.readUInt32BE(at + 8 + length)) {
			throw broken(name, `the checksum of its ${quote(type)} chunk is wrong`);
		}
		chunks.push({ type, body: bytes.subarray(at + 8, at + 8 + length) });
		if (type === 'IEND') return chunks;
		at += 12 + length;
	}
	throw new FormatError('E_TRUNCATED', `${quote(name)} ends in the middle of the picture (${bytes.byteLength} bytes); fetch it again.`);
}

/** The compressed rows are as long as the header says: a bomb is found before the decoder sees it. */
function checkData(chunks: readonly Chunk[], header: Buffer, width: number, height: number, name: string): void {
	const samples = SAMPLES[header[9] ?? 0];
	if (samples === undefined) throw broken(name, `colour type ${header[9]} is none`);
	const bits = samples * (header[8] ?? 0);
	// Interlaced: seven pictures, each with a filter byte a row.
	const most = header[12] === 0 ? height * (Math.ceil((width * bits) / 8) + 1) : 2 * height * (Math.ceil((width * bits) / 8) + 8) + 64;
	if (most > MAX_RAW_BYTES) {
		throw new FormatError(
			'E_LIMIT',
			`${quote(name)} is ${width}x${height} of ${bits} bits a pixel, ${most} bytes when it is unpacked; the limit is ${MAX_RAW_BYTES}.`,
		);
	}
	try {
		inflateSync(Buffer.concat(chunks.filter(({ type }) => type === 'IDAT').map(({ body }) => body)), { maxOutputLength: most });
	} catch (error) {
		throw broken(name, 'its compressed rows are not what its header says', error);
	}
}

function rawChunk({ type, body }: Chunk): Buffer {
	const head = Buffer.alloc(8);
	head.writeUInt32BE(body.byteLength, 0);
	head.write(type, 4, 'latin1');
	const end = Buffer.alloc(4);
	end.writeUInt32BE(crc32(body, crc32(head.subarray(4))), 0);
	return Buffer.concat([head, body, end]);
}

function toRgb({ data, width, height, channels, depth, palette }: ReturnType<typeof decode>): Uint8Array {
	const count = width * height;
	const out = new Uint8Array(3 * count);
	const value = (i: number): number => {
		const x = data[i] ?? 0;
		return depth === 16 ? x >> 8 : x;
	};
	// Grey of fewer than 8 bits, and palettes, come packed into bytes.
	const packed = depth < 8;
	const stride = Math.ceil((width * depth) / 8);
	const sample = (x: number, y: number): number => {
		if (!packed) return value((y * width + x) * channels);
		const byte = data[y * stride + Math.floor((x * depth) / 8)] ?? 0;
		return (byte >> (8 - depth - ((x * depth) % 8))) & (2 ** depth - 1);
	};
	for (let y = 0; y < height; y++) {
		for (let x = 0; x < width; x++) {
			const i = y * width + x;
			if (palette !== undefined) out.set((palette[sample(x, y)] ?? [0, 0, 0]).slice(0, 3), 3 * i);
			else if (channels <= 2) out.fill(packed ? Math.round((sample(x, y) * 255) / (2 ** depth - 1)) : sample(x, y), 3 * i, 3 * i + 3);
			else for (let c = 0; c < 3; c++) out[3 * i + c] = value(i * channels + c);
		}
	}
	return out;
}

function textsOf(chunks: readonly Chunk[]): ReadonlyMap<string, string> {
	const texts = new Map<string, string>();
	for (const { type, body } of chunks) {
		const end = body.indexOf(0);
		if ((type !== 'tEXt' && type !== 'iTXt') || end < 1 || body.byteLength > MAX_TEXT_BYTES) continue;
		const keyword = body.toString('latin1', 0, end);
		if (texts.has(keyword)) continue;
		if (type === 'tEXt') texts.set(keyword, body.toString('latin1', end + 1));
		else if (body[end + 1] === 0) {
			const language = body.indexOf(0, end + 3);
			const translated = body.indexOf(0, language + 1);
			if (language > 0 && translated > 0) texts.set(keyword, body.toString('utf8', translated + 1));
		}
	}
	return texts;
}

function broken(name: string, why: string, cause?: unknown): FormatError {
	return new FormatError('E_FORMAT', `${quote(name)} is a broken PNG: ${why}.`, { cause });
}
