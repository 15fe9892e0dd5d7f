import {
	type BaseTensorFile,
	type ByteSource,
	baseModel,
	checkShardHolds,
	checkShardNumbers,
	FormatError,
	openStateDict,
	quote,
	type Warning,
} from '@lorakit/format';
import type { Architecture, Base, BaseOptions, SchedulerFile, TokenizerFiles } from './base.js';
import { type BaseTree, readTreeJson, readTreeText } from './base-tree.js';
import { allVariants, chooseWeightFiles } from './choose-weight-files.js';
import { type PlacedWeights, placeWeights } from './place-weights.js';
import { shardPaths } from './shard-paths.js';
import {
	deriveScheduler,
	deriveTextEncoderConfig,
	deriveUnetConfig,
	deriveVaeConfig,
	singleFileArchitecture,
} from './single-file-config.js';
import { parseTextEncoderConfig, type TextEncoderComponent, type TextEncoderConfig } from './text-encoder-config.js';
import { parseUnetConfig, type UnetConfig } from './unet-config.js';
import { parseVaeConfig } from './vae-config.js';
import { weightsOf } from './weights.js';

const COMPONENTS = ['unet', 'vae', 'text_encoder', 'text_encoder_2'] as const;
const TEXT_ENCODERS: readonly TextEncoderComponent[] = ['text_encoder', 'text_encoder_2'];
const CHECKPOINT = /^[^/]+\.(safetensors|ckpt|pt|pth|bin)$/i;
/** LDM's name of SD2's text encoder. */
const OPEN_CLIP = 'cond_stage_model.model.';

/**
 * Open a base model over a tree of files: a diffusers folder, or one single-file checkpoint (with configuration files
 * beside it, where its widths are not those of a published model). Headers and small text files are read, weights not.
 *
 * @throws {FormatError} `E_FORMAT` for a tree without such a model, `E_CONFIG`, `E_LIMIT`, `E_SHARD_MISSING`, `E_AMBIGUOUS`,
 * `E_UNSUPPORTED_DTYPE`, and those of opening and reading. Everything is closed again then.
 */
export async function openBaseTree(tree: BaseTree, options: BaseOptions = {}): Promise<Base> {
	const sources: ByteSource[] = [];
	const close = async (): Promise<void> => {
		for (const source of sources.splice(0)) await tree.close(source);
	};
	const open = async (path: string): Promise<BaseTensorFile['state']> => {
		const source = await tree.open(path);
		sources.push(source);
		try {
			return await openStateDict(source, { values: false });
		} catch (error) {
			// A base has several files: which one it is belongs to the sentence.
			if (!(error instanceof FormatError) || error.message.includes(path)) throw error;
			throw new FormatError(error.code, `${quote(path)}: ${error.message}`, { at: error.at ?? path, cause: error });
		}
	};
	try {
		const isFolder = COMPONENTS.some((component) => chooseWeightFiles(tree.paths, component, options.variant) !== undefined);
		return await (isFolder ? openFolder(tree, options, open, close) : openFile(tree, options, open, close));
	} catch (error) {
		await close();
		throw error;
	}
}

type Open = (path: string) => Promise<BaseTensorFile['state']>;

