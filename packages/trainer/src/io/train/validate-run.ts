import type { VaeConfig } from '@lorakit/runtime';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import type { RunConfig } from '../../run/config/run-config.js';
import type { NoiseOptions } from '../../run/diffusion-batches.js';
import type { Phase } from '../../run/phases.js';
import { streamSeed } from '../../run/random-streams.js';
import type { ValidationPicture } from '../../run/run-events.js';
import type { ValidationOptions } from '../../run/train-run.js';
import { validationBatches } from '../../run/validation-batches.js';
import { planOf } from './adapter-files.js';
import type { RunDescription } from './describe-run.js';
import { type DrawOptions, drawPictures } from './draw-pictures.js';
import type { TrainHooks } from './hooks.js';
import type { PreparedData, PreparedModel } from './prepare-run.js';
import type { TrainingEngine } from './training-engine.js';

/** What a run is made of. */
export interface RunParts {
	readonly model: PreparedModel;
	readonly data: PreparedData;
	readonly computing: TrainingEngine;
}

/** How a run is measured and shown while it goes on. @param makeRoom give the memory of the training session back */
export function validationOf(
	config: RunConfig,
	phase: Phase,
	parts: RunParts,
	tensors: readonly TrainableTensor[],
	description: RunDescription,
	makeRoom: () => Promise<void>,
	hooks: TrainHooks,
): ValidationOptions | undefined {
	const { every, prompts, keep_best: keepBest, patience, draws, seed } = config.validation;
	if (every === null) return undefined;
	const { data, model } = parts;
	const { held } = data;
	const requests = samplePrompts(config);
	return {
		every,
		keepBest,
		patience: patience ?? undefined,
		batches:
			held === undefined
				? undefined
				: () =>
						validationBatches({
							examples: held,
							indices: data.heldOut,
							draws,
							batchSize: config.train.train_batch_size,
							seed,
							text: (captions, timeIds) => data.texts.batch(captions, timeIds),
							...noiseOf(config, phase.maxTimestep ?? model.schedule.alphasCumprod.length, model.opened.base.vae),
						}),
		pictures:
			prompts.length === 0
				? undefined
				: async (step) => {
						// Two UNets at once would be twice the weights.
						if (config.engine.memory === 'lean') await makeRoom();
						const values = new Map(tensors.map(({ name, values: now }) => [name, now]));
						const { adapter } = planOf(description, tensors, values, { steps: step, finishedAt: Date.now() });
						const drawn = drawPictures(requests, {
							...drawing(config, parts, hooks),
							adapter,
							onPicture: (done, total) => hooks.onWork?.('drawing validation pictures', done, total, 'count'),
						});
						return allPictures(drawn);
					},
	};
}

/** Each prompt with its seeds. */
export function samplePrompts({ validation }: RunConfig): readonly { readonly prompt: string; readonly seed: number }[] {
	return validation.prompts.flatMap((prompt) =>
		Array.from({ length: validation.num_validation_images }, (_, i) => ({ prompt, seed: streamSeed(validation.seed, `picture ${i}`) })),
	);
}

export function drawing(config: RunConfig, { model, computing }: RunParts, hooks: TrainHooks): Omit<DrawOptions, 'adapter'> {
	const { resolution } = config.images;
	return {
		base: model.opened.base,
		engine: computing.engine,
		tokenizers: model.opened.tokenizers,
		steps: config.validation.sample_steps,
		guidance: config.validation.guidance_scale,
		width: resolution,
		height: resolution,
		signal: hooks.signal,
	};
}

/** How batches are noised below a timestep. */
export function noiseOf({ loss }: RunConfig, maxTimestep: number, vae: Pick<VaeConfig, 'scalingFactor' | 'shiftFactor'>): NoiseOptions {
	return {
		minTimestep: loss.min_timestep,
		maxTimestep,
		noiseOffset: loss.noise_offset,
		scalingFactor: vae.scalingFactor,
		shiftFactor: vae.shiftFactor,
	};
}

/** Pictures as they are drawn, all of them. */
export async function allPictures(pictures: AsyncIterable<ValidationPicture>): Promise<readonly ValidationPicture[]> {
	const out: ValidationPicture[] = [];
	for await (const picture of pictures) out.push(picture);
	return out;
}
