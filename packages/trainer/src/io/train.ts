import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { quotePath } from '@lorakit/format/node';
import { adapterFileSize } from '../result/adapter-file-size.js';
import { modelCard } from '../result/model-card.js';
import type { ResultPlan } from '../result/plan-result.js';
import type { TrainingFacts } from '../result/training-facts.js';
import { trainingRecord } from '../result/training-record.js';
import { checkpointName } from '../run/checkpoint-record.js';
import type { Objective, RunConfig } from '../run/config/run-config.js';
import { createDiffusionBatches } from '../run/diffusion-batches.js';
import { type Phase, runPhases } from '../run/phases.js';
import { createRandomStreams, streamSeed } from '../run/random-streams.js';
import type { EndReason, ValidationPicture } from '../run/run-events.js';
import type { RunIdentity } from '../run/run-identity.js';
import type { BestMeasured } from '../run/run-snapshot.js';
import type { TrainRunResult } from '../run/train-run.js';
import { CARD_NAME, RECORD_NAME, type SavedResult, saveResult } from './result/save-result.js';
import { checkpointSteps } from './run/checkpoint-store.js';
import { type Dashboard, startDashboard } from './run/dashboard-server.js';
import { INVERSION_FOLDER, openRunFolder } from './run/run-folder.js';
import { planOf, resultOptions } from './train/adapter-files.js';
import { type ResultWords, type RunDescription, type RunProgress, samplesOf, titleOf } from './train/describe-run.js';
import { drawPictures } from './train/draw-pictures.js';
import type { TrainHooks } from './train/hooks.js';
import { openTrainingModel } from './train/open-training-model.js';
import { type PreparedData, type PreparedModel, prepareData, prepareModel, tensorsOf } from './train/prepare-run.js';
import { checkpointToResume, inversionOptimizer, type PhaseRun, type ResumeOptions, runPhase } from './train/run-phase.js';
import { openTrainingEngine } from './train/training-engine.js';
import { allPictures, drawing, noiseOf, type RunParts, samplePrompts, validationOf } from './train/validate-run.js';

/** What a training is asked for, beside its configuration. */
export interface TrainOptions extends ResultWords {
	readonly objective: Objective;
	/** Of lorakit. */
	readonly version: string;
	/** Default: begin anew. */
	readonly resume?: ResumeOptions | undefined;
	/** Replace the result, and the checkpoints, of an earlier run in the folder. */
	readonly force?: boolean | undefined;
	/** The base on the Hub as `owner/name`, where the configuration names a path. */
	readonly baseModel?: string | undefined;
	/** `owner/name` that the result will be published under, for the commands of its card. */
	readonly publishAs?: string | undefined;
}

/** How it ended. */
export interface TrainOutcome {
	readonly folder: string;
	readonly reason: EndReason;
	readonly step: number;
	readonly steps: number;
	readonly best: BestMeasured | undefined;
	/** undefined for a run that was stopped: its last checkpoint holds the adapter as it was. */
	readonly saved: SavedResult | undefined;
	readonly facts: TrainingFacts;
	readonly plan: ResultPlan;
	/** Ends of captions that the text encoder did not see. */
	readonly truncated: readonly string[];
}

/**
 * Train what a configuration says, from the base to the files of the result: pictures are opened and encoded, class pictures drawn, the steps
 * made with checkpoints, logs and validation, the adapter written with its header, model card, sample pictures and record.
 *
 * A run that is stopped (`hooks.signal`) is saved and can be resumed with the same bits; it writes no result.
 *
 * @throws {FormatError} of every part; `E_OUTPUT_EXISTS` when the folder has a run in it that is neither resumed nor to be replaced
 */
export async function trainFromConfig(config: RunConfig, options: TrainOptions, hooks: TrainHooks = {}): Promise<TrainOutcome> {
	const { objective, resume = { from: 'none', changed: false } } = options;
	const folder = openRunFolder(config.output.folder);
	let dashboard: Dashboard | undefined;
	try {
		checkFolder(folder.folder, resume, options.force === true);
		const computing = await openTrainingEngine(config.engine, hooks.note);
		const model = await prepareModel(config, objective, titleOf(config, options.title), options.baseModel, hooks);
		let data: PreparedData | undefined;
		try {
			// What could not be written is refused before pictures are drawn and encoded.
			adapterFileSize(tensorsOf(model, objective), model.description, resultOptions(config));
			data = await prepareData(config, objective, model, computing, hooks);
			if (config.logs.dashboard) {
				dashboard = await startDashboard({ folder: folder.folder, port: config.logs.dashboard_port });
				hooks.note?.(`the run is shown at ${dashboard.url}`);
			}
			return await train(config, options, resume, { model, data, computing }, hooks);
		} finally {
			await data?.close();
			await model.opened.base.close();
		}
	} finally {
		await dashboard?.close();
		folder.close();
	}
}

