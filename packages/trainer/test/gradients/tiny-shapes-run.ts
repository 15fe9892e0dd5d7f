import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { type Graph, type HostTensor, noiseSchedule, type ParameterSource, parameterSource, type SchedulerConfig } from '@lorakit/runtime';
import { openBase } from '@lorakit/runtime/node';
import type { GradientEngine } from '../../src/gradients/gradient-engine.js';
import { createTrainingModel } from '../../src/model/create-training-model.js';
import { modulesOf, type TargetOptions, targetModules } from '../../src/model/target-modules.js';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { initialTensors, tokenRows } from '../../src/model/trainable-tensors.js';
import { generator, random } from './support.js';

export const TINY_SHAPES: string = path.resolve(import.meta.dirname, '../../../../fixtures/runtime/tiny-shapes');

/** A step of training as an engine gets it. */
export interface Recording {
	readonly graph: Graph;
	readonly feeds: Readonly<Record<string, HostTensor>>;
	readonly wrt: readonly string[];
	readonly parameters: ParameterSource;
}

export interface RecordingOptions {
	readonly targets: TargetOptions;
	/** Learned tokens. */
	readonly tokens?: number | undefined;
	readonly masked?: boolean | undefined;
	/** Sides of the latents; default: 4 x 4. */
	readonly size?: readonly [number, number] | undefined;
}

/**
 * What a training model of tiny-shapes loads and feeds for a batch of two. Factors are not where they start: `up` is no
 * zero, so that every one has a gradient.
 */
export async function recordStep({ targets, tokens, masked, size: [height, width] = [4, 4] }: RecordingOptions): Promise<Recording> {
	const base = await openBase(TINY_SHAPES);
	const textEncoder = base.textEncoders[0];
	const modules = targetModules(modulesOf(base), targets);
	const initial = await initialTensors(modules, { seed: 3 }, parameterSource(EMPTY, base.weights));
	const next = generator(5);
	const tensors: TrainableTensor[] = initial.map((t) => ({
		...t,
		values: t.values.map((x) =>
			t.name.endsWith(':magnitude') ? x * (0.9 + 0.2 * next()) : t.name.endsWith(':up') ? 0.2 * next() - 0.1 : x,
		),
	}));
	if (tokens !== undefined)
		tensors.push(tokenRows(random([tokens, textEncoder?.hiddenSize ?? 0], 6, -0.1, 0.1).data as Float32Array, tokens));
	let taken: Recording | undefined;
	// Not for running: it keeps what it is given.
	const engine: GradientEngine = {
		id: 'recorder',
		device: 'cpu',
		load: async (graph, { wrt }, parameters) => ({
			async run(feeds) {
				taken = { graph, feeds, wrt, parameters };
				throw new FormatError('E_USAGE', 'recorded');
			},
			close: async () => undefined,
		}),
	};
	const withText = targets.textEncoder !== undefined || tokens !== undefined;
	const model = createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: withText ? textEncoder : undefined,
		engine,
		modules,
		tensors,
		prediction: 'epsilon',
		schedule: noiseSchedule(base.scheduler.config as SchedulerConfig),
		memory: 'fast',
	});
	const shape = [2, base.unet.inChannels, height, width];
	const vocabulary = textEncoder?.vocabSize ?? 0;
	const ids = [0, 1].map((row) =>
		Array.from({ length: 9 }, (_, i) => (i === 4 && tokens !== undefined ? vocabulary + (row % tokens) : 7 * row + 3 * i)),
	);
	await model
		.gradients({
			latents: random(shape, 11),
			noise: random(shape, 12, -2, 2),
			timesteps: [37, 803],
			text: withText ? { ids } : { states: random([2, 9, base.unet.crossAttentionDim], 13) },
			weights: [0.5, 0.25],
			mask: masked === true ? random([2, 1, height, width], 14, 0, 1) : undefined,
		})
		.catch((error: unknown) => {
			if (!(error instanceof FormatError && error.message === 'recorded')) throw error;
		});
	if (taken === undefined) throw new Error('nothing was run');
	return taken;
}

const EMPTY: Graph = { values: [], inputs: [], parameters: [], constants: [], nodes: [], outputs: [], taps: [] };
