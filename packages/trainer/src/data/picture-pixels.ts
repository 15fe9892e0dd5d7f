import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor, type Picture, resizePicture } from '@lorakit/runtime';
import type { PicturePlan } from './plan-picture.js';

/**
 * A decoded picture as what the VAE encodes: resized, cut, flipped, and (1, 3, h, w) in [-1, 1] by torchvision's `ToTensor` and
 * `Normalize([0.5], [0.5])`, (x / 255 - 0.5) / 0.5 with every step in float32.
 * @throws {FormatError} `E_USAGE` for a picture that is not RGB or a plan that reaches beyond it, those of resizing
 */
export function picturePixels(picture: Picture, plan: PicturePlan): HostTensor {
	if (picture.channels !== 3) throw new FormatError('E_USAGE', 'A picture to train on is RGB; this one has one channel.');
	const { width, height, data } = cutOut(picture, plan);
	const values = new Float32Array(3 * width * height);
	for (let i = 0; i < width * height; i++) {
		for (let c = 0; c < 3; c++) values[c * width * height + i] = NORMALIZED[data[3 * i + c] as number] as number;
	}
	return f32Tensor([1, 3, height, width], values);
}

const NORMALIZED: Float32Array = Float32Array.from({ length: 256 }, (_, x) => Math.fround(Math.fround(x / 255) - 0.5) / 0.5);

/**
 * A mask, of the picture's own size, at the size of its latents: (1, 1, h / factor, w / factor) in [0, 1]. It goes the way of its
 * picture (by bilinear, which never overshoots), and every latent then has the mean of its pixels: kohya's
 * `apply_masked_loss` (`F.interpolate(mode="area")`, kohya-ss/sd-scripts library/custom_train_functions.py).
 * @param factor pixels of a side of a latent, 8 for every published VAE
 * @throws {FormatError} `E_USAGE` for more than one channel, a plan that is not the mask's, sides that are no multiples of factor
 */
export function maskLatents(mask: Picture, plan: PicturePlan, factor: number): HostTensor {
	if (mask.channels !== 1) throw new FormatError('E_USAGE', 'A mask has one channel.');
	const { width, height, data } = cutOut(mask, { ...plan, filter: 'bilinear' });
	if (width % factor !== 0 || height % factor !== 0) {
		throw new FormatError('E_USAGE', `A mask of ${width}x${height} cannot be brought to latents; sides must be multiples of ${factor}.`);
	}
	const [w, h] = [width / factor, height / factor];
	const values = new Float32Array(w * h);
	for (let y = 0; y < h; y++) {
		for (let x = 0; x < w; x++) {
			let sum = 0;
			for (let dy = 0; dy < factor; dy++) {
				for (let dx = 0; dx < factor; dx++) sum += data[(y * factor + dy) * width + x * factor + dx] as number;
			}
			values[y * w + x] = sum / (255 * factor * factor);
		}
	}
	return f32Tensor([1, 1, h, w], values);
}

/** The red channel of a mask picture, which is what kohya reads. */
export function maskOf({ width, height, channels, data }: Picture): Picture {
	if (channels === 1) return { width, height, channels, data };
	return { width, height, channels: 1, data: Uint8Array.from({ length: width * height }, (_, i) => data[3 * i] as number) };
}

/** Resize, cut, flip: 8 bits in and out. */
function cutOut(picture: Picture, { filter, resized, crop, flip }: PicturePlan): Picture {
	const { left, top, width, height } = crop;
	if (left < 0 || top < 0 || left + width > resized.width || top + height > resized.height) {
		throw new FormatError(
			'E_USAGE',
			`The plan cuts ${width}x${height} at ${left},${top} out of ${resized.width}x${resized.height}, which is beyond it.`,
		);
	}
	const { channels, data } = resizePicture(picture, resized.width, resized.height, filter);
	const out = new Uint8Array(width * height * channels);
	for (let y = 0; y < height; y++) {
		const row = ((top + y) * resized.width + left) * channels;
		if (!flip) {
			out.set(data.subarray(row, row + width * channels), y * width * channels);
			continue;
		}
		for (let x = 0; x < width; x++) {
			const from = row + (width - 1 - x) * channels;
			out.set(data.subarray(from, from + channels), (y * width + x) * channels);
		}
	}
	return { width, height, channels, data: out };
}