async function openFolder(tree: BaseTree, options: BaseOptions, open: Open, close: () => Promise<void>): Promise<Base> {
	const { variant } = options;
	const there = allVariants(tree.paths, COMPONENTS);
	if (variant !== undefined && !there.has(variant)) {
		const known = there.size === 0 ? 'it has none' : `it has ${[...there].map(quote).join(', ')}`;
		throw new FormatError('E_USAGE', `${quote(tree.name)} has no weights of the variant ${quote(variant)}; ${known}.`);
	}
	const files: BaseTensorFile[] = [];
	const warnings: Warning[] = [];
	for (const component of COMPONENTS) {
		const chosen = chooseWeightFiles(tree.paths, component, variant);
		if (chosen === undefined) {
			if (component === 'text_encoder_2') continue;
			const refiner = component === 'text_encoder' && chooseWeightFiles(tree.paths, 'text_encoder_2', variant) !== undefined;
			throw new FormatError(
				'E_FORMAT',
				refiner
					? `${quote(tree.name)} has text_encoder_2 and no text_encoder: SDXL's refiner is no base model.`
					: `${quote(tree.name)} has no weights in ${quote(component)}; a Stable Diffusion folder has unet, vae and text_encoder.`,
				{ at: component },
			);
		}
		warnings.push(...chosen.warnings);
		const { index } = chosen;
		const shards = index === undefined ? undefined : shardPaths(await readTreeJson(tree, index), index, tree.paths);
		if (shards === undefined) {
			const there = new Set(chosen.files);
			for (const file of chosen.files) checkShardNumbers(file, there);
		}
		for (const path of shards?.keys() ?? chosen.files) {
			const file: BaseTensorFile = { path, component, state: await open(path) };
			if (shards !== undefined && index !== undefined) checkShardHolds(file, shards.get(path) ?? [], index);
			files.push(file);
		}
	}
	const placed = placeWeights(files);
	const config = async (path: string): Promise<unknown> => {
		const json = await readTreeJson(tree, path);
		if (json === undefined) throw new FormatError('E_CONFIG', `${quote(path)} is not there; fetch the model again.`, { at: path });
		return json;
	};
	const index = fieldsOf(await readTreeJson(tree, 'model_index.json'));
	const unet = parseUnetConfig(await config('unet/config.json'));
	const vae = parseVaeConfig(await config('vae/config.json'));
	const encoders: TextEncoderConfig[] = [];
	const configs = new Map<string, unknown>();
	for (const component of TEXT_ENCODERS) {
		if (!placed.places.has(component)) continue;
		const json = await config(`${component}/config.json`);
		configs.set(component, json);
		encoders.push(parseTextEncoderConfig(json, component, hasProjection(component, json, index)));
	}
	const adapters = files.filter(({ component }) => component !== 'vae');
	// format follows one number of layers for all blocks; for others it takes the structure from the tensors.
	if (isUniform(unet.config)) configs.set('unet', await config('unet/config.json'));
	return finish({
		tree,
		kind: 'folder',
		options,
		placed,
		unet,
		vae,
		encoders,
		scheduler: await readScheduler(tree, index),
		index,
		model: baseModel(adapters, 'folder', tree.name, { configs }),
		warnings,
		close,
	});
}

