import * as v from 'valibot';
import { type OptimizerOptions, optimizerOptionsSchema, parseOptimizerOptions } from '../../optimizers/optimizer-options.js';
import { choice, entry, type Field, flag, list, maybe, or, real, section, text, whole } from './field.js';
import type * as C from './run-config.js';
import { LR_SCHEDULERS, STEP_RULES, TARGET_PRESET_NAMES, TEXT_TARGET_PRESET_NAMES } from './run-config.js';

/** Most micro-batches that one step gathers. */
export const MAX_ACCUMULATION: number = 4096;
const ACCUMULATION: Field<number> = whole('Micro-batches whose mean gradient makes one step.', { min: 1, max: MAX_ACCUMULATION });

export const OPTIMIZER: Field<OptimizerOptions> = or(
	v.pipe(
		optimizerOptionsSchema,
		v.description('How gradients change the values; kind is adamw where it is left out.'),
	) as unknown as Field<OptimizerOptions>,
	parseOptimizerOptions({ kind: 'adamw' }),
);

/** Longest run, in steps. */
export const MAX_RUN_STEPS: number = 100_000_000;
/** Largest side of a training picture. */
const MAX_RESOLUTION = 8192;
const MAX_BATCH = 4096;
const MAX_RANK = 4096;
const MAX_VECTORS = 75;
const MAX_SEED = Number.MAX_SAFE_INTEGER;
const steps = { min: 1, max: MAX_RUN_STEPS };
const part = { min: 0, max: 1 };

export const SEED: Field<number> = whole('Decides every random number of the run, whole numbers up to 2^53 - 1.', { max: MAX_SEED });

export const DATA: Field<C.DataConfig> = section('What to learn from.', {
	path: text('A folder of pictures, a Parquet file or folder, or the name of a data set on the Hub.'),
	kind: or(choice('What `path` is; auto: looked at.', ['auto', 'folder', 'parquet', 'hub']), 'auto'),
	revision: maybe(text('Branch, tag or commit of a data set on the Hub.')),
	split: or(text('Split of a data set on the Hub.'), 'train'),
	image_column: or(text('Column of a table with the pictures.'), 'image'),
	caption_column: or(text('Column of a table (key of metadata.jsonl) with the captions.'), 'text'),
	instance_prompt: maybe(text('One caption for all pictures, in place of their own (dreambooth).')),
	max_train_samples: maybe(whole('Use so many pictures at most, the first ones.', { min: 1 })),
	repeats: or(whole('How often an epoch goes through the pictures.', { min: 1, max: 1_000_000 }), 1),
	on_bad: or(choice('A picture that cannot be used: name it and go on, or stop.', ['skip', 'refuse']), 'skip'),
});

export const IMAGES: Field<C.ImagesConfig> = section('How pictures become training squares or buckets.', {
	resolution: or(whole('Side in pixels; with buckets the side of the square of the same area.', { min: 8, max: MAX_RESOLUTION }), 512),
	center_crop: or(flag('Crop in the middle; else at random.'), false),
	random_flip: or(flag('Mirror half of the pictures, drawn anew each time.'), false),
	interpolation: or(choice('Filter of resizing.', ['bilinear', 'bicubic', 'lanczos']), 'lanczos'),
	buckets: section('Aspect buckets: pictures of one shape are trained together and hardly cropped.', {
		enabled: or(flag('Use buckets.'), false),
		step: or(whole('Sides are multiples of this many pixels.', { min: 8, max: 512 }), 64),
		min: maybe(whole('Shortest side; null: half of `resolution`.', { min: 8, max: MAX_RESOLUTION })),
		max: maybe(whole('Longest side; null: twice `resolution`.', { min: 8, max: MAX_RESOLUTION })),
		upscale: or(flag('Enlarge pictures that are smaller than their bucket.'), true),
	}) as Field<C.ImagesConfig['buckets']>,
});

