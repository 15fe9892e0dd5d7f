import { LEARNING_RATE_SCHEDULES, type LearningRateScheduleKind } from '../../optimizers/learning-rate-schedule.js';
import type { OptimizerOptions } from '../../optimizers/optimizer-options.js';
import type { TrainingObjective } from '../../result/training-facts.js';

/** The four things that can be trained. */
export const OBJECTIVES: readonly TrainingObjective[] = ['text-to-image', 'dreambooth', 'textual-inversion', 'pivotal'];
export type Objective = TrainingObjective;

/**
 * One training run, every key with its value. Keys are those of the YAML file; leaf names and defaults are those of
 * diffusers' training scripts where they have one (huggingface/diffusers examples/). `null` says none.
 * What each key means: `run-config-schema.ts`, and `schema/run-config.schema.json`, which is made from it.
 */
export interface RunConfig {
	readonly base: string;
	readonly base_variant: string | null;
	readonly base_config: string | null;
	readonly tokenizer: string | null;
	readonly seed: number;
	readonly data: DataConfig;
	readonly images: ImagesConfig;
	readonly captions: CaptionsConfig;
	readonly cache: CacheConfig;
	readonly train: TrainConfig;
	readonly optimizer: OptimizerOptions;
	readonly ema: EmaConfig | null;
	readonly loss: LossConfig;
	readonly adapter: AdapterConfig;
	readonly prior: PriorConfig | null;
	readonly token: TokenConfig | null;
	readonly inversion: InversionConfig | null;
	readonly engine: EngineConfig;
	readonly validation: ValidationConfig;
	readonly checkpoints: CheckpointsConfig;
	readonly logs: LogsConfig;
	readonly output: OutputConfig;
}

export interface DataConfig {
	readonly path: string;
	readonly kind: 'auto' | 'folder' | 'parquet' | 'hub';
	readonly revision: string | null;
	readonly split: string;
	readonly image_column: string;
	readonly caption_column: string;
	readonly instance_prompt: string | null;
	readonly max_train_samples: number | null;
	readonly repeats: number;
	readonly on_bad: 'skip' | 'refuse';
}

export interface ImagesConfig {
	readonly resolution: number;
	readonly center_crop: boolean;
	readonly random_flip: boolean;
	readonly interpolation: 'bilinear' | 'bicubic' | 'lanczos';
	readonly buckets: {
		readonly enabled: boolean;
		readonly step: number;
		readonly min: number | null;
		readonly max: number | null;
		readonly upscale: boolean;
	};
}

export interface CaptionsConfig {
	readonly dropout: number;
	readonly shuffle_tags: boolean;
	readonly keep_tags: number;
	readonly tag_dropout: number;
	readonly separator: string;
}

export interface CacheConfig {
	readonly latents: boolean;
	readonly text: boolean;
	readonly folder: string | null;
}

export interface TrainConfig {
	readonly max_train_steps: number | null;
	readonly num_train_epochs: number;
	readonly train_batch_size: number;
	readonly gradient_accumulation_steps: number;
	readonly learning_rate: number;
	readonly text_encoder_learning_rate: number | null;
	readonly token_learning_rate: number | null;
	readonly lr_scheduler: LrSchedulerName;
	readonly lr_warmup_steps: number;
	readonly lr_num_cycles: number;
	readonly lr_power: number;
	readonly step_rule: StepRule;
	readonly max_grad_norm: number | null;
}

export const LR_SCHEDULERS: typeof LEARNING_RATE_SCHEDULES = LEARNING_RATE_SCHEDULES;
export type LrSchedulerName = LearningRateScheduleKind;

/** When the learning rate schedule and accumulated gradients step: see `step-rule.ts`. */
export const STEP_RULES = ['diffusers', 'cloneofsimo'] as const;
export type StepRule = (typeof STEP_RULES)[number];

export interface EmaConfig {
	readonly decay: number;
	readonly min_decay: number;
	readonly update_after_step: number;
	readonly use_ema_warmup: boolean;
	readonly inv_gamma: number;
	readonly power: number;
}

export interface LossConfig {
	readonly prediction_type: 'epsilon' | 'v_prediction' | 'sample' | null;
	readonly snr_gamma: number | null;
	readonly noise_offset: number;
	readonly min_timestep: number;
	readonly max_timestep: number | null;
	readonly masked: boolean;
	readonly mask_from: 'file' | 'alpha';
	readonly unmasked_weight: number;
}

/** What of the UNet gets factors: `model/target-modules.ts`. */
export const TARGET_PRESET_NAMES = ['attention', 'attention+ff', 'conv'] as const;
/** What of the text encoders gets factors. */
export const TEXT_TARGET_PRESET_NAMES = ['attention', 'attention+mlp'] as const;

export interface AdapterConfig {
	readonly rank: number;
	readonly alpha: number | null;
	readonly targets: (typeof TARGET_PRESET_NAMES)[number] | null;
	readonly text_encoder: (typeof TEXT_TARGET_PRESET_NAMES)[number] | null;
	readonly include: readonly string[];
	readonly exclude: readonly string[];
	readonly patterns: readonly PatternConfig[];
	readonly init_lora_weights: 'gaussian' | 'kaiming';
	readonly use_dora: boolean;
	readonly use_rslora: boolean;
	readonly init: string | null;
}

export interface PatternConfig {
	readonly pattern: string;
	readonly rank: number | null;
	readonly alpha: number | null;
}

export interface PriorConfig {
	readonly class_prompt: string;
	readonly class_data_dir: string | null;
	readonly num_class_images: number;
	readonly prior_loss_weight: number;
	readonly sample_steps: number;
	readonly sample_guidance: number;
}

export interface TokenConfig {
	readonly placeholder_token: string;
	readonly initializer_token: string;
	readonly num_vectors: number;
	readonly learnable_property: 'object' | 'style';
	readonly templates: readonly string[] | null;
	readonly norm_prior: boolean;
	readonly norm_prior_target: number;
}

export interface InversionConfig {
	readonly steps: number;
	readonly learning_rate: number;
	readonly lr_scheduler: LrSchedulerName;
	readonly lr_warmup_steps: number;
	readonly gradient_accumulation_steps: number;
	readonly weight_decay: number;
	readonly continue_inversion: boolean;
	readonly max_timestep_after: number | null;
}

export interface EngineConfig {
	readonly engine: 'onnx' | 'tfjs' | 'float64';
	readonly device: string | null;
	readonly threads: number | null;
	readonly memory: 'fast' | 'lean';
	readonly mixed_precision: 'no' | 'fp16';
}

export interface ValidationConfig {
	readonly every: number | null;
	readonly prompts: readonly string[];
	readonly num_validation_images: number;
	readonly sample_steps: number;
	readonly guidance_scale: number;
	readonly seed: number;
	readonly held_out_fraction: number;
	readonly held_out_folder: string | null;
	readonly draws: number;
	readonly keep_best: boolean;
	readonly patience: number | null;
}

export interface CheckpointsConfig {
	readonly every: number | null;
	readonly keep: number | null;
}

export interface LogsConfig {
	readonly jsonl: boolean;
	readonly tensorboard: boolean;
	readonly wandb: boolean;
	readonly wandb_project: string;
	readonly dashboard: boolean;
	readonly dashboard_port: number;
}

export interface OutputConfig {
	readonly folder: string;
	readonly layout: string;
	readonly dtype: 'F32' | 'F16' | 'BF16';
	readonly embeddings: 'beside' | 'inside' | 'both' | null;
	readonly trigger: string | null;
	readonly license: string | null;
}
