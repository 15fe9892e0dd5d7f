import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import {
	type Base,
	inputName,
	type NoiseSchedule,
	noiseSchedule,
	type ParameterSource,
	readWeight,
	type SchedulerConfig,
	type TextEncoderConfig,
} from '@lorakit/runtime';
import { encodingWeights, identityTensors } from '../../data/cache-key.js';
import type { TensorCache } from '../../data/cache-tensors.js';
import { checkTrainable } from '../../model/create-training-model.js';
import { modulesOf, type TargetModule, targetModules } from '../../model/target-modules.js';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import { initialTensors } from '../../model/trainable-tensors.js';
import { unreachedFactors } from '../../model/unreached-factors.js';
import type { AdapterDescription } from '../../result/trained-adapter.js';
import type { Objective, RunConfig } from '../../run/config/run-config.js';
import { streamSeed } from '../../run/random-streams.js';
import { splitHeldOut } from '../../run/validation-batches.js';
import { createFolderCache } from '../data/cache-folder.js';
import { type BaseHashes, type BaseReading, readBaseOnce } from '../result/base-facts.js';
import { type BatchTexts, frozenTexts, tokenTexts } from './batch-texts.js';
import { ensureClassPictures } from './class-pictures.js';
import type { TrainHooks } from './hooks.js';
import { initFromAdapter } from './init-adapter.js';
import { type LearnedToken, learnedToken, templateCaptions } from './learned-token.js';
import { openFolderSet, openTrainingData, type SizedSet } from './open-data.js';
import { createLatentMaker, createPictureExamples, type LatentMaker, type PictureExamples } from './picture-examples.js';
import { openTrainingBase, type TrainingBase } from './training-base.js';
import type { TrainingEngine } from './training-engine.js';

/** What is trained: decided from headers and configurations alone. */
export interface PreparedModel {
	readonly opened: TrainingBase;
	/** Those that batches have ids for: all of the base where one of them, or a token, is trained; else none. */
	readonly textEncoders: readonly TextEncoderConfig[];
	readonly token: LearnedToken | undefined;
	readonly modules: readonly TargetModule[];
	/** Factors before the first step; rows of the token are in `token`. */
	readonly factors: readonly TrainableTensor[];
	/** Names of factors that nothing of the loss depends on: they stay as they are. */
	readonly unreached: ReadonlySet<string>;
	readonly schedule: NoiseSchedule;
	readonly description: AdapterDescription;
}

/** @throws {FormatError} those of opening the base; `E_CONFIG` for what cannot be trained over it */
export async function prepareModel(
	config: RunConfig,
	objective: Objective,
	name: string,
	baseModel: string | undefined,
	hooks: TrainHooks,
): Promise<PreparedModel> {
	const opened = await openTrainingBase(config, baseModel, hooks);
	const { base, tokenizers } = opened;
	try {
		checkTrainable(base.unet);
		checkTimeIds(base);
		const { adapter } = config;
		const token = config.token === null ? undefined : await learnedToken(base, tokenizers, config.token);
		const modules = objective === 'textual-inversion' ? [] : targetModules(modulesOf(base), targetOptions(config));
		const unreached = unreachedFactors(modules, base.textEncoders);
		checkReached(modules, unreached);
		// Also what `include` names.
		const trainsText = adapter.text_encoder !== null || token !== undefined || modules.some(({ component }) => component !== 'unet');
		checkNormPrior(base, objective, config, hooks);
		const factors = await initialTensors(
			modules,
			{ seed: streamSeed(config.seed, 'factors'), init: adapter.init_lora_weights },
			weightSource(opened),
		);
		if (adapter.init !== null) {
			await initFromAdapter(
				adapter.init,
				modules,
				token === undefined ? factors : [...factors, ...token.rows],
				config.token?.placeholder_token,
			);
		}
		const scheduler = base.scheduler.config;
		const description: AdapterDescription = {
			name,
			architecture: base.architecture,
			modules: modules.map(({ component, path: at, rank, alpha }) => ({ component, path: at, rank, alpha, rsLora: adapter.use_rslora })),
			tokens: config.token === null ? [] : [{ token: config.token.placeholder_token, vectors: config.token.num_vectors }],
		};
		return {
			opened,
			textEncoders: trainsText ? base.textEncoders : [],
			token,
			modules,
			factors,
			unreached,
			schedule: noiseSchedule((typeof scheduler === 'object' && scheduler !== null ? scheduler : {}) as SchedulerConfig),
			description,
		};
	} catch (error) {
		await base.close();
		throw error;
	}
}

