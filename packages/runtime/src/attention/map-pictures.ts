import { FormatError } from '@lorakit/format';
import type { AttentionMaps } from './attention-maps.js';

/** [height, width] */
export type Size = readonly [number, number];

export interface TokenMapOptions {
	/** Positions among the tokens, the start token being 0: see `wordTokens`. */
	readonly tokens: readonly number[];
	/** Of the latents that the run had: pixels / 8. */
	readonly latents: Size;
	/** Of the picture to make. */
	readonly size: Size;
	/** Which of the batch. Default: the first. */
	readonly picture?: number | undefined;
	/** Which layers; default: all that were collected. Coarse layers (small s) say where, fine ones are noisy. */
	readonly layers?: ((path: string) => boolean) | undefined;
}

/**
 * How much attention each pixel gives to some tokens together, (height * width): each layer's map enlarged bilinearly
 * to the picture, mean over the layers.
 * @throws {FormatError} `E_USAGE` when tokens, picture, layers or the size of the latents do not belong to the maps.
 */
export function tokenMap(maps: AttentionMaps, { tokens, latents, size, picture = 0, layers }: TokenMapOptions): Float32Array {
	const chosen = [...maps].filter(([path]) => layers?.(path) ?? true);
	if (chosen.length === 0) throw new FormatError('E_USAGE', 'No layer is left to make a picture of.');
	const out = new Float64Array(size[0] * size[1]);
	for (const [path, { shape, data }] of chosen) {
		const [pictures = 0, places = 0, width = 0] = shape;
		if (!Number.isInteger(picture) || picture < 0 || picture >= pictures) {
			throw new FormatError('E_USAGE', `There is no picture ${picture} among the ${pictures} of these attention maps.`);
		}
		const wrong = tokens.find((token) => !Number.isInteger(token) || token < 0 || token >= width);
		if (wrong !== undefined) throw new FormatError('E_USAGE', `There is no token ${wrong}: the prompt has ${width}.`);
		const from = picture * places * width;
		const plane = Float64Array.from({ length: places }, (_, place) =>
			tokens.reduce((total, token) => total + (data[from + place * width + token] ?? 0), 0),
		);
		const large = enlarge(plane, layerSize(path, places, latents), size);
		for (const [i, x] of large.entries()) out[i] = (out[i] ?? 0) + x / chosen.length;
	}
	return Float32Array.from(out);
}

/** The map as a grey picture (height, width, 3), `most` (default: its largest value) being white. */
export function greyPicture(map: Float32Array, most: number = largest(map)): Uint8Array {
	const out = new Uint8Array(3 * map.length);
	for (const [i, x] of map.entries()) out.fill(Math.round(255 * share(x, most)), 3 * i, 3 * i + 3);
	return out;
}

export interface OverlayOptions {
	/** What the map is laid over the picture with. Default: red. */
	readonly colour?: readonly [number, number, number] | undefined;
	/** How much of the colour is seen where the map is largest, 0 to 1. Default: 0.7. */
	readonly strength?: number | undefined;
	/** Value of the map that counts as full. Default: its largest. */
	readonly most?: number | undefined;
}

/**
 * The map laid over a picture (height, width, 3) of its size.
 * @throws {FormatError} `E_USAGE` when it has another size.
 */
export function overlayPicture(picture: Uint8Array, map: Float32Array, options: OverlayOptions = {}): Uint8Array {
	const { colour = [255, 0, 0], strength = 0.7, most = largest(map) } = options;
	if (picture.length !== 3 * map.length) {
		throw new FormatError('E_USAGE', `A map of ${map.length} pixels cannot be laid over a picture of ${picture.length / 3}.`);
	}
	return Uint8Array.from(picture, (byte, i) => {
		const part = strength * share(map[Math.floor(i / 3)] ?? 0, most);
		return Math.round((1 - part) * byte + part * (colour[i % 3] ?? 0));
	});
}

/**
 * Height and width of a layer with so many places: the latents, halved (rounding up) as often as it takes.
 * @throws {FormatError} `E_USAGE` when they are no level of such latents.
 */
export function layerSize(path: string, places: number, latents: Size): Size {
	for (let [h, w] = latents; ; [h, w] = [Math.ceil(h / 2), Math.ceil(w / 2)]) {
		if (h * w === places) return [h, w];
		if (!(h * w > places)) break;
	}
	throw new FormatError('E_USAGE', `The ${places} places of ${path} are no level of latents of ${latents[0]}x${latents[1]}.`);
}

/** Bilinear, pixel centres at halves and edges held: torch's interpolate(mode="bilinear", align_corners=False). */
function enlarge(plane: Float64Array, [h, w]: Size, [height, width]: Size): Float64Array {
	const [rows, columns] = [weights(h, height), weights(w, width)];
	const out = new Float64Array(height * width);
	for (const [y, row] of rows.entries()) {
		for (const [x, column] of columns.entries()) {
			const at = (r: number, c: number): number => plane[r * w + c] ?? 0;
			const top = at(row.low, column.low) * (1 - column.part) + at(row.low, column.high) * column.part;
			const bottom = at(row.high, column.low) * (1 - column.part) + at(row.high, column.high) * column.part;
			out[y * width + x] = top * (1 - row.part) + bottom * row.part;
		}
	}
	return out;
}

function weights(from: number, to: number): { readonly low: number; readonly high: number; readonly part: number }[] {
	return Array.from({ length: to }, (_, i) => {
		const place = Math.max(0, ((i + 0.5) * from) / to - 0.5);
		const low = Math.min(from - 1, Math.floor(place));
		return { low, high: Math.min(from - 1, low + 1), part: place - low };
	});
}

function largest(map: Float32Array): number {
	return map.reduce((most, x) => Math.max(most, x), 0);
}

/** Between 0 and 1, also where nothing is larger than 0. */
function share(x: number, most: number): number {
	return most > 0 ? Math.min(1, Math.max(0, x / most)) : 0;
}
