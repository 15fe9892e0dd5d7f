import { type FormOf, f32Tensor, type RankOf } from '@lorakit/runtime';
import { createTrainingModel } from '../model/create-training-model.js';
import { objectiveGraph } from '../model/objective-graph.js';
import type { TrainableTensor } from '../model/trainable-tensor.js';
import type { BatchText, TrainingBatch } from '../model/training-batch.js';
import { adapterMetadata, embeddingMetadata } from '../result/adapter-metadata.js';
import type { TrainingFacts } from '../result/training-facts.js';
import type { RunConfig } from '../run/config/run-config.js';
import { createDataOrder } from '../run/data-order.js';
import { runPhases } from '../run/phases.js';
import { planRun, type RunPlan } from '../run/plan/plan-run.js';
import { createRandomStreams } from '../run/random-streams.js';
import { splitHeldOut } from '../run/validation-batches.js';
import { unhashed } from './result/base-facts.js';
import { resultOptions } from './train/adapter-files.js';
import { factsOf, titleOf } from './train/describe-run.js';
import type { TrainHooks } from './train/hooks.js';
import { templateCaptions } from './train/learned-token.js';
import { openFolderSet, type SizedSet } from './train/open-data.js';
import { openOrTemplates, type PreparedModel, prepareModel } from './train/prepare-run.js';
import { openTrainingEngine } from './train/training-engine.js';
import type { TrainOptions } from './train.js';

/** What a plan is made of. */
export interface PlanTrainingOptions extends TrainOptions {
	/** Load the base and compute a micro-batch, for the time. */
	readonly measure?: boolean | undefined;
}

/**
 * The plan of a training: what is trained, exact file sizes, steps, memory and, measured, time. Opens the base and the pictures; writes nothing,
 * and computes nothing unless it is to measure.
 * @throws {FormatError} as `trainFromConfig` before its first step: what would be refused then is refused here
 */
export async function planTraining(config: RunConfig, options: PlanTrainingOptions, hooks: TrainHooks = {}): Promise<RunPlan> {
	const { objective } = options;
	const model = await prepareModel(config, objective, titleOf(config, options.title), options.baseModel, hooks);
	try {
		const templates = config.token === null ? undefined : templateCaptions(config.token);
		const prompt = config.data.instance_prompt ?? (config.token !== null && config.token.templates !== null ? '' : undefined);
		const { set } = await openOrTemplates(config, prompt, templates, hooks);
		try {
			return await plan(config, options, model, set, hooks);
		} finally {
			await set.dataset.close();
		}
	} finally {
		await model.opened.base.close();
	}
}

async function plan(
	config: RunConfig,
	options: PlanTrainingOptions,
	model: PreparedModel,
	set: SizedSet,
	hooks: TrainHooks,
): Promise<RunPlan> {
	const { objective } = options;
	const split = splitHeldOut(set.items.length, config.validation.held_out_fraction, config.validation.seed);
	const held = config.validation.held_out_folder;
	const heldOut =
		held === null
			? split.heldOut.length
			: (await openFolderSet(held, config.data.instance_prompt ?? undefined, config, hooks)).items.length;
	const classes = objective === 'dreambooth' ? (config.prior?.num_class_images ?? 0) : 0;
	const train = split.train.flatMap((i) => set.items[i] ?? []);
	const length = Math.max(train.length * config.data.repeats, classes);
	const { batchesPerEpoch } = createDataOrder({
		buckets: Array.from({ length }, (_, i) => JSON.stringify(train[i % train.length]?.bucket)),
		batchSize: config.train.train_batch_size,
		generator: createRandomStreams(config.seed).order,
	});
	const rows = model.token === undefined ? [] : [model.token.rows];
	const tensors = objective === 'textual-inversion' ? rows : [...model.factors, ...rows];
	const measured = options.measure === true ? await measure(config, model, tensors, classes > 0, hooks) : undefined;
	const facts = plannedFacts(config, options, model, { train: { ...set, items: train }, classes, heldOut, batchesPerEpoch });
	return planRun({
		config,
		objective,
		tensors,
		description: {
			...model.description,
			metadata: adapterMetadata(facts, model.description, tensors, options.privateData === true ? 'none' : 'full'),
		},
		result: { ...resultOptions(config), embeddingMetadata: embeddingMetadata(facts) },
		pictures: { train: train.length, classes, heldOut },
		batchesPerEpoch,
		trainTimesteps: model.schedule.alphasCumprod.length,
		graph: graphOf(config, model, rows[0]?.shape[0], classes > 0),
		secondsPerMicroBatch: measured,
	});
}

