import { FormatError } from '@lorakit/format';
import type { PictureSize } from './dataset.js';

/** Options of `aspectBuckets`, by kohya's meaning. */
export interface BucketOptions {
	/** `--resolution`: its area is what every bucket may have at most. */
	readonly resolution: PictureSize;
	/** `--min_bucket_reso`, pixels; default 256. */
	readonly minSide?: number | undefined;
	/** `--max_bucket_reso`, pixels; default 1024. Not with `noUpscale`. */
	readonly maxSide?: number | undefined;
	/** `--bucket_reso_steps`: sides are multiples of it; default 64, and a multiple of 8. */
	readonly step?: number | undefined;
	/** `--bucket_no_upscale`: pictures only shrink, and buckets are made to fit them. */
	readonly noUpscale?: boolean | undefined;
}

/** Where a picture goes. */
export interface BucketChoice {
	/** What is cut out and trained on. */
	readonly bucket: PictureSize;
	/** What the picture is resized to before; never smaller than the bucket. */
	readonly resized: PictureSize;
}

export interface AspectBuckets {
	/** The buckets there are beforehand, sorted by width, then height; with `noUpscale` none. */
	readonly sizes: readonly PictureSize[];
	/** `undefined` for a picture that is smaller than one step of a bucket, which only `noUpscale` can meet. */
	choose(picture: PictureSize): BucketChoice | undefined;
}

/** Largest side of a bucket. */
export const MAX_BUCKET_SIDE: number = 8192;

/**
 * Buckets of about one area and many shapes, as kohya's `BucketManager` and `make_bucket_resolutions` make and choose them
 * (kohya-ss/sd-scripts library/train_util.py, library/model_util.py): the bucket whose width/height is nearest, the picture
 * resized to cover it.
 * @throws {FormatError} `E_USAGE` for sides and steps that make no bucket
 */
export function aspectBuckets(options: BucketOptions): AspectBuckets {
	const { resolution, noUpscale = false, step = 64, minSide = 256, maxSide = 1024 } = options;
	for (const [name, value] of Object.entries({ width: resolution.width, height: resolution.height, minSide, maxSide })) {
		if (!Number.isInteger(value) || value < 8 || value > MAX_BUCKET_SIDE) {
			throw new FormatError('E_USAGE', `The buckets' ${name} is ${value}; it is a whole number of pixels from 8 to ${MAX_BUCKET_SIDE}.`);
		}
	}
	if (!Number.isInteger(step) || step < 8 || step % 8 !== 0) {
		throw new FormatError('E_USAGE', `The step of buckets is ${step}; it is a multiple of 8, the pixels of a latent.`);
	}
	for (const [name, value] of Object.entries({ minSide, maxSide })) {
		// Buckets begin at the shortest side and may end at the longest.
		if (value % 8 !== 0)
			throw new FormatError('E_USAGE', `The buckets' ${name} is ${value}; it is a multiple of 8, the pixels of a latent.`);
	}
	if (noUpscale) return { sizes: [], choose: (picture) => chooseShrinking(picture, resolution.width * resolution.height, step) };
	if (maxSide < Math.max(resolution.width, resolution.height) || maxSide < minSide) {
		throw new FormatError(
			'E_USAGE',
			`The longest side of buckets is ${maxSide}, below the resolution ${resolution.width}x${resolution.height} or the shortest side ${minSide}; make it larger.`,
		);
	}
	const sizes = bucketSizes(resolution.width * resolution.height, minSide, maxSide, step);
	if (sizes.length === 0) {
		throw new FormatError(
			'E_USAGE',
			`A resolution of ${resolution.width}x${resolution.height} has no bucket at a step of ${step}; make it larger.`,
		);
	}
	return { sizes, choose: (picture) => chooseNearest(picture, sizes) };
}

function bucketSizes(area: number, minSide: number, maxSide: number, step: number): readonly PictureSize[] {
	const found = new Map<string, PictureSize>();
	const add = (width: number, height: number): void => {
		if (width > 0 && height > 0) found.set(`${width}x${height}`, { width, height });
	};
	const square = Math.floor(Math.sqrt(area) / step) * step;
	add(square, square);
	for (let width = minSide; width <= maxSide; width += step) {
		const height = Math.min(maxSide, Math.floor(Math.floor(area / width) / step) * step);
		if (height < minSide) continue;
		add(width, height);
		add(height, width);
	}
	return [...found.values()].sort((a, b) => a.width - b.width || a.height - b.height);
}

function chooseNearest({ width, height }: PictureSize, sizes: readonly PictureSize[]): BucketChoice {
	const ratio = width / height;
	// A picture of a bucket's own size goes there, also where another has the same shape.
	let bucket = sizes.find((size) => size.width === width && size.height === height);
	let least = Number.POSITIVE_INFINITY;
	for (const size of bucket === undefined ? sizes : []) {
		const error = Math.abs(size.width / size.height - ratio);
		if (error >= least) continue;
		least = error;
		bucket = size;
	}
	if (bucket === undefined) throw new TypeError('no buckets');
	const scale = ratio > bucket.width / bucket.height ? bucket.height / height : bucket.width / width;
	return { bucket, resized: { width: Math.trunc(width * scale + 0.5), height: Math.trunc(height * scale + 0.5) } };
}

function chooseShrinking({ width, height }: PictureSize, area: number, step: number): BucketChoice | undefined {
	const resized = width * height > area ? shrink(width / height, area, step) : { width, height };
	const bucket = { width: resized.width - (resized.width % step), height: resized.height - (resized.height % step) };
	return bucket.width > 0 && bucket.height > 0 ? { bucket, resized } : undefined;
}

/** To the area, one side a multiple of the step: the one that changes the shape less. */
function shrink(ratio: number, area: number, step: number): PictureSize {
	const toStep = (x: number): number => Math.trunc(x + 0.5) - (Math.trunc(x + 0.5) % step);
	const wide = Math.sqrt(area * ratio);
	const byWidth = toStep(wide);
	const byHeight = toStep(area / wide);
	const errorByWidth = Math.abs(byWidth / toStep(byWidth / ratio) - ratio);
	const errorByHeight = Math.abs(toStep(byHeight * ratio) / byHeight - ratio);
	return errorByWidth < errorByHeight
		? { width: byWidth, height: Math.trunc(byWidth / ratio + 0.5) }
		: { width: Math.trunc(byHeight * ratio + 0.5), height: byHeight };
}
