/** Raw samples as they come out of the decoder. */
export interface RawPicture {
	readonly width: number;
	readonly height: number;
	readonly channels: number;
	readonly data: Uint8Array;
}

/** RGB and, where there is one, alpha, as planes of their own. */
export interface RgbAlpha {
	/** (height, width, 3) */
	readonly data: Uint8Array;
	/** (height, width) */
	readonly alpha: Uint8Array | undefined;
}

/** 1 (grey), 2 (grey, alpha), 3 or 4 (RGBA) interleaved samples taken apart. */
export function splitAlpha({ width, height, channels, data }: RawPicture): RgbAlpha {
	if (channels === 3) return { data, alpha: undefined };
	const count = width * height;
	const rgb = new Uint8Array(3 * count);
	const alpha = channels % 2 === 0 ? new Uint8Array(count) : undefined;
	const green = channels >= 3 ? 1 : 0;
	for (let i = 0; i < count; i++) {
		const from = i * channels;
		rgb[3 * i] = data[from] as number;
		rgb[3 * i + 1] = data[from + green] as number;
		rgb[3 * i + 2] = data[from + 2 * green] as number;
		if (alpha !== undefined) alpha[i] = data[from + channels - 1] as number;
	}
	return { data: rgb, alpha };
}

/** CMYK as Pillow's `convert("RGB")` turns it, without a colour profile: (255 - K) - C (255 - K) / 255 (src/libImaging/Convert.c). */
export function cmykToRgb({ width, height, channels, data }: RawPicture): Uint8Array {
	const rgb = new Uint8Array(3 * width * height);
	for (let i = 0; i < width * height; i++) {
		const light = 255 - (data[i * channels + 3] as number);
		for (let c = 0; c < 3; c++) rgb[3 * i + c] = light - multiply255(data[i * channels + c] as number, light);
	}
	return rgb;
}

/** 16-bit grey as Pillow's `convert("RGB")` of mode `I;16`: not scaled, but cut off at 255. */
export function clipGrey16(samples: Uint16Array, channels: number): { readonly data: Uint8Array; readonly clipped: number } {
	const count = samples.length / channels;
	const data = new Uint8Array(3 * count);
	let clipped = 0;
	for (let i = 0; i < count; i++) {
		const value = samples[i * channels] as number;
		if (value > 255) clipped++;
		data.fill(Math.min(255, value), 3 * i, 3 * i + 3);
	}
	return { data, clipped };
}

/** Pixels that are wholly transparent get `colour`: that of the palette, which Pillow keeps and libvips makes black. */
export function paintTransparent({ data, alpha }: RgbAlpha, colour: readonly [number, number, number]): void {
	if (alpha === undefined) return;
	for (let i = 0; i < alpha.length; i++) if (alpha[i] === 0) data.set(colour, 3 * i);
}

/** Over white, as Pillow's `white.paste(picture, mask=alpha)`. */
export function overWhite({ data, alpha }: RgbAlpha): Uint8Array {
	if (alpha === undefined) return data;
	const out = new Uint8Array(data.length);
	for (let i = 0; i < alpha.length; i++) {
		const a = alpha[i] as number;
		for (let c = 0; c < 3; c++) out[3 * i + c] = divide255(255 * (255 - a) + (data[3 * i + c] as number) * a);
	}
	return out;
}

function multiply255(a: number, b: number): number {
	return divide255(a * b);
}

/** Rounded x / 255, as Pillow's DIV255. */
function divide255(x: number): number {
	const t = x + 128;
	return ((t >> 8) + t) >> 8;
}
