import { ARCHITECTURES, writeModelSpec } from '@lorakit/format';
import { networkEntries } from './network-entries.js';
import { pythonBoolean, pythonFloat } from './python-value.js';
import { cleanStem } from './result-names.js';
import { tagFrequency } from './tag-frequency.js';
import type { AdapterDescription, SizedTensor } from './trained-adapter.js';
import type { DataFolder, TrainingFacts } from './training-facts.js';
import { trainingRecord } from './training-record.js';

/** Key of the header entry with `lora.training/1`: everything that kohya's and modelspec's names cannot say. */
export const TRAINING_KEY = 'lorakit.training';

/** What is told about the pictures. `none`: neither captions nor folder names, as `lora meta strip --private` leaves it. */
export type DataPrivacy = 'full' | 'none';

/**
 * The header of a trained adapter: `format`, modelspec 1.0.1, kohya's `ss_*` entries that user interfaces and sites read, the
 * program, and `lorakit.training`. Hashes of the file (`sshs_*`, `modelspec.hash_sha256`) stand empty: the writer of
 * `@lorakit/format` makes them true.
 *
 * Sources: Stability-AI/ModelSpec README; kohya-ss/sd-scripts train_network.py (names, Python's spelling of values),
 * library/sai_model_spec.py (`implementation`, architectures).
 */
export function adapterMetadata(
	facts: TrainingFacts,
	description: Pick<AdapterDescription, 'modules'>,
	tensors: readonly SizedTensor[],
	privacy: DataPrivacy = 'full',
): Map<string, string> {
	const shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
	const modules = description.modules.map(({ component, path, rank, alpha, rsLora }) => {
		const down = shapes.get(`${component}.${path}:down`) ?? [];
		return {
			rank,
			scaling: rsLora === true ? alpha / Math.sqrt(rank) : alpha / rank,
			convolution: down.slice(2).some((d) => d !== 1),
			dora: shapes.has(`${component}.${path}:magnitude`),
		};
	});
	const out = new Map<string, string>([
		['format', 'pt'],
		['software', JSON.stringify({ name: 'lorakit', version: facts.version })],
		...modelspec(facts, 'lora'),
		...networkEntries(modules),
		...kohyaEntries(facts, privacy),
		[TRAINING_KEY, headerRecord(facts, description.modules)],
		['sshs_model_hash', ''],
		['sshs_legacy_hash', ''],
	]);
	return wellFormed(out);
}

/** The header of `learned_embeds.safetensors`. */
export function embeddingMetadata(facts: TrainingFacts): Map<string, string> {
	return wellFormed(
		new Map([
			['software', JSON.stringify({ name: 'lorakit', version: facts.version })],
			...modelspec(facts, 'textual-inversion'),
			[TRAINING_KEY, headerRecord(facts, [])],
		]),
	);
}

/** The record without what only the end of a run tells: its length is known beforehand. */
function headerRecord(facts: TrainingFacts, modules: AdapterDescription['modules']): string {
	const { loss: _loss, validationLoss: _held, ...run } = facts.run;
	return JSON.stringify(trainingRecord({ ...facts, run }, modules));
}

function modelspec(facts: TrainingFacts, kind: 'lora' | 'textual-inversion'): ReadonlyMap<string, string> {
	const { base, run } = facts;
	const v = base.predictionType === 'v_prediction';
	const known = ARCHITECTURES.get(base.architecture) ?? `${base.architecture}/lora`;
	const architecture = base.architecture === 'sd2' && v ? 'stable-diffusion-v2-768-v/lora' : known;
	const out = writeModelSpec({
		title: facts.title,
		architecture: architecture.replace(/lora$/, kind),
		implementation:
			base.architecture === 'sdxl' || kind === 'textual-inversion' ? 'https://github.com/Stability-AI/generative-models' : 'diffusers',
		resolution: { width: run.width, height: run.height },
		description: facts.description,
		author: facts.author,
		date: new Date(run.finishedAt).toISOString(),
		license: facts.license,
		tags: facts.tags,
		triggerPhrase: facts.triggerPhrase,
	});
	out.set('modelspec.hash_sha256', '');
	out.set('modelspec.implementation_version', `lorakit/${facts.version}`);
	// The spec knows these two alone.
	if (base.predictionType !== 'sample') out.set('modelspec.prediction_type', v ? 'v' : 'epsilon');
	if (run.clipSkip !== undefined && run.clipSkip > 0) out.set('modelspec.encoder_layer', String(run.clipSkip + 1));
	return out;
}

const VERSIONS = { sd1: 'sd_v1', sd2: 'sd_v2', sdxl: 'sdxl_base_v1-0' } as const;