/** SDXL's six time ids must be what the UNet takes beside the pooled state. @throws {FormatError} `E_CONFIG` */
function checkTimeIds({ name, unet, textEncoders }: Base): void {
	const last = textEncoders.at(-1);
	if (last === undefined || (unet.additionEmbedType === undefined && textEncoders.length < 2)) return;
	const pooled = last.withProjection ? last.projectionDim : last.hiddenSize;
	const width = pooled + 6 * (unet.additionTimeEmbedDim ?? 0);
	const taken = unet.additionEmbedType === undefined ? 0 : (unet.projectionClassEmbeddingsInputDim ?? 0);
	if (width === taken) return;
	throw new FormatError(
		'E_CONFIG',
		`The UNet of ${quote(name)} takes added conditions of width ${taken}, but ${pooled} pooled states and six time ids make ${width}; SDXL bases alone are trained with such conditions.`,
	);
}

/** Refused where it was asked for; pivotal tuning has it by default, so there it is said. @throws {FormatError} `E_CONFIG` */
function checkNormPrior({ textEncoders }: Base, objective: Objective, { token }: RunConfig, hooks: TrainHooks): void {
	if (textEncoders.length < 2 || token?.norm_prior !== true) return;
	const why = "is a rule for the one table of Stable Diffusion 1.x's text encoder, and SDXL has two others";
	if (objective === 'pivotal') hooks.note?.(`token.norm_prior is left out: it ${why}`);
	else throw new FormatError('E_CONFIG', `token.norm_prior is true, but it ${why}; leave it out.`, { at: 'token.norm_prior' });
}

/** @throws {FormatError} `E_CONFIG` where no factor would ever change */
function checkReached(modules: readonly TargetModule[], unreached: ReadonlySet<string>): void {
	if (modules.length === 0 || !modules.every(({ component, path: at }) => unreached.has(inputName(component, at, 'down')))) return;
	throw new FormatError(
		'E_CONFIG',
		"Only the last layer of SDXL's first text encoder is chosen, whose output nothing uses; choose other modules (adapter.targets, adapter.text_encoder, adapter.include).",
		{ at: 'adapter' },
	);
}

/** What an objective trains, or the inversion before pivotal tuning. */
export function tensorsOf({ factors, token }: PreparedModel, what: Objective | 'inversion'): readonly TrainableTensor[] {
	const rows = token === undefined ? [] : token.rows;
	return what === 'inversion' || what === 'textual-inversion' ? rows : [...factors, ...rows];
}

function targetOptions({ adapter }: RunConfig): Parameters<typeof targetModules>[1] {
	return {
		rank: adapter.rank,
		alpha: adapter.alpha ?? undefined,
		unet: adapter.targets ?? undefined,
		textEncoder: adapter.text_encoder ?? undefined,
		include: adapter.include,
		exclude: adapter.exclude,
		patterns: adapter.patterns.map(({ pattern, rank, alpha }) => ({ pattern, rank: rank ?? undefined, alpha: alpha ?? undefined })),
		rankStabilised: adapter.use_rslora,
		dora: adapter.use_dora,
	};
}

/** Weights by `component.path.weight`, for DoRA's norms. */
function weightSource({ base }: TrainingBase): ParameterSource {
	return {
		stored: () => undefined,
		async read(name) {
			const dot = name.indexOf('.');
			const place = base.weights.locate(name.slice(0, dot), name.slice(dot + 1));
			if (place === undefined)
				throw new FormatError('E_BASE_MISMATCH', `The base has no ${quote(name)}, which DoRA takes its magnitude from.`, { at: name });
			return readWeight(place);
		},
	};
}

/** What it is trained on. */
export interface PreparedData {
	readonly train: SizedSet;
	readonly classes: SizedSet | undefined;
	/** Of `held`. */
	readonly heldOut: readonly number[];
	readonly held: PictureExamples | undefined;
	readonly heldSet: SizedSet | undefined;
	readonly examples: PictureExamples;
	readonly classExamples: PictureExamples | undefined;
	readonly texts: BatchTexts;
	readonly latents: LatentMaker;
	/** Of the base's files. */
	readonly hashes: BaseHashes;
	readonly close: () => Promise<void>;
}

