import { type Base, createTorchGenerator, f32Tensor, noiseSchedule, parameterSource, type SchedulerConfig } from '@lorakit/runtime';
import type { GradientEngine, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTrainingModel } from '../../src/model/create-training-model.js';
import { modulesOf, targetModules } from '../../src/model/target-modules.js';
import { initialTensors, tokenRows } from '../../src/model/trainable-tensors.js';
import type { TrainingBatch } from '../../src/model/training-batch.js';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';

/** What three steps came to. */
export interface ThreeSteps {
	/** Before each step, and after the last. */
	readonly losses: readonly number[];
	/** Euclidean norm of how far each group of tensors has moved. */
	readonly moved: Readonly<Record<string, number>>;
}

/**
 * Three steps of AdamW over factors of UNet and text encoder and one learned token of tiny-shapes. Latents, noise,
 * timesteps and ids are fixed, so that Node and browsers do the same.
 */
export async function threeSteps(base: Base, engine: GradientEngine, memory: TrainingMemory): Promise<ThreeSteps> {
	const textEncoder = base.textEncoders[0];
	if (textEncoder === undefined) throw new Error('a base without text encoder');
	const modules = targetModules(modulesOf(base), { rank: 4, unet: 'attention', textEncoder: 'attention' });
	const empty = { values: [], inputs: [], parameters: [], constants: [], nodes: [], outputs: [], taps: [] };
	const rows = createTorchGenerator(2)
		.randn(textEncoder.hiddenSize)
		.map((x) => x / 10);
	const tensors = [...(await initialTensors(modules, { seed: 1 }, parameterSource(empty, base.weights))), tokenRows(rows, 1)];
	const start = tensors.map(({ values }) => Float32Array.from(values));
	const model = createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder,
		engine,
		modules,
		tensors,
		prediction: 'epsilon',
		schedule: noiseSchedule(base.scheduler.config as SchedulerConfig),
		memory,
	});
	const optimizer = createOptimizer({ kind: 'adamw' }, tensors);
	const losses: number[] = [];
	try {
		for (let step = 0; step < 3; step++) {
			const { loss, gradients } = await model.gradients(batchOf(step, textEncoder.vocabSize));
			losses.push(loss);
			optimizer.step(gradients, { unet: 1e-3, text_encoder: 1e-3, tokens: 1e-3 });
		}
		losses.push((await model.loss(batchOf(0, textEncoder.vocabSize))).loss);
	} finally {
		await model.close();
	}
	const moved: Record<string, number> = {};
	for (const [i, { group, values }] of tensors.entries()) {
		const by = values.reduce((sum, x, at) => sum + (x - (start[i]?.[at] ?? 0)) ** 2, 0);
		moved[group] = Math.hypot(moved[group] ?? 0, Math.sqrt(by));
	}
	return { losses, moved };
}

function batchOf(step: number, vocabulary: number): TrainingBatch {
	const generator = createTorchGenerator(100 + step);
	const shape = [1, 4, 8, 8];
	return {
		latents: f32Tensor(shape, generator.randn(256)),
		noise: f32Tensor(shape, generator.randn(256)),
		timesteps: [[120, 480, 905][step] ?? 0],
		text: { ids: [[1, 5 + step, vocabulary, 9, 2, 2, 2, 2]] },
		weights: [1],
	};
}
