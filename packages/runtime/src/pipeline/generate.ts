import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import type { TorchGenerator } from '../random/index.js';
import { MAX_STEPS } from '../schedulers/config.js';
import { createScheduler, imageToImageStart, schedulerConfigFor } from '../schedulers/registry.js';
import type { Scheduler, SchedulerConfig, SchedulerKind } from '../schedulers/scheduler.js';
import { repeated } from './conditioning.js';
import { type AttentionControl, type DenoiseStep, denoise } from './denoise.js';
import { roundPictures } from './round-picture.js';
import type { EncodedPrompt, StableDiffusion } from './stable-diffusion.js';
import { pixelsPerLatent, sampleLatents, scaleLatents } from './vae.js';

/** Largest side of a picture. */
export const MAX_SIDE = 4096;

export interface GenerateRequest {
	readonly prompt: EncodedPrompt;
	readonly scheduler: SchedulerKind;
	/** Options over those that the base's own configuration carries (diffusers' `from_config`). */
	readonly schedulerConfig?: SchedulerConfig | undefined;
	readonly steps: number;
	readonly guidance: number;
	readonly guidanceRescale?: number | undefined;
	readonly eta?: number | undefined;
	/** Pixels, multiples of 8. */
	readonly height: number;
	readonly width: number;
	/** One for all pictures of the batch together, as diffusers does with one generator, or one for each. */
	readonly generators: readonly TorchGenerator[];
	/** Pictures at once. */
	readonly count?: number | undefined;
	/** Start from this picture: (1, 3, height, width) in [-1, 1], and how far to go from it, 0 to 1. */
	readonly init?: { readonly pixels: HostTensor; readonly strength: number } | undefined;
	readonly control?: AttentionControl | undefined;
	readonly signal?: AbortSignal | undefined;
}

export interface Generated {
	/** (count, channels, h / 8, w / 8) */
	readonly latents: HostTensor;
	/** (height, width, 3) bytes of each picture. */
	readonly pictures: readonly Uint8Array[];
}

/**
 * One batch from noise (or a picture) to pictures, step by step. For one generator and the same settings the numbers are
 * diffusers' on a CPU.
 * @throws {FormatError} `E_USAGE` for sizes, counts, steps, guidances or strengths that make no sense; `E_CONFIG` for a VAE
 *   whose pictures are not RGB; those of `denoise`.
 */
export async function* generate(model: StableDiffusion, request: GenerateRequest): AsyncGenerator<DenoiseStep, Generated> {
	checkRequest(model, request);
	const { base } = model;
	const { count = 1, generators, init } = request;
	const down = pixelsPerLatent(base.vae);
	const shape = [count, base.vae.latentChannels, request.height / down, request.width / down] as const;
	const draw = noiseOf(generators, shape);
	const config = {
		...schedulerConfigFor(request.scheduler, base.scheduler.config, { stableDiffusion: base.architecture !== 'sdxl' }),
		...request.schedulerConfig,
	};
	const begin = init === undefined ? 0 : imageToImageStart(request.scheduler, request.steps, init.strength).begin;
	const scheduler = createScheduler(request.scheduler, config, request.steps, {
		begin,
		batch: count,
		...(request.eta === undefined ? {} : { eta: request.eta }),
	});
	const latents =
		init === undefined
			? scaled(draw(), scheduler.initNoiseSigma)
			: await startFrom(model, scheduler, init.pixels, begin, generators, shape, draw);
	const loop = denoise(model.unet, {
		config: base.unet,
		scheduler,
		latents,
		shape,
		conditioning: request.prompt.conditioning,
		guidance: request.guidance,
		guidanceRescale: request.guidanceRescale,
		noise: draw,
		control: request.control,
		signal: request.signal,
		begin,
	});
	const final = f32Tensor(shape, yield* loop);
	const pixels = await model.decode(final);
	if (!pixels.data.every((x) => Number.isFinite(x))) {
		throw new FormatError(
			'E_NONFINITE',
			'The VAE gave NaN or Inf in the pixels; look for them in the base with "lora validate", or compute in float32 where it was float16.',
		);
	}
	return { latents: final, pictures: roundPictures(pixels.data, pixels.shape as [number, number, number, number]) };
}