/** Folder of class pictures and caches below a run's. */
const CLASS_FOLDER = 'class';
const CACHE_FOLDER = 'cache';

/**
 * Open the pictures, draw class pictures that are missing, and make ready what turns them into batches.
 * @throws {FormatError} those of all of it
 */
export async function prepareData(
	config: RunConfig,
	objective: Objective,
	model: PreparedModel,
	computing: TrainingEngine,
	hooks: TrainHooks,
): Promise<PreparedData> {
	const { opened } = model;
	const { base } = opened;
	const sets: SizedSet[] = [];
	/** Sessions of the VAE and the text encoders. */
	const held: { readonly release: () => Promise<void> }[] = [];
	const close = async (): Promise<void> => {
		for (const { dataset } of sets) await dataset.close();
		for (const { release } of held) await release();
	};
	try {
		const { train, heldOut, templates } = await openPictures(config, hooks);
		sets.push(train);
		const captions = templates === undefined ? (item: SizedSet['items'][number]) => item.item.captions : () => templates;

		const classes = await openClasses(config, objective, model, computing, hooks);
		if (classes !== undefined) sets.push(classes);
		const heldFolder = config.validation.held_out_folder;
		const heldSet =
			heldFolder === null
				? heldOut.length > 0
					? { ...train, items: heldOut }
					: undefined
				: await openFolderSet(heldFolder, config.data.instance_prompt ?? undefined, config, hooks);
		if (heldFolder !== null && heldSet !== undefined) sets.push(heldSet);

		const root = config.cache.folder ?? path.join(config.output.folder, CACHE_FOLDER);
		const cache = (kind: string): TensorCache =>
			createFolderCache(path.join(root, kind), { onWarning: (warning) => hooks.warn?.([warning]) });
		const reading = await readBase(config, model, hooks);
		const latents = await createLatentMaker(base, computing.engine, config.cache.latents ? cache('latents') : undefined, reading.tensors);
		held.push(latents);
		const masks = config.loss.masked ? config.loss.mask_from : 'none';
		const examplesOf = (set: SizedSet, own: (item: SizedSet['items'][number]) => readonly string[]): PictureExamples =>
			createPictureExamples({
				items: set.items,
				captions: own,
				images: config.images,
				masks,
				unmaskedWeight: config.loss.unmasked_weight,
				maker: latents,
				sizes: base.unet.additionEmbedType !== undefined,
			});
		const given = (item: SizedSet['items'][number]): readonly string[] => item.item.captions;
		const texts =
			model.textEncoders.length === 0
				? await frozenTexts(base, computing.engine, opened.tokenizers, config.cache.text ? cache('text') : undefined, reading.tensors)
				: tokenTexts(model.token?.tokenizers ?? opened.tokenizers);
		held.push(texts);
		return {
			train,
			classes,
			heldOut: heldSet?.items.map((_, i) => i) ?? [],
			heldSet,
			held: heldSet === undefined ? undefined : examplesOf(heldSet, heldFolder === null ? captions : given),
			examples: examplesOf(train, captions),
			classExamples: classes === undefined ? undefined : examplesOf(classes, given),
			texts,
			latents,
			hashes: reading.hashes,
			close,
		};
	} catch (error) {
		await close();
		throw error;
	}
}

/** All files of the base, each read once: for its hashes, and for the keys of what is cached on disk. */
function readBase({ cache }: RunConfig, { opened, textEncoders }: PreparedModel, hooks: TrainHooks): Promise<BaseReading> {
	const { weights, textEncoders: all } = opened.base;
	const frozen = cache.text && textEncoders.length === 0 ? all : [];
	return readBaseOnce(opened.base, {
		tensors: [
			...(cache.latents ? identityTensors(weights, 'vae', encodingWeights) : []),
			...frozen.flatMap(({ component }) => identityTensors(weights, component)),
		],
		onProgress: (done, total) => hooks.onWork?.('hashing the base', done, total, 'bytes'),
		signal: hooks.signal,
	});
}