/** The facts as they will be but for values of the same length, so that planned sizes are those written. */
function plannedFacts(config: RunConfig, options: PlanTrainingOptions, model: PreparedModel, parts: PlannedParts): TrainingFacts {
	const now = Date.now();
	const { device, engine } = config.engine;
	const phase = runPhases(config, options.objective, parts.batchesPerEpoch, model.schedule.alphasCumprod.length).at(-1);
	if (phase === undefined) throw new TypeError('a run without a phase');
	return factsOf(
		{
			...options,
			config,
			model,
			data: { train: parts.train, classes: parts.classes === 0 ? undefined : parts.classes, heldOut: parts.heldOut },
			computing: { engine: { id: engine, device: device ?? 'cpu' } },
			hashes: unhashed(model.opened.base),
			phase,
			batchesPerEpoch: parts.batchesPerEpoch,
			startedAt: now,
		},
		{ steps: phase.optimizerSteps, finishedAt: now },
	);
}

interface PlannedParts {
	readonly train: SizedSet;
	readonly classes: number;
	readonly heldOut: number;
	readonly batchesPerEpoch: number;
}

function graphOf(
	config: RunConfig,
	model: PreparedModel,
	tokens: number | undefined,
	prior: boolean,
): Parameters<typeof planRun>[0]['graph'] {
	const { base } = model.opened;
	const byName = new Map(model.modules.map((m) => [`${m.component} ${m.path}`, m]));
	const forms: FormOf = (component, path) => {
		const module = byName.get(`${component} ${path}`);
		return module === undefined ? 'plain' : module.dora ? 'dora' : 'low-rank';
	};
	const ranks: RankOf = (component, path) => byName.get(`${component} ${path}`)?.rank;
	const side = config.images.resolution / 2 ** (base.vae.blockOutChannels.length - 1);
	return objectiveGraph({
		unet: base.unet,
		textEncoder: model.textEncoder,
		tokens,
		shape: { batch: batchOf(config, prior), height: side, width: side, tokens: model.opened.tokenizers[0]?.maxLength ?? 77 },
		masked: config.loss.masked,
		forms,
		ranks,
	});
}

function batchOf({ train }: RunConfig, prior: boolean): number {
	return train.train_batch_size * (prior ? 2 : 1);
}

/** Seconds of a micro-batch: the second one, for the first loads the base. @throws {FormatError} those of the engine and of the model */
async function measure(
	config: RunConfig,
	model: PreparedModel,
	tensors: readonly TrainableTensor[],
	prior: boolean,
	hooks: TrainHooks,
): Promise<number> {
	const computing = await openTrainingEngine(config.engine);
	const { base, tokenizers } = model.opened;
	const training = createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: model.textEncoder,
		engine: computing.gradients,
		modules: model.modules,
		tensors,
		prediction: model.opened.prediction,
		schedule: model.schedule,
		memory: config.engine.memory,
		signal: hooks.signal,
		onProgress: (done, total) => hooks.onWork?.('loading the base', done, total, 'bytes'),
	});
	try {
		const count = batchOf(config, prior);
		const side = config.images.resolution / 2 ** (base.vae.blockOutChannels.length - 1);
		const shape = [count, base.unet.inChannels, side, side];
		const size = shape.reduce((product, d) => product * d, 1);
		const noise = createRandomStreams(config.seed).noise;
		const tokens = tokenizers[0]?.maxLength ?? 77;
		const text: BatchText =
			model.textEncoder === undefined
				? {
						states: f32Tensor([count, tokens, base.unet.crossAttentionDim], new Float32Array(count * tokens * base.unet.crossAttentionDim)),
						added: addedOf(base.unet, count),
					}
				: { ids: Array.from({ length: count }, () => [...(tokenizers[0]?.encode('').ids ?? [])]) };
		const batch: TrainingBatch = {
			latents: f32Tensor(shape, noise.randn(size)),
			noise: f32Tensor(shape, noise.randn(size)),
			timesteps: Array<number>(count).fill(Math.floor(model.schedule.alphasCumprod.length / 2)),
			text,
			weights: Array<number>(count).fill(1 / count),
		};
		await training.gradients(batch);
		const began = performance.now();
		await training.gradients(batch);
		return (performance.now() - began) / 1000;
	} finally {
		await training.close();
	}
}

function addedOf(
	{ projectionClassEmbeddingsInputDim: width }: PreparedModel['opened']['base']['unet'],
	count: number,
): ReturnType<typeof f32Tensor> | undefined {
	return width === undefined ? undefined : f32Tensor([count, width], new Float32Array(count * width));
}
