import path from 'node:path';
import type { OptimizerOptions } from '../../optimizers/optimizer-options.js';
import type { ModelCardInput } from '../../result/model-card.js';
import type { DataFolder, RunFacts, TrainingFacts } from '../../result/training-facts.js';
import type { Objective, RunConfig } from '../../run/config/run-config.js';
import type { Phase } from '../../run/phases.js';
import { type BaseHashes, baseFacts } from '../result/base-facts.js';
import type { SizedSet } from './open-data.js';
import type { PreparedModel } from './prepare-run.js';
import type { TrainingEngine } from './training-engine.js';

/** What the user says of the result. */
export interface ResultWords {
	readonly title?: string | undefined;
	readonly author?: string | undefined;
	readonly description?: string | undefined;
	/** Tell neither captions nor folder names. */
	readonly privateData?: boolean | undefined;
}

export interface RunDescription extends ResultWords {
	readonly config: RunConfig;
	readonly objective: Objective;
	readonly model: PreparedModel;
	readonly data: {
		readonly train: SizedSet /** Class pictures; undefined without prior preservation. */;
		readonly classes: number | undefined;
		readonly heldOut: number;
	};
	readonly computing: { readonly engine: Pick<TrainingEngine['engine'], 'id' | 'device'> };
	readonly hashes: BaseHashes;
	readonly batchesPerEpoch: number;
	readonly phase: Phase;
	readonly version: string;
	/** ms since 1970. */
	readonly startedAt: number;
}

/** How far the run is. */
export interface RunProgress {
	readonly steps: number;
	readonly finishedAt: number;
	readonly loss?: number | undefined;
	readonly validationLoss?: number | undefined;
}

const OPTIMIZERS: Readonly<Record<OptimizerOptions['kind'], string>> = { adamw: 'AdamW', adamw8bit: 'AdamW8bit', prodigy: 'Prodigy' };

/** The facts of a run, for headers, cards and records. */
export function factsOf(run: RunDescription, progress: RunProgress): TrainingFacts {
	const { config, objective, model, data, hashes } = run;
	const { opened } = model;
	return {
		title: titleOf(config, run.title),
		objective,
		base: baseFacts(opened.base, hashes, opened.prediction, opened.repo),
		data: {
			digest: data.train.dataset.digest,
			repo: data.train.repo,
			folders: [folderOf(data.train, config, run.privateData === true)],
			classFolders: data.classes === undefined ? undefined : [{ name: 'class', pictures: data.classes, repeats: 1 }],
			validationPictures: data.heldOut,
			buckets: bucketsOf(data.train),
		},
		run: runFacts(run, progress),
		version: run.version,
		triggerPhrase: config.output.trigger ?? config.data.instance_prompt ?? config.token?.placeholder_token,
		author: run.author,
		license: config.output.license ?? undefined,
		description: run.description,
	};
}

/** The name of an adapter: as it was called, else its folder's. */
export function titleOf({ output }: RunConfig, title: string | undefined): string {
	return title ?? path.basename(path.resolve(output.folder));
}

function runFacts({ config, phase, computing, startedAt, batchesPerEpoch }: RunDescription, progress: RunProgress): RunFacts {
	const { train, images, loss, captions, ema, prior, engine } = config;
	const { kind, ...optimizer } = config.optimizer;
	const given = Object.entries(optimizer).flatMap(([key, value]): [string, number | string | boolean][] =>
		value === null ? [] : [[key, Array.isArray(value) ? value.join(' ') : (value as number | boolean)]],
	);
	return {
		seed: config.seed,
		steps: progress.steps,
		maxSteps: phase.optimizerSteps,
		epochs: progress.steps / phase.stepsPerEpoch,
		batchesPerEpoch,
		batchSize: train.train_batch_size,
		accumulation: phase.timing.accumulation,
		width: images.resolution,
		height: images.resolution,
		learningRates: phase.baseRates,
		rateSchedule: train.lr_scheduler,
		warmupSteps: train.lr_warmup_steps,
		optimizer: OPTIMIZERS[kind],
		optimizerArguments: Object.fromEntries(given),
		maxGradNorm: phase.maxGradNorm ?? undefined,
		mixedPrecision: engine.mixed_precision,
		gradientCheckpointing: engine.memory === 'lean',
		noiseOffset: loss.noise_offset > 0 ? loss.noise_offset : undefined,
		minSnrGamma: loss.snr_gamma ?? undefined,
		captionDropout: captions.dropout > 0 ? captions.dropout : undefined,
		tokenDropout: captions.tag_dropout > 0 ? captions.tag_dropout : undefined,
		priorWeight: prior?.prior_loss_weight,
		emaDecay: ema?.decay,
		flip: images.random_flip,
		randomCrop: !images.center_crop,
		maskedLoss: loss.masked,
		loss: progress.loss,
		validationLoss: progress.validationLoss,
		startedAt,
		finishedAt: progress.finishedAt,
		engine: computing.engine.id,
		device: computing.engine.device,
	};
}

function folderOf({ dataset, items }: SizedSet, { data }: RunConfig, quiet: boolean): DataFolder {
	const name = dataset.name.replace(/[\\/]+$/, '').replace(/^.*[\\/]/, '') || 'pictures';
	return {
		name: quiet ? 'pictures' : name,
		pictures: items.length,
		repeats: data.repeats,
		captions: quiet ? undefined : items.flatMap(({ item }) => item.captions),
	};
}

function bucketsOf({ items }: SizedSet): NonNullable<TrainingFacts['data']['buckets']> {
	const counts = new Map<string, { width: number; height: number; pictures: number }>();
	for (const { bucket } of items) {
		const key = `${bucket.width}x${bucket.height}`;
		counts.set(key, { ...bucket, pictures: (counts.get(key)?.pictures ?? 0) + 1 });
	}
	return [...counts.values()];
}

/** Sample pictures of a card by path, and where they stand in it. */
export function samplesOf(pictures: readonly { readonly prompt: string; readonly seed: number; readonly png: Uint8Array }[]): {
	readonly files: ReadonlyMap<string, Uint8Array>;
	readonly samples: NonNullable<ModelCardInput['samples']>;
} {
	const named = pictures.map((picture, i) => ({ ...picture, path: `samples/${String(i).padStart(2, '0')}.png` }));
	return {
		files: new Map(named.map(({ path: at, png }) => [at, png])),
		samples: named.map(({ path: at, prompt, seed }) => ({ path: at, prompt, caption: `seed ${seed}` })),
	};
}
