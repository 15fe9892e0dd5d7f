import type { PictureKind } from './picture-kind.js';

/** What is read from the bytes themselves, before a decoder is asked. */
export interface PictureStructure {
	/** The file ends before the picture does, as far as its own lengths tell. */
	readonly cut: boolean;
	/** Frames of an APNG, which decoders of PNG pass over. */
	readonly frames: number;
	/** Sides that a PNG's header names. */
	readonly sides: readonly [width: number, height: number] | undefined;
	/** PNG: samples of 16 bits, grey without alpha. */
	readonly grey16: boolean;
	/** GIF: the colour of the index that stands for transparent, in the first frame. */
	readonly transparent: readonly [number, number, number] | undefined;
}

const NOTHING: PictureStructure = { cut: false, frames: 1, sides: undefined, grey16: false, transparent: undefined };

/** Never throws: broken structures are for the decoder to refuse. */
export function readStructure(kind: PictureKind, bytes: Uint8Array): PictureStructure {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (kind === 'png') return readPngStructure(bytes, view);
	if (kind === 'webp') return { ...NOTHING, cut: bytes.length < 12 || view.getUint32(4, true) + 8 > bytes.length };
	if (kind === 'jpeg') return { ...NOTHING, cut: !endsAsJpeg(bytes) };
	if (kind === 'gif') return { ...NOTHING, transparent: gifTransparent(bytes) };
	return NOTHING;
}

function readPngStructure(bytes: Uint8Array, view: DataView): PictureStructure {
	let frames = 1;
	let cut = true;
	for (let at = 8; at + 12 <= bytes.length; ) {
		const length = view.getUint32(at);
		const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
		if (type === 'acTL' && length === 8 && at + 16 <= bytes.length) frames = view.getUint32(at + 8);
		if (type === 'IEND') cut = false;
		// acTL stands before the first IDAT (APNG specification), but the end decides whether the file is whole.
		at += 12 + length;
	}
	const header = bytes.length >= 29 && view.getUint32(8) === 13;
	return {
		cut,
		frames: Math.max(1, frames),
		sides: header ? [view.getUint32(16), view.getUint32(20)] : undefined,
		grey16: header && bytes[24] === 16 && bytes[25] === 0,
		transparent: undefined,
	};
}

/** There may be anything behind a JPEG, so the end marker is looked for everywhere. */
function endsAsJpeg(bytes: Uint8Array): boolean {
	for (let i = bytes.length - 2; i >= 2; i--) if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return true;
	return false;
}

/** Palette entry of the transparent index of the first frame: its own palette, else the global one. */
function gifTransparent(bytes: Uint8Array): readonly [number, number, number] | undefined {
	const at = (i: number): number => bytes[i] ?? 0;
	const global = (at(10) & 0x80) === 0 ? undefined : 13;
	let p = 13 + (global === undefined ? 0 : 3 * 2 ** ((at(10) & 7) + 1));
	let index: number | undefined;
	while (p < bytes.length) {
		if (at(p) === 0x21) {
			// Graphic control: flags, two bytes of delay, the index.
			if (at(p + 1) === 0xf9 && (at(p + 3) & 1) === 1) index = at(p + 6);
			p += 2;
			while (p < bytes.length && at(p) !== 0) p += at(p) + 1;
			p++;
		} else if (at(p) === 0x2c) {
			const palette = (at(p + 9) & 0x80) === 0 ? global : p + 10;
			if (index === undefined || palette === undefined) return undefined;
			const entry = palette + 3 * index;
			return [at(entry), at(entry + 1), at(entry + 2)];
		} else return undefined;
	}
	return undefined;
}
