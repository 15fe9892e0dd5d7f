import { FormatError, quote, type Tensor } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import {
	type Base,
	createComponent,
	createTorchGenerator,
	type Engine,
	encodePixels,
	pixelsPerLatent,
	type TorchGenerator,
} from '@lorakit/runtime';
import type { SizedItem } from '../../data/assign-sizes.js';
import { encodingWeights, latentKey, weightsIdentity } from '../../data/cache-key.js';
import type { TensorCache } from '../../data/cache-tensors.js';
import type { PictureSize } from '../../data/dataset.js';
import { createLatentSource, type LatentSource } from '../../data/latent-cache.js';
import { mirroredPlan, type PicturePlan, planPicture, timeIdsOf } from '../../data/plan-picture.js';
import type { ImagesConfig } from '../../run/config/run-config.js';
import type { Example, ExampleLatents, ExampleSource } from '../../run/example-source.js';
import { type MaskSource, readTrainingMask, readTrainingPixels } from '../data/read-training-picture.js';

/** Makes latents of pictures, for all sets of a run. */
export interface LatentMaker {
	/** With a cache on disk, and without. */
	readonly cached: LatentSource;
	readonly plain: LatentSource;
	/** Pixels of a side of a latent. */
	readonly factor: number;
	/** `weightsIdentity`; empty without a cache on disk, for in one run the VAE is the same. */
	readonly vae: string;
	readonly engine: string;
	/** Give the memory of the VAE back; it is loaded again when it is needed. */
	release(): Promise<void>;
}

/**
 * @param digests of stored tensors, as far as they are known, for the VAE's identity in the cache
 * @throws {FormatError} those of reading the others of the VAE
 */
export async function createLatentMaker(
	base: Base,
	engine: Engine,
	cache: TensorCache | undefined,
	digests: ReadonlyMap<Tensor, string>,
): Promise<LatentMaker> {
	const component = createComponent('vae', engine, base.weights);
	const encode = (pixels: Parameters<typeof encodePixels>[2]) => encodePixels(component, base.vae, pixels);
	const plain = createLatentSource({ encode });
	return {
		plain,
		cached: cache === undefined ? plain : createLatentSource({ cache, encode }),
		factor: pixelsPerLatent(base.vae),
		vae:
			cache === undefined
				? ''
				: await weightsIdentity(base.weights, 'vae', base.vae, { keep: encodingWeights, createHasher: createNodeSha256, digests }),
		engine: `${engine.id} ${engine.device}`,
		release: () => component.release(),
	};
}

export interface PictureExamplesOptions {
	readonly items: readonly SizedItem[];
	/** What the captions of an item become. */
	readonly captions: (item: SizedItem) => readonly string[];
	readonly images: ImagesConfig;
	readonly masks: MaskSource;
	/** What counts where the mask is black. */
	readonly unmaskedWeight: number;
	readonly maker: LatentMaker;
	/** SDXL: each picture comes with what the model is told of its size, and is mirrored before it is cut. */
	readonly sizes: boolean;
}

/** Pictures of a set as the run draws them. */
export interface PictureExamples extends ExampleSource {
	/**
	 * Compute what can be computed beforehand into the cache: every picture that is not cut at random, mirrored too where that may come.
	 * @throws {FormatError} those of decoding and encoding, `E_INTERRUPTED`
	 */
	prepare(onProgress: (done: number, total: number) => void, signal: AbortSignal | undefined): Promise<void>;
}

export function createPictureExamples(options: PictureExamplesOptions): PictureExamples {
	const { items, images, maker, masks, sizes } = options;
	const examples = items.map(
		(sized): Example => ({ name: sized.item.name, bucket: bucketName(sized.bucket), captions: options.captions(sized) }),
	);
	const center = createTorchGenerator(0);

	function plan(sized: SizedItem, target: PictureSize, augment: TorchGenerator | undefined): PicturePlan {
		const own = target.width === sized.bucket.width && target.height === sized.bucket.height;
		return planPicture(
			{
				resized: own ? sized.resized : covering(sized.item, target),
				target,
				crop: augment === undefined || images.center_crop ? 'center' : 'random',
				flip: augment !== undefined && images.random_flip,
				flipFirst: sizes,
				filter: images.interpolation,
			},
			augment ?? center,
		);
	}

	/** A picture cut at random comes back once in a thousand times: the cache would only grow. */
	const isSettled = ({ resized, crop }: PicturePlan): boolean =>
		images.center_crop || (resized.width === crop.width && resized.height === crop.height);

	async function latentsOf(sized: SizedItem, cut: PicturePlan, settled: boolean): Promise<ExampleLatents> {
		const { item } = sized;
		const key = latentKey({ picture: item.sha256, plan: cut, vae: maker.vae, engine: maker.engine, dtype: 'f32' }, createNodeSha256);
		const source = settled ? maker.cached : maker.plain;
		const { mean, logvar } = await source.latents([{ key, pixels: () => readTrainingPixels(item, cut) }]);
		return {
			shape: mean.shape.slice(1),
			mean: floats(mean.data),
			logvar: floats(logvar.data),
			mask: masks === 'none' ? undefined : await maskOf(sized, cut),
			timeIds: sizes ? timeIdsOf(item, cut) : undefined,
		};
	}

	async function maskOf({ item }: SizedItem, cut: PicturePlan): Promise<Float32Array | undefined> {
		const mask = await readTrainingMask(item, cut, masks, maker.factor);
		const { unmaskedWeight } = options;
		return mask === undefined ? undefined : floats(mask.data).map((x) => unmaskedWeight + (1 - unmaskedWeight) * x);
	}

	return {
		examples,
		latents(index, bucket, augment) {
			const sized = items[index];
			if (sized === undefined) throw new TypeError(`no example ${index}`);
			const cut = plan(sized, bucketSize(bucket), augment);
			return latentsOf(sized, cut, augment === undefined || isSettled(cut));
		},
		async prepare(onProgress, signal) {
			const flips = images.random_flip ? [false, true] : [false];
			const work = items.flatMap((sized) => {
				const cut = plan(sized, sized.bucket, undefined);
				return isSettled(cut) ? flips.map((flip) => ({ sized, cut: flip ? mirroredPlan(cut, sizes) : cut })) : [];
			});
			for (const [i, { sized, cut }] of work.entries()) {
				if (signal?.aborted === true)
					throw new FormatError('E_INTERRUPTED', `stopped before ${quote(sized.item.name)} was encoded; what is in the cache stays.`);
				await latentsOf(sized, cut, true);
				onProgress(i + 1, work.length);
			}
		},
	};
}

/** `512x768` */
function bucketName({ width, height }: PictureSize): string {
	return `${width}x${height}`;
}

function bucketSize(name: string): PictureSize {
	const [width = 0, height = 0] = name.split('x').map(Number);
	return { width, height };
}

/** The smallest size of the picture's own shape that covers a target. */
function covering({ width, height }: PictureSize, target: PictureSize): PictureSize {
	const scale = Math.max(target.width / width, target.height / height);
	return { width: Math.max(target.width, Math.round(width * scale)), height: Math.max(target.height, Math.round(height * scale)) };
}

function floats(data: ArrayLike<number>): Float32Array {
	return data instanceof Float32Array ? data : Float32Array.from(data);
}