/** Nothing of an earlier run is lost unasked. */
function checkFolder(folder: string, resume: ResumeOptions, force: boolean): void {
	const inversion = path.join(folder, INVERSION_FOLDER);
	const runs = [folder, ...(fs.existsSync(inversion) ? [inversion] : [])].flatMap((place) =>
		checkpointSteps(place).map((step) => path.join(place, checkpointName(step))),
	);
	const results = [CARD_NAME, RECORD_NAME].map((name) => path.join(folder, name)).filter((file) => fs.existsSync(file));
	if (resume.from !== 'none') return;
	if (runs.length + results.length > 0 && !force) {
		throw new FormatError(
			'E_OUTPUT_EXISTS',
			`${quotePath(folder)} has ${runs.length > 0 ? 'checkpoints' : 'the result'} of an earlier run; go on with it (--resume), replace it (--force), or choose another folder.`,
		);
	}
	// A new run beside old checkpoints would be resumed from theirs.
	for (const run of runs) fs.rmSync(run, { recursive: true, force: true });
}

async function train(
	config: RunConfig,
	options: TrainOptions,
	resume: ResumeOptions,
	parts: RunParts,
	hooks: TrainHooks,
): Promise<TrainOutcome> {
	const { model, data, computing } = parts;
	const { objective } = options;
	const { base } = model.opened;
	const startedAt = Date.now();
	const identity = identityOf(config, objective, parts, data.hashes.files, options.version);
	const folder = config.output.folder;
	const main = await checkpointToResume(folder, identity, resume, hooks);
	await encodeAhead(config, parts, hooks);

	const timesteps = model.schedule.alphasCumprod.length;
	const batchesOf = ({ name, maxTimestep }: Pick<Phase, 'name' | 'maxTimestep'>) =>
		createDiffusionBatches({
			examples: data.examples,
			batchSize: config.train.train_batch_size,
			repeats: config.data.repeats,
			captions: {
				dropout: config.captions.dropout,
				shuffleTags: config.captions.shuffle_tags,
				keepTags: config.captions.keep_tags,
				tagDropout: config.captions.tag_dropout,
				separator: config.captions.separator,
			},
			text: (captions, timeIds) => data.texts.batch(captions, timeIds),
			streams: createRandomStreams(name === 'inversion' ? streamSeed(config.seed, 'inversion') : config.seed),
			prior: data.classExamples === undefined ? undefined : { examples: data.classExamples, weight: config.prior?.prior_loss_weight ?? 1 },
			...noiseOf(config, maxTimestep ?? timesteps, base.vae),
		});
	const perEpoch = batchesOf({ name: 'training', maxTimestep: null }).batchesPerEpoch;
	const groups = new Set(tensorsOf(model, objective).map(({ group }) => group));
	const phases = runPhases(config, objective, perEpoch, timesteps, groups);
	const [last] = phases.slice(-1);
	if (last === undefined) throw new TypeError('a run without a phase');
	const description: RunDescription = {
		...options,
		config,
		model,
		computing,
		data: { train: data.train, classes: data.classes?.items.length, heldOut: data.heldOut.length },
		hashes: data.hashes,
		phase: last,
		batchesPerEpoch: perEpoch,
		startedAt,
	};

	let outcome: TrainRunResult | undefined;
	for (const phase of phases) {
		const first = phase.name === 'inversion';
		// The second phase's own checkpoint has the token as the first left it.
		if (first && main !== undefined) continue;
		const tensors = tensorsOf(model, first ? 'inversion' : objective);
		const frozen = frozenOf(config, objective, first, model);
		const trained = tensors.filter(({ name }) => !frozen.has(name));
		const training = openTrainingModel({
			config,
			model,
			computing,
			modules: first ? [] : model.modules,
			tensors,
			frozen,
			prior: data.classExamples !== undefined,
			hooks,
		});
		const place = first ? path.join(folder, INVERSION_FOLDER) : folder;
		if (first) fs.mkdirSync(place, { recursive: true });
		const from = first
			? await checkpointToResume(place, identity, resume.from === 'none' ? resume : { ...resume, from: 'newest' }, hooks)
			: main;
		const [rows, ...more] = model.token?.rows ?? [];
		// The rule is one for a single table; `prepareModel` says so where there are two.
		const pulls = config.token?.norm_prior === true && more.length === 0 && (first || objective === 'textual-inversion');
		const run: PhaseRun = {
			config,
			phase,
			folder: place,
			identity,
			model: training,
			trained,
			optimizer: first ? inversionOptimizer(config) : config.optimizer,
			batches: batchesOf(phase),
			validation: first ? undefined : validationOf(config, phase, parts, tensors, description, () => training.close(), hooks),
			normPrior: pulls && rows !== undefined && config.token !== null ? { rows, target: config.token.norm_prior_target } : undefined,
			adapter: (values, snapshot) =>
				planOf(description, tensors, values, { steps: snapshot.step, finishedAt: Date.now(), validationLoss: snapshot.best?.loss }).plan,
			resume: from,
			version: options.version,
			hooks: {
				...hooks,
				onEvent: (event, name) => {
					if (event.type === 'step') lastLoss = event.loss;
					if (event.type === 'pictures') lastPictures = { step: event.step, pictures: event.pictures };
					hooks.onEvent?.(event, name);
				},
			},
		};
		let lastLoss: number | undefined;
		let lastPictures: { readonly step: number; readonly pictures: readonly ValidationPicture[] } | undefined;
		try {
			outcome = await runPhase(run);
		} finally {
			await training.close();
		}
		if (outcome.reason === 'stopped' || phase === last) {
			const progress: RunProgress = {
				steps: keptStep(config, outcome),
				finishedAt: Date.now(),
				loss: lastLoss,
				validationLoss: outcome.best?.loss,
			};
			const { plan, facts, adapter } = planOf(description, tensors, outcome.adapter, progress);
			const stopped = outcome.reason === 'stopped';
			const pictures = stopped
				? []
				: lastPictures?.step === progress.steps
					? lastPictures.pictures
					: await allPictures(
							drawPictures(samplePrompts(config), {
								...drawing(config, parts, hooks),
								adapter,
								onPicture: (done, total) => hooks.onWork?.('drawing samples', done, total, 'count'),
							}),
						);
			const { files, samples } = samplesOf(pictures);
			const card = modelCard({ facts, modules: model.description.modules, plan, samples, repo: options.publishAs });
			const record = { ...trainingRecord(facts, model.description.modules), config, best: outcome.best ?? null, reason: outcome.reason };
			const saved = stopped
				? undefined
				: await saveResult(
						folder,
						{ plan, card, record, samples: files },
						{ force: options.force === true || main !== undefined || resume.from !== 'none' },
					);
			return {
				folder,
				reason: outcome.reason,
				step: outcome.step,
				steps: last.optimizerSteps,
				best: outcome.best,
				saved,
				facts,
				plan,
				truncated: [...data.texts.truncated],
			};
		}
		for (const tensor of tensors) tensor.values.set(outcome.adapter.get(tensor.name) ?? tensor.values);
	}
	throw new TypeError('a run that never ended');
}

