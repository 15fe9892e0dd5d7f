import type { BaseModel, Warning } from '@lorakit/format';
import type { TextEncoderConfig } from './text-encoder-config.js';
import type { UnetConfig } from './unet-config.js';
import type { VaeConfig } from './vae-config.js';
import type { Weights } from './weights.js';

export type Architecture = 'sd1' | 'sd2' | 'sdxl';
export type PredictionType = 'epsilon' | 'v_prediction' | 'sample';

/** A `scheduler_config.json`: which class made it, and all of its keys. */
export interface SchedulerFile {
	/** diffusers' class: `PNDMScheduler`, `DDIMScheduler`, `EulerDiscreteScheduler`, ... */
	readonly className: string;
	/** The parsed object; the scheduler that is made from it checks its values. */
	readonly config: unknown;
}

/** The texts of one tokenizer folder; undefined for a file that is not in it. */
export interface TokenizerFiles {
	readonly component: 'tokenizer' | 'tokenizer_2';
	/** `vocab.json` */
	readonly vocab: string | undefined;
	/** `merges.txt` */
	readonly merges: string | undefined;
	/** `tokenizer_config.json` */
	readonly tokenizerConfig: string | undefined;
	/** `special_tokens_map.json` */
	readonly specialTokensMap: string | undefined;
	/** `added_tokens.json` */
	readonly addedTokens: string | undefined;
	/** `tokenizer.json`, which the fast tokenizers write. */
	readonly tokenizerJson: string | undefined;
}

/** A Stable Diffusion base model that is open for inference: configurations read, weights found, nothing of them loaded. */
export interface Base {
	readonly name: string;
	readonly kind: 'folder' | 'file';
	readonly architecture: Architecture;
	readonly unet: UnetConfig;
	readonly vae: VaeConfig;
	/** One, or SDXL's two in the order their states are joined. */
	readonly textEncoders: readonly TextEncoderConfig[];
	readonly scheduler: SchedulerFile;
	/** As many as there are folders; none for a single file without `config`. */
	readonly tokenizers: readonly TokenizerFiles[];
	readonly weights: Weights;
	/** The same base as `@lorakit/format` sees it: where adapters find their modules. The VAE of a folder is not in it. */
	readonly model: BaseModel;
	/** SDXL: an empty negative prompt is zeros, not the states of an empty text. */
	readonly forceZerosForEmptyPrompt: boolean;
	/** What was assumed or passed over. */
	readonly warnings: readonly Warning[];
	/** Entries of the files that are no weights (EMA copies, schedules, position ids). */
	readonly skipped: number;
	/** Close the files that `openBase` opened. Weights cannot be read afterwards. */
	close(): Promise<void>;
}

/** How a base is opened. */
export interface BaseOptions {
	/**
	 * Which weights of a folder that has several beside each other (`fp16` for `*.fp16.safetensors`). Default: those
	 * without a variant. A component that has not this variant gives those without; a single file has none (`E_USAGE`).
	 */
	readonly variant?: string | undefined;
	/** What the UNet predicts, when the base does not say (a single file), or says it wrongly. */
	readonly predictionType?: PredictionType | undefined;
}