export const CAPTIONS: Field<C.CaptionsConfig> = section('What happens to captions, drawn anew each time.', {
	dropout: or(real('Part of the captions that are replaced by the empty one.', part), 0),
	shuffle_tags: or(flag('Shuffle what stands between separators.'), false),
	keep_tags: or(whole('So many tags at the front stay where they are and are never dropped.', { max: 1000 }), 0),
	tag_dropout: or(real('Part of the tags that are left out.', part), 0),
	separator: or(text('What stands between tags.'), ','),
});

export const CACHE: Field<C.CacheConfig> = section('What is computed once and kept.', {
	latents: or(flag('Keep what the VAE gives.'), true),
	text: or(flag('Keep what the frozen text encoder gives.'), true),
	folder: maybe(text('Where; null: in the output folder.')),
});

export const TRAIN: Field<C.TrainConfig> = section('Steps and rates.', {
	max_train_steps: maybe(whole('Optimizer steps; null: num_train_epochs decides.', steps)),
	num_train_epochs: or(whole('Times through the pictures, where max_train_steps says nothing.', { min: 1, max: 1_000_000 }), 100),
	train_batch_size: or(whole('Pictures of a micro-batch.', { min: 1, max: MAX_BATCH }), 16),
	gradient_accumulation_steps: or(ACCUMULATION, 1),
	learning_rate: or(real('Rate of the UNet (of the token in textual inversion).', { above: 0 }), 1e-4),
	text_encoder_learning_rate: maybe(real('Rate of the text encoder; null: learning_rate.', { above: 0 })),
	token_learning_rate: maybe(real('Rate of the token; null: learning_rate (pivotal: that of the inversion).', { above: 0 })),
	lr_scheduler: or(choice('How the rate goes.', LR_SCHEDULERS), 'constant'),
	lr_warmup_steps: or(whole('Steps of linear warm-up (not for constant).', { max: MAX_RUN_STEPS }), 0),
	lr_num_cycles: or(whole('Restarts of cosine_with_restarts.', { min: 1, max: 10_000 }), 1),
	lr_power: or(real('Power of polynomial.', { above: 0 }), 1),
	step_rule: or(choice('Whose order of schedule, accumulation and step.', STEP_RULES), 'diffusers'),
	max_grad_norm: or(
		maybe(real('Gradients are scaled down to this norm, all groups together; null: never.', { above: 0 })) as Field<number | null>,
		1,
	),
});

export const EMA: Field<C.EmaConfig | null> = maybe(
	section('A moving mean of the values, which is what is saved and validated; null: none.', {
		decay: or(real('Largest decay.', part), 0.9999),
		min_decay: or(real('Smallest decay.', part), 0),
		update_after_step: or(whole('Steps before it begins.'), 0),
		use_ema_warmup: or(flag('decay = 1 - (1 + step / inv_gamma) ^ -power.'), false),
		inv_gamma: or(real('For the warm-up.', { above: 0 }), 1),
		power: or(real('For the warm-up.', { above: 0 }), 2 / 3),
	}),
) as Field<C.EmaConfig | null>;

export const LOSS: Field<C.LossConfig> = section('What is predicted, and how errors count.', {
	prediction_type: maybe(choice("What the UNet predicts; null: the base's scheduler says.", ['epsilon', 'v_prediction', 'sample'])),
	snr_gamma: maybe(real('min-SNR weights (arXiv 2303.09556), 5 in the paper; null: none.', { above: 0 })),
	noise_offset: or(real('So much of one more normal number by picture and channel is added to the noise.', { min: 0, max: 10 }), 0),
	min_timestep: or(whole('First timestep that is drawn.'), 0),
	max_timestep: maybe(whole("Timesteps below this are drawn; null: all of the base's.", { min: 1 })),
	masked: or(flag('Errors count by the masks of the pictures.'), false),
	mask_from: or(
		choice('Where masks are: a file beside the picture (NAME-mask.png, masks/), or its own transparency.', ['file', 'alpha']),
		'file',
	),
	unmasked_weight: or(real('How much errors count where the mask is black.', part), 0),
});