/** @throws {FormatError} `E_CONFIG` where no picture has a mask: the run would be the same as without */
function checkMasks({ items, dataset }: SizedSet, hooks: TrainHooks): void {
	const without = items.filter(({ item }) => item.mask === undefined).length;
	if (without === items.length) {
		throw new FormatError(
			'E_CONFIG',
			`loss.masked is true, but none of the ${items.length} pictures of ${quote(dataset.name)} has a mask; put NAME-mask.png beside them or pictures of their names into masks/, or take loss.mask_from alpha.`,
			{ at: 'loss.masked' },
		);
	}
	if (without > 0) hooks.note?.(`${without} of ${items.length} pictures have no mask: all of them counts`);
}

/** The pictures of a configuration. */
export interface OpenedPictures {
	readonly train: SizedSet;
	/** Of the same set, left out of `train`. */
	readonly heldOut: SizedSet['items'];
	/** Captions of every picture, in place of its own. */
	readonly templates: readonly string[] | undefined;
}

/** Open the pictures, without those held out. @throws {FormatError} those of opening; `E_CONFIG` for captions and masks that teach nothing */
export async function openPictures(config: RunConfig, hooks: TrainHooks): Promise<OpenedPictures> {
	const { token, loss, validation } = config;
	const { set, templates } = await openOrTemplates(config, hooks);
	try {
		if (token !== null && templates === undefined) checkCaptionsHaveToken(set, token.placeholder_token, hooks);
		const split = splitHeldOut(set.items.length, validation.held_out_fraction, validation.seed);
		const pick = (indices: readonly number[]): SizedSet['items'] => indices.flatMap((i) => set.items[i] ?? []);
		const train: SizedSet = { ...set, items: pick(split.train) };
		if (loss.masked && loss.mask_from === 'file') checkMasks(train, hooks);
		return { train, heldOut: pick(split.heldOut), templates };
	} catch (error) {
		await set.dataset.close();
		throw error;
	}
}

/** With captions; where pictures have none, and a token is learned, with templates. */
async function openOrTemplates(
	config: RunConfig,
	hooks: TrainHooks,
): Promise<{ readonly set: SizedSet; readonly templates: readonly string[] | undefined }> {
	const { token, data } = config;
	// Templates stand in for captions that may not be there; a set that has them keeps them.
	const templates = token === null ? undefined : templateCaptions(token);
	const prompt = data.instance_prompt ?? (token !== null && token.templates !== null ? '' : undefined);
	if (prompt !== undefined) return { set: await openTrainingData(config, prompt, hooks), templates };
	try {
		return { set: await openTrainingData(config, undefined, hooks), templates: undefined };
	} catch (error) {
		if (templates === undefined || !(error instanceof FormatError) || (error.code !== 'E_EMPTY' && error.code !== 'E_CONFIG')) throw error;
		// With one caption for all the pictures are the set, whatever stands beside them.
		const set = await openTrainingData(config, '', hooks);
		hooks.note?.('the pictures have no captions, so sentences with the token stand for them');
		return { set, templates };
	}
}

function checkCaptionsHaveToken({ items, dataset }: SizedSet, token: string, hooks: TrainHooks): void {
	const without = items.filter(({ item }) => !item.captions.some((caption) => caption.includes(token)));
	if (without.length === items.length) {
		throw new FormatError(
			'E_CONFIG',
			`No caption in ${quote(dataset.name)} has the token ${quote(token)}, so nothing would be learned; write it into the captions, or give token.templates.`,
			{ at: 'token.placeholder_token' },
		);
	}
	if (without.length > 0)
		hooks.note?.(`${without.length} of ${items.length} pictures have no ${quote(token)} in their captions and teach it nothing`);
}

async function openClasses(
	config: RunConfig,
	objective: Objective,
	model: PreparedModel,
	computing: TrainingEngine,
	hooks: TrainHooks,
): Promise<SizedSet | undefined> {
	const { prior } = config;
	if (prior === null || objective !== 'dreambooth') return undefined;
	const folder = prior.class_data_dir ?? path.join(config.output.folder, CLASS_FOLDER);
	const { base, tokenizers } = model.opened;
	const side = config.images.resolution;
	const drawn = await ensureClassPictures({
		base,
		engine: computing.engine,
		tokenizers,
		prior,
		folder,
		seed: config.seed,
		width: side,
		height: side,
		signal: hooks.signal,
		onPicture: (done, total) => hooks.onWork?.('drawing class pictures', done, total, 'count'),
	});
	if (drawn > 0) hooks.note?.(`${drawn} class pictures were drawn into ${folder}`);
	return openFolderSet(folder, prior.class_prompt, config, hooks);
}