function kohyaEntries(facts: TrainingFacts, privacy: DataPrivacy): ReadonlyMap<string, string> {
	const { base, data, run } = facts;
	const out = new Map<string, string>();
	const put = (key: string, value: number | string | boolean | undefined, float = false): void => {
		if (value === undefined) return;
		const text =
			typeof value === 'boolean' ? pythonBoolean(value) : typeof value === 'number' && float ? pythonFloat(value) : String(value);
		out.set(`ss_${key}`, text);
	};
	const rates = run.learningRates;
	const pictures = (folders: readonly DataFolder[]): number => folders.reduce((sum, f) => sum + f.pictures * f.repeats, 0);
	// What A1111 calls it in a prompt: a colon there would end the name.
	put('output_name', cleanStem(facts.title) || 'lora');
	put(
		'base_model_version',
		`${VERSIONS[base.architecture]}${base.predictionType === 'v_prediction' && base.architecture !== 'sdxl' ? '_v' : ''}`,
	);
	put('v2', base.architecture === 'sd2');
	put('sd_model_name', base.repo ?? base.name);
	put('sd_model_hash', base.autoV1);
	const [only] = base.files;
	if (base.files.length === 1) put('new_sd_model_hash', only?.sha256);
	put('learning_rate', rates.unet ?? rates.text_encoder ?? rates.tokens, true);
	put('unet_lr', rates.unet, true);
	put('text_encoder_lr', rates.text_encoder, true);
	put('lr_scheduler', run.rateSchedule);
	put('lr_warmup_steps', run.warmupSteps);
	put('optimizer', optimizerText(run));
	put('max_grad_norm', run.maxGradNorm, true);
	put('mixed_precision', run.mixedPrecision);
	put('gradient_checkpointing', run.gradientCheckpointing);
	put('gradient_accumulation_steps', run.accumulation);
	put('batch_size_per_device', run.batchSize);
	put('total_batch_size', run.batchSize * run.accumulation);
	put('steps', run.steps);
	put('max_train_steps', run.maxSteps);
	put('epoch', Math.ceil(run.epochs));
	put('num_epochs', Math.ceil(run.epochs));
	put('num_batches_per_epoch', run.batchesPerEpoch);
	put('num_train_images', pictures(data.folders));
	put('num_reg_images', pictures(data.classFolders ?? []));
	put('num_validation_images', data.validationPictures);
	put('seed', run.seed);
	put('resolution', `(${run.width}, ${run.height})`);
	put('clip_skip', run.clipSkip === undefined ? undefined : run.clipSkip + 1);
	put('noise_offset', run.noiseOffset, true);
	put('min_snr_gamma', run.minSnrGamma, true);
	put('caption_dropout_rate', run.captionDropout, true);
	put('caption_tag_dropout_rate', run.tokenDropout, true);
	put('prior_loss_weight', run.priorWeight, true);
	put('flip_aug', run.flip);
	put('random_crop', run.randomCrop);
	// As many digits whatever the moment, so that a file's size is known beforehand.
	put('training_started_at', (run.startedAt / 1000).toFixed(3));
	put('training_finished_at', (run.finishedAt / 1000).toFixed(3));
	put('enable_bucket', data.buckets === undefined ? undefined : data.buckets.length > 1);
	if (privacy === 'full') {
		put('dataset_dirs', dirs(data.folders));
		if (data.classFolders !== undefined && data.classFolders.length > 0) put('reg_dataset_dirs', dirs(data.classFolders));
		put('tag_frequency', tags(data.folders));
		if (data.buckets !== undefined) put('bucket_info', buckets(data.buckets));
	}
	return out;
}

function optimizerText({ optimizer, optimizerArguments = {} }: TrainingFacts['run']): string {
	const given = Object.entries(optimizerArguments).map(
		([key, value]) => `${key}=${typeof value === 'boolean' ? pythonBoolean(value) : value}`,
	);
	return given.length === 0 ? optimizer : `${optimizer}(${given.join(',')})`;
}

function dirs(folders: readonly DataFolder[]): string {
	return JSON.stringify(fromEntries(folders.map(({ name, repeats, pictures }) => [name, { n_repeats: repeats, img_count: pictures }])));
}

function tags(folders: readonly DataFolder[]): string {
	return JSON.stringify(
		fromEntries(
			folders.flatMap(({ name, captions }) => (captions === undefined ? [] : [[name, fromEntries([...tagFrequency(captions)])]])),
		),
	);
}

function buckets(list: NonNullable<TrainingFacts['data']['buckets']>): string {
	return JSON.stringify({
		buckets: Object.fromEntries(list.map(({ width, height, pictures }, i) => [i, { resolution: [width, height], count: pictures }])),
	});
}

/** An object whose keys come from the user: `__proto__` is a name like any other. */
function fromEntries(entries: readonly (readonly [string, unknown])[]): Readonly<Record<string, unknown>> {
	return Object.fromEntries(entries);
}

/** Half surrogate pairs of captions and titles become U+FFFD, as in any UTF-8 text; a header could not hold them. */
function wellFormed(entries: ReadonlyMap<string, string>): Map<string, string> {
	const encoder = new TextEncoder();
	const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
	return new Map([...entries].map(([key, value]) => [key, decoder.decode(encoder.encode(value))]));
}
