import type { Architecture, PredictionType } from '@lorakit/runtime';
import type { ParameterGroup } from '../model/trainable-tensor.js';

/** What was trained for. */
export type TrainingObjective = 'text-to-image' | 'dreambooth' | 'textual-inversion' | 'pivotal';

/** A weight file of the base. */
export interface BaseFile {
	/** Path inside the base's folder, or the file's name. */
	readonly path: string;
	readonly bytes: number;
	/** 64 hex. */
	readonly sha256: string;
}

/** The base model, by what others know it by. */
export interface BaseFacts {
	/** `owner/name` of the Hub, or the name of the file or folder without the folders around it. */
	readonly name: string;
	/** `owner/name`, when it is known: what a model card may name. */
	readonly repo?: string | undefined;
	readonly architecture: Architecture;
	readonly predictionType: PredictionType;
	readonly files: readonly BaseFile[];
	/** A1111's first hash of a single-file checkpoint: 8 hex (`FileHashes.autoV1`). */
	readonly autoV1?: string | undefined;
}

/** A folder (or table) of pictures. */
export interface DataFolder {
	/** Without the folders around it. */
	readonly name: string;
	readonly pictures: number;
	/** How often each picture came in one epoch. */
	readonly repeats: number;
	/** Captions, for the tag counts; left out where they should not be told. */
	readonly captions?: readonly string[] | undefined;
}

/** What it was trained on. */
export interface DataFacts {
	/** `datasetDigest`, 64 hex. */
	readonly digest: string;
	/** `owner/name` of a data set on the Hub. */
	readonly repo?: string | undefined;
	readonly folders: readonly DataFolder[];
	/** Class pictures of prior preservation. */
	readonly classFolders?: readonly DataFolder[] | undefined;
	readonly validationPictures?: number | undefined;
	/** Width and height of the buckets, and how many pictures are in each. */
	readonly buckets?: readonly { readonly width: number; readonly height: number; readonly pictures: number }[] | undefined;
}

/** Settings and outcome of the run. Rates and counts that do not apply are left out. */
export interface RunFacts {
	readonly seed: number;
	/** Optimizer steps that were made, and that were planned. */
	readonly steps: number;
	readonly maxSteps: number;
	readonly epochs: number;
	readonly batchesPerEpoch?: number | undefined;
	/** Samples of one micro-batch, and micro-batches of one step. */
	readonly batchSize: number;
	readonly accumulation: number;
	readonly width: number;
	readonly height: number;
	readonly learningRates: Readonly<Partial<Record<ParameterGroup, number>>>;
	/** `cosine`, `linear`, `constant`, `constant_with_warmup`, ... */
	readonly rateSchedule: string;
	readonly warmupSteps: number;
	/** `AdamW`, `AdamW8bit`, `Prodigy`. */
	readonly optimizer: string;
	readonly optimizerArguments?: Readonly<Record<string, number | string | boolean>> | undefined;
	readonly maxGradNorm?: number | undefined;
	/** `no`: all in float32. */
	readonly mixedPrecision: 'no' | 'fp16' | 'bf16';
	/** Parts of the forward pass were computed again instead of kept. */
	readonly gradientCheckpointing: boolean;
	readonly noiseOffset?: number | undefined;
	readonly minSnrGamma?: number | undefined;
	readonly captionDropout?: number | undefined;
	readonly tokenDropout?: number | undefined;
	readonly priorWeight?: number | undefined;
	readonly clipSkip?: number | undefined;
	readonly emaDecay?: number | undefined;
	readonly flip?: boolean | undefined;
	readonly randomCrop?: boolean | undefined;
	readonly maskedLoss?: boolean | undefined;
	/** Mean of the last losses, and the held-out loss of what is saved. */
	readonly loss?: number | undefined;
	readonly validationLoss?: number | undefined;
	/** ms since 1970. */
	readonly startedAt: number;
	readonly finishedAt: number;
	/** `onnx`, `tfjs`; `cpu`, `cuda`, ... */
	readonly engine: string;
	readonly device: string;
}

/** Everything that a file, a model card and a record say about a training. No paths of the machine in it. */
export interface TrainingFacts {
	/** What the adapter is called: a few words. */
	readonly title: string;
	readonly objective: TrainingObjective;
	readonly base: BaseFacts;
	readonly data: DataFacts;
	readonly run: RunFacts;
	/** Of lorakit. */
	readonly version: string;
	/** What calls it: the instance prompt, the learned token. */
	readonly triggerPhrase?: string | undefined;
	readonly author?: string | undefined;
	/** An identifier of the Hub's list, such as `creativeml-openrail-m`. */
	readonly license?: string | undefined;
	readonly description?: string | undefined;
	readonly tags?: readonly string[] | undefined;
}