async function openFile(tree: BaseTree, options: BaseOptions, open: Open, close: () => Promise<void>): Promise<Base> {
	if (options.variant !== undefined) {
		throw new FormatError('E_USAGE', `${quote(tree.name)} is no diffusers folder and has no variants; leave variant out.`);
	}
	const [path, other] = tree.paths.filter((p) => CHECKPOINT.test(p));
	if (path === undefined) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(tree.name)} holds no base model: it has no unet folder with weights and no checkpoint; give a diffusers folder or a single file.`,
		);
	}
	if (other !== undefined) {
		throw new FormatError(
			'E_AMBIGUOUS',
			`${quote(tree.name)} holds several checkpoints, ${quote(path)} and ${quote(other)}; name one of them.`,
		);
	}
	const file: BaseTensorFile = { path, component: undefined, state: await open(path) };
	const placed = placeWeights([file]);
	const weights = weightsOf(placed.places);
	const names = file.state.tensors;
	for (const [component, ldm] of [
		['unet', 'model.diffusion_model.*'],
		['vae', 'first_stage_model.*'],
		['text_encoder', 'cond_stage_model.* or conditioner.embedders.0.transformer.*'],
	] as const) {
		if (placed.places.has(component)) continue;
		throw new FormatError(
			'E_FORMAT',
			`${quote(path)} holds no ${component} (${ldm}); a base model of Stable Diffusion has UNet, VAE and text encoder in it.`,
		);
	}
	if (names.has('edm_mean') || names.has('edm_std')) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(path)} was trained with EDM preconditioning (edm_mean, edm_std), which this runtime does not do.`,
		);
	}
	const model = baseModel([file], 'file', path);
	const openClip = [...names.keys()].some((name) => name.startsWith(OPEN_CLIP));
	const architecture = singleFileArchitecture(weights, openClip);
	const index = fieldsOf(await readTreeJson(tree, 'model_index.json'));
	const unetJson = await readTreeJson(tree, 'unet/config.json');
	const vaeJson = await readTreeJson(tree, 'vae/config.json');
	const unet =
		unetJson === undefined ? parseUnetConfig(deriveUnetConfig(model, architecture), `${path} (UNet)`) : parseUnetConfig(unetJson);
	const vae =
		vaeJson === undefined ? parseVaeConfig(deriveVaeConfig(weights, architecture, path), `${path} (VAE)`) : parseVaeConfig(vaeJson);
	const encoders: TextEncoderConfig[] = [];
	for (const component of TEXT_ENCODERS) {
		if (!placed.places.has(component)) continue;
		const json = await readTreeJson(tree, `${component}/config.json`);
		encoders.push(
			json === undefined
				? parseTextEncoderConfig(
						deriveTextEncoderConfig(weights, component, architecture, path),
						component,
						component === 'text_encoder_2',
						`${path} (${component})`,
					)
				: parseTextEncoderConfig(json, component, hasProjection(component, json, index)),
		);
	}
	const warnings: Warning[] = [];
	let scheduler: SchedulerFile;
	if (tree.paths.includes('scheduler/scheduler_config.json')) scheduler = await readScheduler(tree, index);
	else {
		scheduler = deriveScheduler(architecture, new Set(names.keys()));
		if (architecture === 'sd2' && options.predictionType === undefined) {
			warnings.push({
				code: 'W_AMBIGUOUS',
				message: `${quote(path)} is SD2 and does not say what its UNet predicts; v_prediction is assumed, as diffusers does (the 512 px base model predicts epsilon: say so with predictionType, on the command line with --scheduler-option prediction_type=epsilon).`,
			});
		}
	}
	return finish({ tree, kind: 'file', options, placed, unet, vae, encoders, scheduler, index, model, warnings, close });
}

interface Parts extends Pick<Base, 'kind' | 'scheduler' | 'model' | 'close'> {
	readonly tree: BaseTree;
	readonly options: BaseOptions;
	readonly placed: PlacedWeights;
	readonly unet: ReturnType<typeof parseUnetConfig>;
	readonly vae: ReturnType<typeof parseVaeConfig>;
	readonly encoders: readonly TextEncoderConfig[];
	readonly index: ReadonlyMap<string, unknown> | undefined;
	readonly warnings: readonly Warning[];
}

async function finish(parts: Parts): Promise<Base> {
	const { tree, kind, options, placed, unet, vae, encoders, index, model } = parts;
	const warnings = [...parts.warnings, ...placed.warnings];
	for (const [file, { unknown }] of [
		['unet/config.json', unet],
		['vae/config.json', vae],
	] as const) {
		if (unknown.length > 0) {
			const message = `${quote(file)} has keys that diffusers does not know; they are not used: ${unknown.slice(0, 8).map(quote).join(', ')}.`;
			warnings.push({ code: 'W_UNKNOWN_FIELD', message, at: file });
		}
	}
	checkWidths(tree.name, unet.config, vae.config.latentChannels, encoders);
	const architecture = architectureOf(unet.config, encoders);
	const force = index?.get('force_zeros_for_empty_prompt');
	const { predictionType } = options;
	const { scheduler } = parts;
	return {
		name: kind === 'file' ? model.name : tree.name,
		kind,
		architecture,
		unet: unet.config,
		vae: vae.config,
		textEncoders: encoders,
		scheduler:
			predictionType === undefined
				? scheduler
				: { ...scheduler, config: { ...(scheduler.config as Readonly<Record<string, unknown>>), prediction_type: predictionType } },
		tokenizers: await readTokenizers(tree),
		weights: weightsOf(placed.places),
		model,
		// diffusers StableDiffusionXLPipeline: the default is True.
		forceZerosForEmptyPrompt: typeof force === 'boolean' ? force : architecture === 'sdxl',
		warnings,
		skipped: placed.skipped,
		close: parts.close,
	};
}

