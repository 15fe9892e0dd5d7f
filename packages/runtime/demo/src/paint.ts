import type { Picture } from './messages.js';

/** From here on a picture has enough pixels to be smoothed when it is enlarged. */
const SMOOTH_FROM = 256;

/** A picture on a canvas of its size. */
export function paint(canvas: HTMLCanvasElement, { width, height, data }: Picture): void {
	canvas.width = width;
	canvas.height = height;
	canvas.classList.toggle('small', Math.min(width, height) < SMOOTH_FROM);
	const pixels = new ImageData(width, height);
	for (let i = 0; i < width * height; i++) {
		for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = data[3 * i + c] ?? 0;
		pixels.data[4 * i + 3] = 255;
	}
	canvas.getContext('2d')?.putImageData(pixels, 0, 0);
}
