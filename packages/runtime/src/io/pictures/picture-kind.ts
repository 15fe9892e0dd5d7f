/** Kinds that are decoded, by their names in sharp's metadata. */
export type PictureKind = 'png' | 'jpeg' | 'webp' | 'gif' | 'tiff' | 'heif';

/** What the first bytes say a file is. */
export interface Sniffed {
	/** For people: `PNG`, `HEIC`. */
	readonly name: string;
	/** undefined: known, but not decoded. */
	readonly kind: PictureKind | undefined;
}

const BRANDS: Readonly<Record<string, Sniffed>> = {
	avif: { name: 'AVIF', kind: 'heif' },
	avis: { name: 'AVIF', kind: 'heif' },
	heic: { name: 'HEIC', kind: undefined },
	heix: { name: 'HEIC', kind: undefined },
	heim: { name: 'HEIC', kind: undefined },
	hevc: { name: 'HEIC', kind: undefined },
	'jxl ': { name: 'JPEG XL', kind: undefined },
};

/**
 * By the first bytes alone: a decoder never sees what is none of its kinds (libvips would also draw SVG and read its own format).
 * `undefined` for what is no picture that is known here.
 */
export function sniffPicture(bytes: Uint8Array): Sniffed | undefined {
	const head = String.fromCharCode(...bytes.subarray(0, 64));
	if (head.startsWith('\x89PNG\r\n\x1a\n')) return { name: 'PNG', kind: 'png' };
	if (head.startsWith('\xff\xd8\xff')) return { name: 'JPEG', kind: 'jpeg' };
	if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return { name: 'WebP', kind: 'webp' };
	if (/^GIF8[79]a/.test(head)) return { name: 'GIF', kind: 'gif' };
	if (/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/.test(head)) return { name: 'TIFF', kind: 'tiff' };
	if (head.slice(4, 8) === 'ftyp') {
		// The general brand of HEIF says nothing of the codec; those behind it do.
		const brands = [head.slice(8, 12), ...(head.slice(16).match(/.{4}/gs) ?? [])];
		const known = brands.flatMap((brand) => BRANDS[brand] ?? []);
		return known[0] ?? (/^(mif1|msf1)$/.test(brands[0] ?? '') ? { name: 'HEIF', kind: undefined } : undefined);
	}
	if (head.startsWith('BM')) return { name: 'BMP', kind: undefined };
	if (head.startsWith('\xff\x0a') || head.startsWith('\0\0\0\x0cJXL ')) return { name: 'JPEG XL', kind: undefined };
	if (head.startsWith('8BPS')) return { name: 'Photoshop', kind: undefined };
	if (head.startsWith('\0\0\x01\0')) return { name: 'icon', kind: undefined };
	if (head.startsWith('%PDF')) return { name: 'PDF', kind: undefined };
	return /^\s*(<\?xml[^>]*>\s*)?<(svg|!DOCTYPE svg)/.test(head) ? { name: 'SVG', kind: undefined } : undefined;
}
