import * as v from 'valibot';
import { type Field, maybe, or, text } from './field.js';
import type { RunConfig } from './run-config.js';
import * as s from './run-config-sections.js';

/** Every key of a run with its default, its range and what it means. Unknown keys are refused. */
export const RUN_CONFIG_SCHEMA: Field<RunConfig> = v.strictObject({
	base: text('A base model: a folder, a checkpoint file, or a name on the Hub.'),
	base_variant: maybe(text('Variant of its files, such as fp16.')),
	base_config: maybe(text('Folder of configurations for a single-file base.')),
	tokenizer: maybe(text('Folder of the tokenizer where the base has none.')),
	seed: or(s.SEED, 0),
	data: s.DATA,
	images: s.IMAGES,
	captions: s.CAPTIONS,
	cache: s.CACHE,
	train: s.TRAIN,
	optimizer: s.OPTIMIZER,
	ema: s.EMA,
	loss: s.LOSS,
	adapter: s.ADAPTER,
	prior: s.PRIOR,
	token: s.TOKEN,
	inversion: s.INVERSION,
	engine: s.ENGINE,
	validation: s.VALIDATION,
	checkpoints: s.CHECKPOINTS,
	logs: s.LOGS,
	output: s.OUTPUT,
} as v.ObjectEntries) as unknown as Field<RunConfig>;