function checkRequest({ base }: StableDiffusion, request: GenerateRequest): void {
	const { height, width, steps, guidance, count = 1, generators, init } = request;
	const factor = pixelsPerLatent(base.vae);
	for (const side of [height, width]) {
		if (!Number.isInteger(side) || side % factor !== 0 || side < factor || side > MAX_SIDE) {
			throw new FormatError(
				'E_USAGE',
				`A picture of ${width}x${height} cannot be made: both sides must be multiples of ${factor}, at most ${MAX_SIDE}.`,
			);
		}
	}
	if (!Number.isInteger(steps) || steps < 1 || steps > MAX_STEPS) {
		throw new FormatError('E_USAGE', `${steps} steps: a whole number from 1 to ${MAX_STEPS} is needed.`);
	}
	if (!Number.isInteger(count) || count < 1) throw new FormatError('E_USAGE', `${count} pictures: a whole number from 1 is needed.`);
	if (!Number.isFinite(guidance)) throw new FormatError('E_USAGE', `Guidance ${guidance}: a finite number is needed.`);
	if (generators.length !== 1 && generators.length !== count) {
		throw new FormatError('E_USAGE', `${generators.length} generators for ${count} pictures: one for all, or one for each.`);
	}
	if (init !== undefined && !(init.strength > 0 && init.strength <= 1)) {
		throw new FormatError('E_USAGE', `Strength ${init.strength}: a number above 0 and up to 1 is needed.`);
	}
	if (init !== undefined && init.pixels.shape.join() !== `1,3,${height},${width}`) {
		throw new FormatError(
			'E_USAGE',
			`The picture to start from is (${init.pixels.shape.join(', ')}); expected (1, 3, ${height}, ${width}), the size that is drawn.`,
		);
	}
	if (base.vae.inChannels !== 3 || base.vae.outChannels !== 3) {
		throw new FormatError(
			'E_CONFIG',
			`The VAE takes ${base.vae.inChannels} and gives ${base.vae.outChannels} channels; pictures have 3 (red, green, blue).`,
		);
	}
	if (base.unet.inChannels !== base.vae.latentChannels) {
		throw new FormatError(
			'E_CONFIG',
			`The UNet takes ${base.unet.inChannels} channels and the VAE gives ${base.vae.latentChannels}: an inpainting or instruction model, which "lora generate" does not run.`,
		);
	}
}

/** Draws for the whole batch: from one generator at once, or from each picture's own, as diffusers' `randn_tensor`. */
function noiseOf(generators: readonly TorchGenerator[], shape: readonly [number, number, number, number]): () => Float32Array {
	const size = shape[1] * shape[2] * shape[3];
	const [single] = generators;
	if (generators.length === 1 && single !== undefined) return () => single.randn(shape[0] * size);
	return () => {
		const out = new Float32Array(generators.length * size);
		for (const [i, generator] of generators.entries()) out.set(generator.randn(size), i * size);
		return out;
	};
}

function scaled(noise: Float32Array, sigma: number): Float32Array {
	const s = Math.fround(sigma);
	return s === 1 ? noise : noise.map((x) => x * s);
}

/**
 * The picture in latent space with as much noise as the first call expects. The VAE's sample is drawn before the noise: one
 * for each generator, so that one generator gives all pictures the same (diffusers' `prepare_latents` of img2img).
 */
async function startFrom(
	model: StableDiffusion,
	scheduler: Scheduler,
	pixels: HostTensor,
	begin: number,
	generators: readonly TorchGenerator[],
	shape: readonly [number, number, number, number],
	draw: () => Float32Array,
): Promise<Float32Array> {
	const { mean, logvar } = await model.encode(pixels);
	const samples = generators.length;
	const noise = noiseOf(generators, [samples, shape[1], shape[2], shape[3]])();
	const sampled = sampleLatents({ mean: repeated(mean, samples), logvar: repeated(logvar, samples) }, noise);
	const own = scaleLatents(model.base.vae, sampled);
	const original = repeated(f32Tensor([samples, ...shape.slice(1)], own), shape[0] / samples).data as Float32Array;
	return scheduler.addNoise(original, draw(), begin);
}