/** Latents and texts of the whole set, so that the VAE and the text encoders need not stay in memory. */
async function encodeAhead(config: RunConfig, { data }: RunParts, hooks: TrainHooks): Promise<void> {
	const work = (what: string) => (done: number, total: number) => hooks.onWork?.(what, done, total, 'count');
	if (config.cache.latents) {
		await data.examples.prepare(work('encoding pictures'), hooks.signal);
		await data.classExamples?.prepare(work('encoding class pictures'), hooks.signal);
		await data.held?.prepare(work('encoding held-out pictures'), hooks.signal);
		await data.latents.release();
	}
	const fixed = !config.captions.shuffle_tags && config.captions.tag_dropout === 0;
	if (fixed) {
		const sources = [data.examples, data.classExamples, data.held].flatMap((source) => source?.examples ?? []);
		const captions = new Set([...sources.flatMap((example) => example.captions), ...(config.captions.dropout > 0 ? [''] : [])]);
		await data.texts.prepare(captions, work('encoding captions'), hooks.signal);
		await data.texts.release();
	}
}

/** What has no gradient: the token where it stays as the inversion left it, and factors that the loss does not reach. */
function frozenOf(
	{ inversion }: RunConfig,
	objective: Objective,
	first: boolean,
	{ token, unreached }: PreparedModel,
): ReadonlySet<string> {
	const stays = objective === 'pivotal' && !first && inversion?.continue_inversion !== true;
	return new Set([...(stays ? (token?.rows ?? []).map(({ name }) => name) : []), ...unreached]);
}

function identityOf(
	config: RunConfig,
	objective: Objective,
	{ data, computing }: RunParts,
	files: readonly { readonly path: string; readonly sha256: string }[],
	version: string,
): RunIdentity {
	const digests: Record<string, string> = { train: data.train.dataset.digest };
	if (data.classes !== undefined) digests['class'] = data.classes.dataset.digest;
	if (data.heldSet !== undefined && data.heldSet.dataset !== data.train.dataset) digests['held out'] = data.heldSet.dataset.digest;
	return {
		objective,
		config,
		data: digests,
		base: Object.fromEntries(files.map(({ path: name, sha256 }) => [name, sha256])),
		engine: { id: computing.engine.id, device: computing.engine.device, threads: computing.threads },
		versions: { lorakit: version, node: process.version },
	};
}

/** The step whose values are the result. */
function keptStep({ validation }: RunConfig, { step, best }: TrainRunResult): number {
	return validation.keep_best && best !== undefined ? best.step : step;
}