const MODULE_PATTERN = text('Part of a name such as unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q; * stands for anything.');

export const ADAPTER: Field<C.AdapterConfig> = section('The factors that are trained.', {
	rank: or(whole('Rank.', { min: 1, max: MAX_RANK }), 4),
	alpha: maybe(real('The change is alpha / rank x up x down; null: rank.', { above: 0 })),
	targets: or(
		maybe(choice('Which modules of the UNet; null: none.', TARGET_PRESET_NAMES)) as Field<C.AdapterConfig['targets']>,
		'attention',
	),
	text_encoder: maybe(choice('Which modules of the text encoders; null: none.', TEXT_TARGET_PRESET_NAMES)),
	include: or(list('More modules.', MODULE_PATTERN), []),
	exclude: or(list('Not these modules.', MODULE_PATTERN), []),
	patterns: or(
		list(
			'Another rank or alpha for some modules; the last pattern that fits holds.',
			entry<C.PatternConfig>({
				pattern: MODULE_PATTERN,
				rank: maybe(whole('Rank; null: as it is.', { min: 1, max: MAX_RANK })),
				alpha: maybe(real('Alpha; null: as it is.', { above: 0 })),
			}),
		),
		[],
	),
	init_lora_weights: or(
		choice("Down factors before the first step: gaussian as diffusers, kaiming as PEFT's default.", ['gaussian', 'kaiming']),
		'gaussian',
	),
	use_dora: or(flag('DoRA: directions by factors, magnitudes of their own.'), false),
	use_rslora: or(flag('alpha / root of rank in place of alpha / rank.'), false),
	init: maybe(text('An adapter file to go on from.')),
});

export const PRIOR: Field<C.PriorConfig | null> = maybe(
	section('Prior preservation: pictures of the class beside those of the instance; null: none.', {
		class_prompt: text('Prompt of the class, such as "a dog".'),
		class_data_dir: maybe(text('Folder of class pictures, filled up by the base itself; null: in the output folder.')),
		num_class_images: or(whole('Class pictures there must be.', { min: 1, max: 100_000 }), 100),
		prior_loss_weight: or(real('How much they count.', { min: 0 }), 1),
		sample_steps: or(whole('Sampling steps of class pictures that are made.', { min: 1, max: 1000 }), 50),
		sample_guidance: or(real('Guidance of class pictures that are made.', { min: 0, max: 1000 }), 7.5),
	}),
) as Field<C.PriorConfig | null>;

export const TOKEN: Field<C.TokenConfig | null> = maybe(
	section('The new token (textual-inversion, pivotal).', {
		placeholder_token: text('How captions write it.'),
		initializer_token: text('One word whose row it begins from.'),
		num_vectors: or(whole('Rows of the token.', { min: 1, max: MAX_VECTORS }), 1),
		learnable_property: or(choice('Which templates pictures without captions get.', ['object', 'style']), 'object'),
		templates: maybe(list('Own templates, {} for the token; null: those of learnable_property.', text('A template.'), 1)),
		norm_prior: or(flag("After each step the row's norm goes n + min(1, 100 rate) (target - n), as cloneofsimo/lora."), false),
		norm_prior_target: or(real('Target of the norm.', { above: 0 }), 0.4),
	}),
) as Field<C.TokenConfig | null>;

export const INVERSION: Field<C.InversionConfig | null> = maybe(
	section('The first phase of pivotal tuning.', {
		steps: or(whole('Steps of the inversion.', steps), 1000),
		learning_rate: or(real('Rate of the token.', { above: 0 }), 5e-4),
		lr_scheduler: or(choice('How the rate goes.', LR_SCHEDULERS), 'linear'),
		lr_warmup_steps: or(whole('Steps of linear warm-up (not for constant).', { max: MAX_RUN_STEPS }), 0),
		gradient_accumulation_steps: or(ACCUMULATION, 1),
		weight_decay: or(real('Weight decay of the token.', { min: 0 }), 0),
		continue_inversion: or(flag('Train the token on beside the factors.'), true),
		max_timestep_after: maybe(whole('Timesteps of the second phase stay below this; null: 80 % of all, as cloneofsimo/lora.', { min: 1 })),
	}),
) as Field<C.InversionConfig | null>;