function architectureOf(unet: UnetConfig, encoders: readonly TextEncoderConfig[]): Architecture {
	if (unet.additionEmbedType === 'text_time') return 'sdxl';
	return unet.useLinearProjection || encoders[0]?.act === 'gelu' ? 'sd2' : 'sd1';
}

/** Parts of different models fit nowhere; said here, before anything is computed. */
function checkWidths(name: string, unet: UnetConfig, latentChannels: number, encoders: readonly TextEncoderConfig[]): void {
	const states = encoders.reduce((sum, { hiddenSize }) => sum + hiddenSize, 0);
	if (states !== unet.crossAttentionDim) {
		throw new FormatError(
			'E_CONFIG',
			`The text encoders of ${quote(name)} give states ${states} wide (hidden_size), but its UNet takes ${unet.crossAttentionDim} (cross_attention_dim); they belong to different models.`,
		);
	}
	if (unet.outChannels !== latentChannels) {
		throw new FormatError(
			'E_CONFIG',
			`The UNet of ${quote(name)} gives ${unet.outChannels} channels (out_channels), but its VAE takes ${latentChannels} (latent_channels); they belong to different models.`,
		);
	}
}

function isUniform({ layersPerBlock, transformerLayersPerBlock: depths, reverseTransformerLayersPerBlock: up }: UnetConfig): boolean {
	if (layersPerBlock.some((l) => l !== layersPerBlock[0])) return false;
	const n = depths.length;
	return depths.every((own, i) => own.every((d) => d === own[0] && d > 0) && (up[n - 1 - i] ?? []).every((d) => d === own[0]));
}

/** By the class that the pipeline names, else the one the encoder names, else as SDXL has it. @throws {FormatError} `E_CONFIG`. */
function hasProjection(component: TextEncoderComponent, json: unknown, index: ReadonlyMap<string, unknown> | undefined): boolean {
	const named = index?.get(component);
	const architectures = fieldsOf(json)?.get('architectures');
	const name: unknown =
		Array.isArray(named) && typeof named[1] === 'string' ? named[1] : Array.isArray(architectures) ? architectures[0] : undefined;
	if (name === 'CLIPTextModelWithProjection') return true;
	if (name === 'CLIPTextModel') return false;
	if (typeof name === 'string') {
		throw new FormatError(
			'E_CONFIG',
			`The ${component} is a ${quote(name)}; this runtime computes CLIPTextModel and CLIPTextModelWithProjection.`,
			{ at: component },
		);
	}
	return component === 'text_encoder_2';
}

async function readScheduler(tree: BaseTree, index: ReadonlyMap<string, unknown> | undefined): Promise<SchedulerFile> {
	const path = 'scheduler/scheduler_config.json';
	const config = await readTreeJson(tree, path);
	const fields = fieldsOf(config);
	if (fields === undefined) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(path)} is ${config === undefined ? 'not there' : 'no JSON object'}; fetch the model again.`,
			{
				at: path,
			},
		);
	}
	const named = index?.get('scheduler');
	const className: unknown = Array.isArray(named) ? named[1] : fields.get('_class_name');
	if (typeof className !== 'string') {
		throw new FormatError('E_CONFIG', `Neither model_index.json nor ${quote(path)} names the class of the scheduler.`, { at: path });
	}
	return { className, config };
}

async function readTokenizers(tree: BaseTree): Promise<readonly TokenizerFiles[]> {
	const out: TokenizerFiles[] = [];
	for (const component of ['tokenizer', 'tokenizer_2'] as const) {
		if (!tree.paths.some((path) => path.startsWith(`${component}/`))) continue;
		const text = (name: string): Promise<string | undefined> => readTreeText(tree, `${component}/${name}`);
		out.push({
			component,
			vocab: await text('vocab.json'),
			merges: await text('merges.txt'),
			tokenizerConfig: await text('tokenizer_config.json'),
			specialTokensMap: await text('special_tokens_map.json'),
			addedTokens: await text('added_tokens.json'),
			tokenizerJson: await text('tokenizer.json'),
		});
	}
	return out;
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}
