import { asRecord, ssBoolean, ssInteger, ssJson, ssNumber, ssResolution, ssText } from './ss-values.js';

/** `ss_network_dim` and `ss_network_alpha` after a merge or resize: no single number. */
export type DynamicNumber = number | 'Dynamic';

/** What sd-scripts (and those that write its names) said about a training. Every field may be missing. LAYOUTS §7.1. */
export interface KohyaSs {
	/** Number of `ss_*` entries. */
	readonly count: number;
	readonly outputName: string | undefined;
	readonly networkModule: string | undefined;
	readonly networkDim: DynamicNumber | undefined;
	readonly networkAlpha: DynamicNumber | undefined;
	/** `ss_network_args`: algo, conv_dim, dora_wd, split_qkv, ... */
	readonly networkArgs: ReadonlyMap<string, unknown> | undefined;
	readonly baseModelVersion: string | undefined;
	/** `ss_v2`: trained on Stable Diffusion 2. */
	readonly v2: boolean | undefined;
	readonly sdModelName: string | undefined;
	readonly sdModelHash: string | undefined;
	readonly resolution: { readonly width: number; readonly height: number } | undefined;
	readonly steps: number | undefined;
	readonly epoch: number | undefined;
	readonly epochs: number | undefined;
	readonly trainImages: number | undefined;
	readonly batchSize: number | undefined;
	readonly learningRate: number | undefined;
	readonly unetLearningRate: number | undefined;
	/** One number, or the text of a list. */
	readonly textEncoderLearningRate: number | string | undefined;
	readonly optimizer: string | undefined;
	readonly scheduler: string | undefined;
	readonly seed: number | undefined;
	readonly clipSkip: number | undefined;
	readonly mixedPrecision: string | undefined;
	readonly noiseOffset: number | undefined;
	readonly minSnrGamma: number | undefined;
	/** Unix seconds. */
	readonly startedAt: number | undefined;
	readonly finishedAt: number | undefined;
	readonly comment: string | undefined;
	/** Data set folder -> tag -> count. */
	readonly tagFrequency: ReadonlyMap<string, ReadonlyMap<string, number>> | undefined;
	/** Entries that should be JSON and are not. */
	readonly broken: readonly string[];
}

const JSON_KEYS: readonly string[] = ['ss_network_args', 'ss_dataset_dirs', 'ss_reg_dataset_dirs', 'ss_bucket_info', 'ss_datasets'];

/** Typed read of the `ss_*` entries; tolerant: what cannot be read is undefined, and named in `broken` where it should be JSON. */
export function readKohyaSs(metadata: ReadonlyMap<string, string>): KohyaSs {
	const get = (key: string): string | undefined => metadata.get(key);
	let count = 0;
	for (const key of metadata.keys()) if (key.startsWith('ss_')) count++;
	const broken: string[] = [];
	for (const key of JSON_KEYS) if (ssJson(get(key)).broken) broken.push(key);
	const tags = ssJson(get('ss_tag_frequency'));
	if (tags.broken) broken.push('ss_tag_frequency');
	return {
		count,
		outputName: ssText(get('ss_output_name')),
		networkModule: ssText(get('ss_network_module')),
		networkDim: dynamic(get('ss_network_dim')),
		networkAlpha: dynamic(get('ss_network_alpha')),
		networkArgs: asRecord(ssJson(get('ss_network_args')).value),
		baseModelVersion: ssText(get('ss_base_model_version')),
		v2: ssBoolean(get('ss_v2')),
		sdModelName: ssText(get('ss_sd_model_name')),
		sdModelHash: ssText(get('ss_new_sd_model_hash')) ?? ssText(get('ss_sd_model_hash')),
		resolution: ssResolution(get('ss_resolution')),
		steps: ssInteger(get('ss_steps')) ?? ssInteger(get('ss_max_train_steps')),
		epoch: ssInteger(get('ss_epoch')),
		epochs: ssInteger(get('ss_num_epochs')),
		trainImages: ssInteger(get('ss_num_train_images')),
		batchSize: ssInteger(get('ss_total_batch_size')) ?? ssInteger(get('ss_batch_size_per_device')),
		learningRate: ssNumber(get('ss_learning_rate')),
		unetLearningRate: ssNumber(get('ss_unet_lr')),
		textEncoderLearningRate: ssNumber(get('ss_text_encoder_lr')) ?? ssText(get('ss_text_encoder_lr')),
		optimizer: ssText(get('ss_optimizer')),
		scheduler: ssText(get('ss_lr_scheduler')),
		seed: ssInteger(get('ss_seed')),
		clipSkip: ssInteger(get('ss_clip_skip')),
		mixedPrecision: ssText(get('ss_mixed_precision')),
		noiseOffset: ssNumber(get('ss_noise_offset')),
		minSnrGamma: ssNumber(get('ss_min_snr_gamma')),
		startedAt: ssNumber(get('ss_training_started_at')),
		finishedAt: ssNumber(get('ss_training_finished_at')),
		comment: ssText(get('ss_training_comment')),
		tagFrequency: readTags(tags.value),
		broken,
	};
}

function dynamic(text: string | undefined): DynamicNumber | undefined {
	return text?.trim() === 'Dynamic' ? 'Dynamic' : ssNumber(text);
}

function readTags(value: unknown): ReadonlyMap<string, ReadonlyMap<string, number>> | undefined {
	const folders = asRecord(value);
	if (folders === undefined) return undefined;
	const out = new Map<string, ReadonlyMap<string, number>>();
	for (const [folder, tags] of folders) {
		const record = asRecord(tags);
		if (record === undefined) continue;
		const counts = new Map<string, number>();
		for (const [tag, count] of record) if (typeof count === 'number' && Number.isFinite(count)) counts.set(tag, count);
		out.set(folder, counts);
	}
	return out;
}