export const ENGINE: Field<C.EngineConfig> = section('Where it is computed.', {
	engine: or(choice('Who computes.', ['onnx', 'tfjs', 'float64']), 'onnx'),
	device: maybe(text("The engine's name of a device; null: its default.")),
	threads: maybe(whole('Threads; null: one a core.', { min: 1, max: 1024 })),
	memory: or(choice('fast keeps what the backward pass reads, lean computes it again.', ['fast', 'lean']), 'fast'),
	mixed_precision: or(
		choice('fp16: products in float16 with a scaled loss, by the engine onnx; for devices that have it.', ['no', 'fp16']),
		'no',
	),
});

export const VALIDATION: Field<C.ValidationConfig> = section('How the run is watched.', {
	every: maybe(whole('Steps between validations; null: none.', steps)),
	prompts: or(list('Prompts of validation pictures.', text('A prompt.')), []),
	num_validation_images: or(whole('Pictures of each prompt.', { min: 1, max: 64 }), 4),
	sample_steps: or(whole('Sampling steps of validation pictures.', { min: 1, max: 1000 }), 30),
	guidance_scale: or(real('Guidance of validation pictures.', { min: 0, max: 1000 }), 7.5),
	seed: or(whole('Decides held-out pictures, their noise and timesteps, and validation pictures.', { max: MAX_SEED }), 0),
	held_out_fraction: or(real('Part of the pictures that is not trained on but measured.', { min: 0, max: 0.9 }), 0),
	held_out_folder: maybe(text('A folder of pictures with captions to measure in their place.')),
	draws: or(whole('Noises and timesteps by held-out picture.', { min: 1, max: 1000 }), 4),
	keep_best: or(flag('The result is the best measured step, not the last one.'), false),
	patience: maybe(whole('Stop after so many validations without a better one; null: never.', { min: 1, max: 100_000 })),
});

export const CHECKPOINTS: Field<C.CheckpointsConfig> = section('What can be resumed.', {
	every: or(maybe(whole('Steps between checkpoints; null: only at the end and when stopped.', steps)) as Field<number | null>, 500),
	keep: maybe(whole('Keep so many of the newest (and the best); null: all.', { min: 1, max: 1_000_000 })),
});

export const LOGS: Field<C.LogsConfig> = section('What is written down of the run.', {
	jsonl: or(flag('metrics.jsonl, one line an event.'), true),
	tensorboard: or(flag("TensorBoard's event files under logs/."), true),
	wandb: or(flag('An offline run of Weights & Biases under wandb/, for wandb sync.'), false),
	wandb_project: or(text('Its project.'), 'lorakit'),
	dashboard: or(flag('A page on this machine alone that shows the run.'), false),
	dashboard_port: or(whole('Its port; 0: a free one.', { max: 65_535 }), 0),
});

export const OUTPUT: Field<C.OutputConfig> = section('What comes out.', {
	folder: or(text('Folder of the run.'), 'lora-run'),
	layout: or(text('Layout of the adapter file, such as diffusers or kohya.'), 'diffusers'),
	dtype: or(choice('Type of its numbers.', ['F32', 'F16', 'BF16']), 'F32'),
	embeddings: maybe(
		choice('Where learned tokens go; null: inside and beside where the layout can hold them.', ['beside', 'inside', 'both']),
	),
	trigger: maybe(text('Words that call what was learned, for the card.')),
	license: maybe(text("Licence of the adapter for the card, such as openrail; null: the base's is named.")),
});
