/**
 * Pixels (n, 3, h, w) about [-1, 1] as bytes, one (h, w, 3) picture after the other: round(clamp(x / 2 + 0.5) * 255),
 * halves to even, as diffusers' VaeImageProcessor and NumPy do.
 */
export function roundPictures(pixels: ArrayLike<number>, [n, , h, w]: readonly [number, number, number, number]): Uint8Array[] {
	const plane = h * w;
	return Array.from({ length: n }, (_, picture) => {
		const out = new Uint8Array(plane * 3);
		for (let c = 0; c < 3; c++) {
			const from = (picture * 3 + c) * plane;
			for (let i = 0; i < plane; i++) {
				const x = Math.fround(Math.fround((pixels[from + i] ?? 0) / 2) + 0.5);
				out[3 * i + c] = halfToEven(Math.fround(Math.min(1, Math.max(0, x)) * 255));
			}
		}
		return out;
	});
}

/** Bytes (h, w, 3) as pixels (3, h, w) in [-1, 1]: 2 x / 255 - 1 in float32. */
export function pixelsOf(bytes: Uint8Array, h: number, w: number): Float32Array {
	const out = new Float32Array(3 * h * w);
	for (let c = 0; c < 3; c++) {
		for (let i = 0; i < h * w; i++) out[c * h * w + i] = 2 * Math.fround((bytes[3 * i + c] ?? 0) / 255) - 1;
	}
	return out;
}

function halfToEven(x: number): number {
	const floor = Math.floor(x);
	const rest = x - floor;
	if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
	return floor % 2 === 0 ? floor : floor + 1;
}
