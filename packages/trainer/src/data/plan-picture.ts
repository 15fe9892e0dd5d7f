import { FormatError } from '@lorakit/format';
import type { ResampleFilter, TorchGenerator } from '@lorakit/runtime';
import type { PictureSize } from './dataset.js';

/** What is done to a picture, everything random drawn: plain data, a part of a cache's key. */
export interface PicturePlan {
	readonly filter: ResampleFilter;
	readonly resized: PictureSize;
	/** Of the resized picture. */
	readonly crop: PictureSize & { readonly left: number; readonly top: number };
	/** Left and right exchanged, after cutting. */
	readonly flip: boolean;
}

/** How pictures are brought to size. */
export interface PlanOptions {
	/** Sides after resizing. */
	readonly resized: PictureSize;
	/** What is cut out of it. */
	readonly target: PictureSize;
	/** `random` draws where it may. */
	readonly crop: 'center' | 'random';
	/** Flip half of the pictures. */
	readonly flip: boolean;
	/**
	 * Exchange left and right before the cut rather than after it: then the cut is that of the mirrored picture, as SDXL's scripts have it.
	 * Default: after.
	 */
	readonly flipFirst?: boolean | undefined;
	/** Lanczos is the default of diffusers' scripts today, bilinear was before and is torchvision's. */
	readonly filter: ResampleFilter;
}

/**
 * torchvision's `Resize(size)` of an upright picture: the shorter side becomes `size`, the longer int(size * long / short).
 * (pytorch/vision torchvision/transforms/functional.py `_compute_resized_output_size`)
 */
export function shorterSideTo(size: number, { width, height }: PictureSize): PictureSize {
	return width <= height
		? { width: size, height: Math.trunc((size * height) / width) }
		: { width: Math.trunc((size * width) / height), height: size };
}

/**
 * Draw what is done to one picture, with torch's numbers in torchvision's order: of `RandomCrop` the top, then the left
 * (nothing where the size is already right), then the flip. `CenterCrop` cuts from round((size - crop) / 2), halves to even.
 * @throws {FormatError} `E_USAGE` when the resized picture is smaller than what is cut out of it
 */
export function planPicture(
	{ resized, target, crop, flip, flipFirst = false, filter }: PlanOptions,
	generator: TorchGenerator,
): PicturePlan {
	const spare = { x: resized.width - target.width, y: resized.height - target.height };
	if (spare.x < 0 || spare.y < 0) {
		throw new FormatError(
			'E_USAGE',
			`A picture of ${resized.width}x${resized.height} is smaller than the ${target.width}x${target.height} that is to be cut out of it; resize it to cover that.`,
		);
	}
	let [left, top] = [halfToEven(spare.x / 2), halfToEven(spare.y / 2)];
	if (crop === 'random' && (spare.x > 0 || spare.y > 0)) {
		top = generator.randint(0, spare.y + 1, 1)[0] ?? 0;
		left = generator.randint(0, spare.x + 1, 1)[0] ?? 0;
	}
	const flipped = flip && (generator.rand(1)[0] ?? 0) < 0.5;
	const plan = { filter, resized, crop: { left, top, width: target.width, height: target.height }, flip: false };
	return flipped ? mirroredPlan(plan, flipFirst) : plan;
}

/** The plan of the mirrored picture. @param flipFirst as in `PlanOptions` */
export function mirroredPlan(plan: PicturePlan, flipFirst: boolean): PicturePlan {
	const { crop, resized } = plan;
	return { ...plan, flip: true, crop: flipFirst ? { ...crop, left: resized.width - crop.width - crop.left } : crop };
}

/**
 * What SDXL is told of a picture, its six time ids: height and width of the picture before it was resized, top and left of what was cut out of
 * the resized (and, where it was, mirrored) one, height and width of that. (diffusers examples/text_to_image/train_text_to_image_lora_sdxl.py
 * `compute_time_ids`; with buckets the target is the bucket, as kohya-ss/sd-scripts sdxl_train_util.py has it.)
 */
export function timeIdsOf({ width, height }: PictureSize, { resized, crop, flip }: PicturePlan): readonly number[] {
	return [height, width, crop.top, flip ? resized.width - crop.width - crop.left : crop.left, crop.height, crop.width];
}

/** Python's round(). */
function halfToEven(x: number): number {
	const floor = Math.floor(x);
	return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}
