import { f32Tensor, parameterSource, pixelsPerLatent } from '@lorakit/runtime';
import { objectiveGraph } from '../model/objective-graph.js';
import { moduleForms } from '../model/target-modules.js';
import type { TrainableTensor } from '../model/trainable-tensor.js';
import type { BatchText, TrainingBatch } from '../model/training-batch.js';
import { adapterMetadata, embeddingMetadata } from '../result/adapter-metadata.js';
import type { TrainingFacts } from '../result/training-facts.js';
import type { RunConfig } from '../run/config/run-config.js';
import { createDataOrder } from '../run/data-order.js';
import { runPhases } from '../run/phases.js';
import { type EngineMemory, engineMemory } from '../run/plan/engine-memory.js';
import { type MeasuredMicroBatch, planRun, type RunPlan } from '../run/plan/plan-run.js';
import { createRandomStreams } from '../run/random-streams.js';
import { unhashed } from './result/base-facts.js';
import { resultOptions } from './train/adapter-files.js';
import { tokenTexts } from './train/batch-texts.js';
import { factsOf, titleOf } from './train/describe-run.js';
import type { TrainHooks } from './train/hooks.js';
import { openFolderSet, type SizedSet } from './train/open-data.js';
import { microBatchSize, openTrainingModel } from './train/open-training-model.js';
import { type OpenedPictures, openPictures, type PreparedModel, prepareModel, tensorsOf } from './train/prepare-run.js';
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
 * @throws {FormatError} of the configuration over this base and these pictures, as `trainFromConfig`. What is in the output folder is not looked at,
 *   nor, unless it is to measure, the engine.
 */
export async function planTraining(config: RunConfig, options: PlanTrainingOptions, hooks: TrainHooks = {}): Promise<RunPlan> {
	const { objective } = options;
	const model = await prepareModel(config, objective, titleOf(config, options.title), options.baseModel, hooks);
	try {
		const pictures = await openPictures(config, hooks);
		try {
			return await plan(config, options, model, pictures, hooks);
		} finally {
			await pictures.train.dataset.close();
		}
	} finally {
		await model.opened.base.close();
	}
}

async function plan(
	config: RunConfig,
	options: PlanTrainingOptions,
	model: PreparedModel,
	pictures: OpenedPictures,
	hooks: TrainHooks,
): Promise<RunPlan> {
	const { objective } = options;
	const held = config.validation.held_out_folder;
	const heldOut = held === null ? pictures.heldOut.length : await countOf(held, config, hooks);
	const classes = objective === 'dreambooth' ? (config.prior?.num_class_images ?? 0) : 0;
	const train = pictures.train.items;
	const length = Math.max(train.length * config.data.repeats, classes);
	const { batchesPerEpoch } = createDataOrder({
		buckets: Array.from({ length }, (_, i) => JSON.stringify(train[i % train.length]?.bucket)),
		batchSize: config.train.train_batch_size,
		generator: createRandomStreams(config.seed).order,
	});
	const tensors = tensorsOf(model, objective);
	const measured = options.measure === true ? await measure(config, model, tensors, classes > 0, hooks) : undefined;
	const facts = plannedFacts(config, options, model, { train: pictures.train, classes, heldOut, batchesPerEpoch });
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
		engineMemory: await memoryOf(config, model, tensors, classes > 0),
		measured,
	});
}

/** Pictures of a folder. @throws {FormatError} those of opening it */
async function countOf(folder: string, config: RunConfig, hooks: TrainHooks): Promise<number> {
	const { dataset, items } = await openFolderSet(folder, config.data.instance_prompt ?? undefined, config, hooks);
	await dataset.close();
	return items.length;
}

/** The facts as they will be but for values of the same length, so that planned sizes are those written. */
function plannedFacts(config: RunConfig, options: PlanTrainingOptions, model: PreparedModel, parts: PlannedParts): TrainingFacts {
	const now = Date.now();
	const { device, engine } = config.engine;
	const { objective } = options;
	const groups = new Set(tensorsOf(model, objective).map(({ group }) => group));
	const phase = runPhases(config, objective, parts.batchesPerEpoch, model.schedule.alphasCumprod.length, groups).at(-1);
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

async function memoryOf(
	config: RunConfig,
	model: PreparedModel,
	tensors: readonly TrainableTensor[],
	prior: boolean,
): Promise<EngineMemory> {
	const { base } = model.opened;
	const { forms, ranks } = moduleForms(model.modules);
	const side = config.images.resolution / pixelsPerLatent(base.vae);
	const graph = objectiveGraph({
		unet: base.unet,
		textEncoder: model.textEncoders[0],
		textEncoder2: model.textEncoders[1],
		tokens: model.token?.rows[0]?.shape[0],
		shape: { batch: microBatchSize(config, prior), height: side, width: side, tokens: model.opened.tokenizers[0]?.maxLength ?? 77 },
		masked: config.loss.masked,
		forms,
		ranks,
	});
	const source = parameterSource(graph, base.weights);
	return engineMemory({
		graph,
		wrt: tensors.map(({ name }) => name),
		engine: config.engine,
		storedAs: (name) => source.stored(name)?.dtype,
	});
}

/** A micro-batch: time of the second one, for the first loads the base. @throws {FormatError} those of the engine and of the model */
async function measure(
	config: RunConfig,
	model: PreparedModel,
	tensors: readonly TrainableTensor[],
	prior: boolean,
	hooks: TrainHooks,
): Promise<MeasuredMicroBatch> {
	const computing = await openTrainingEngine(config.engine, hooks.note);
	const { base, tokenizers } = model.opened;
	const training = openTrainingModel({ config, model, computing, modules: model.modules, tensors, prior, hooks });
	try {
		const count = microBatchSize(config, prior);
		const side = config.images.resolution / pixelsPerLatent(base.vae);
		const shape = [count, base.unet.inChannels, side, side];
		const size = shape.reduce((product, d) => product * d, 1);
		const noise = createRandomStreams(config.seed).noise;
		const tokens = tokenizers[0]?.maxLength ?? 77;
		const text: BatchText =
			model.textEncoders.length === 0
				? {
						states: f32Tensor([count, tokens, base.unet.crossAttentionDim], new Float32Array(count * tokens * base.unet.crossAttentionDim)),
						added: addedOf(base.unet, count),
					}
				: await tokenTexts(tokenizers).batch(Array<string>(count).fill(''), Array(count).fill(timeIds(config.images.resolution)));
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
		// Node gives the most the process had resident, in KiB on every system.
		return { seconds: (performance.now() - began) / 1000, peak: process.resourceUsage().maxRSS * 1024 };
	} finally {
		await training.close();
	}
}

/** SDXL's, of a picture that was cut nowhere. */
function timeIds(side: number): readonly number[] {
	return [side, side, 0, 0, side, side];
}

function addedOf(
	{ projectionClassEmbeddingsInputDim: width }: PreparedModel['opened']['base']['unet'],
	count: number,
): ReturnType<typeof f32Tensor> | undefined {
	return width === undefined ? undefined : f32Tensor([count, width], new Float32Array(count * width));
}
