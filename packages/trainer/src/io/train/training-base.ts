import fs from 'node:fs';
import type { Base, ClipTokenizer, PredictionType } from '@lorakit/runtime';
import { fetchBase, openBase, openTokenizers } from '@lorakit/runtime/node';
import { repositoryName } from '../../result/repository-name.js';
import type { RunConfig } from '../../run/config/run-config.js';
import type { TrainHooks } from './hooks.js';

/** A base that is open for training. */
export interface TrainingBase {
	readonly base: Base;
	/** One for each text encoder. */
	readonly tokenizers: readonly ClipTokenizer[];
	/** `owner/name`, where the base came from the Hub or the user says so. */
	readonly repo: string | undefined;
	readonly prediction: PredictionType;
}

/**
 * Open the base of a configuration: a folder, a file or an address as `openBase` takes it, or `owner/name[@revision]` of the Hub,
 * which is fetched into its cache.
 * @param repo what the user calls it on the Hub, for the model card
 * @throws {FormatError} those of opening and fetching; `E_USAGE` without a tokenizer; `E_HUB` for a `repo` that is none
 */
export async function openTrainingBase(config: RunConfig, repo: string | undefined, hooks: TrainHooks): Promise<TrainingBase> {
	const named = repo === undefined ? undefined : repositoryName(repo, '--base-model');
	const { place, from } = await placeOf(config, hooks);
	const base = await openBase(place, {
		variant: config.base_variant ?? undefined,
		config: config.base_config ?? undefined,
		predictionType: config.loss.prediction_type ?? undefined,
	});
	try {
		if (base.warnings.length > 0) hooks.warn?.(base.warnings);
		return {
			base,
			tokenizers: await openTokenizers(base, config.tokenizer ?? undefined, 'tokenizer'),
			repo: named ?? from,
			prediction: predictionOf(base, config),
		};
	} catch (error) {
		await base.close();
		throw error;
	}
}

async function placeOf(config: RunConfig, hooks: TrainHooks): Promise<{ readonly place: string; readonly from: string | undefined }> {
	const { base } = config;
	if (base.includes('://') || fs.existsSync(base)) return { place: base, from: undefined };
	const [name = ''] = base.split('@');
	const repo = repositoryName(name, 'The base, which is no file or folder here,');
	const folder = await fetchBase(base, {
		variant: config.base_variant ?? undefined,
		signal: hooks.signal,
		onProgress: ({ totalReceived, totalSize }) => hooks.onWork?.(`fetching ${repo}`, totalReceived, totalSize, 'bytes'),
	});
	return { place: folder, from: repo };
}

function predictionOf({ scheduler }: Base, config: RunConfig): PredictionType {
	if (config.loss.prediction_type !== null) return config.loss.prediction_type;
	const said =
		typeof scheduler.config === 'object' && scheduler.config !== null && 'prediction_type' in scheduler.config
			? scheduler.config.prediction_type
			: undefined;
	return said === 'v_prediction' || said === 'sample' ? said : 'epsilon';
}
