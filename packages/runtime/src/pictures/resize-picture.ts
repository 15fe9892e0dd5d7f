import { FormatError } from '@lorakit/format';
import type { Picture } from './picture.js';
import { FILTERS, type Filter, type ResampleFilter } from './resample-filters.js';

/** Most pixels of a picture, before and after resizing: what Pillow refuses as a decompression bomb (twice its MAX_IMAGE_PIXELS). */
export const MAX_PICTURE_PIXELS: number = 178_956_970;
/** Bits of a coefficient behind the point: 8 bits of a sample and 2 of head room are left of 32. */
const PRECISION_BITS = 32 - 8 - 2;
const ONE = 2 ** PRECISION_BITS;
const HALF = ONE / 2;

/** One axis: output `i` is the sum over `counts[i]` inputs from `starts[i]` on, their factors at `size * i`. */
interface Coefficients {
	readonly size: number;
	readonly starts: Int32Array;
	readonly counts: Int32Array;
	readonly factors: Int32Array;
}

/**
 * A picture in another size, as Pillow's `Image.resize((width, height), filter)` computes it, to the grey level: the filter is
 * widened where the picture shrinks (antialias), rows first and then columns, each pass in fixed point and rounded to 8 bits
 * (python-pillow/Pillow src/libImaging/Resample.c). The same picture is given back where the size is its own.
 * @throws {FormatError} `E_USAGE` for sides that are none or a picture that is not as long as it says, `E_LIMIT` above MAX_PICTURE_PIXELS
 */
export function resizePicture(picture: Picture, width: number, height: number, filter: ResampleFilter): Picture {
	const { channels } = picture;
	for (const [w, h] of [
		[picture.width, picture.height],
		[width, height],
		[width, picture.height],
	] as const) {
		if (!Number.isInteger(w) || !Number.isInteger(h) || w < 1 || h < 1) {
			throw new FormatError('E_USAGE', `A picture cannot be ${w}x${h}; sides are whole numbers from 1.`);
		}
		if (w * h > MAX_PICTURE_PIXELS) {
			throw new FormatError('E_LIMIT', `Resizing would make ${w}x${h} pixels; the limit is ${MAX_PICTURE_PIXELS}.`);
		}
	}
	if (picture.data.length !== picture.width * picture.height * channels) {
		throw new FormatError(
			'E_USAGE',
			`A picture of ${picture.width}x${picture.height}x${channels} has ${picture.data.length} bytes; expected ${picture.width * picture.height * channels}.`,
		);
	}
	let { data } = picture;
	if (width !== picture.width)
		data = alongRows(data, picture.width, picture.height, channels, coefficients(picture.width, width, FILTERS[filter]));
	if (height !== picture.height) data = alongColumns(data, width * channels, coefficients(picture.height, height, FILTERS[filter]));
	return { width, height, channels, data };
}

/** Pillow's precompute_coeffs and normalize_coeffs_8bpc. */
function coefficients(from: number, to: number, filter: Filter): Coefficients {
	const scale = from / to;
	const widened = Math.max(1, scale);
	const support = filter.support * widened;
	const size = Math.ceil(support) * 2 + 1;
	const starts = new Int32Array(to);
	const counts = new Int32Array(to);
	const factors = new Int32Array(to * size);
	const weights = new Float64Array(size);
	const step = 1 / widened;
	for (let i = 0; i < to; i++) {
		const centre = (i + 0.5) * scale;
		const start = Math.max(0, Math.trunc(centre - support + 0.5));
		const count = Math.min(from, Math.trunc(centre + support + 0.5)) - start;
		let sum = 0;
		for (let k = 0; k < count; k++) {
			const weight = filter.weight((k + start - centre + 0.5) * step);
			weights[k] = weight;
			sum += weight;
		}
		for (let k = 0; k < count; k++) {
			const weight = sum === 0 ? (weights[k] ?? 0) : (weights[k] ?? 0) / sum;
			factors[i * size + k] = Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * ONE);
		}
		starts[i] = start;
		counts[i] = count;
	}
	return { size, starts, counts, factors };
}

function alongRows(
	data: Uint8Array,
	width: number,
	height: number,
	channels: number,
	{ size, starts, counts, factors }: Coefficients,
): Uint8Array {
	const wide = starts.length;
	const out = new Uint8Array(wide * height * channels);
	// Of one channel all three are the same sample.
	const [green, blue] = channels === 3 ? [1, 2] : [0, 0];
	for (let y = 0; y < height; y++) {
		for (let x = 0; x < wide; x++) {
			const count = counts[x] as number;
			let from = (y * width + (starts[x] as number)) * channels;
			let [r, g, b] = [HALF, HALF, HALF];
			for (let k = 0; k < count; k++, from += channels) {
				const factor = factors[x * size + k] as number;
				r += (data[from] as number) * factor;
				g += (data[from + green] as number) * factor;
				b += (data[from + blue] as number) * factor;
			}
			const to = (y * wide + x) * channels;
			out[to] = toByte(r);
			out[to + green] = toByte(g);
			out[to + blue] = toByte(b);
		}
	}
	return out;
}

function alongColumns(data: Uint8Array, row: number, { size, starts, counts, factors }: Coefficients): Uint8Array {
	const high = starts.length;
	const out = new Uint8Array(row * high);
	const sums = new Float64Array(row);
	for (let y = 0; y < high; y++) {
		sums.fill(HALF);
		const count = counts[y] as number;
		for (let k = 0; k < count; k++) {
			const factor = factors[y * size + k] as number;
			const from = ((starts[y] as number) + k) * row;
			for (let i = 0; i < row; i++) sums[i] = (sums[i] as number) + (data[from + i] as number) * factor;
		}
		for (let i = 0; i < row; i++) out[y * row + i] = toByte(sums[i] as number);
	}
	return out;
}

function toByte(sum: number): number {
	return Math.min(255, Math.max(0, Math.floor(sum / ONE)));
}
