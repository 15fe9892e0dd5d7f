import { createTrainingModel } from '../../model/create-training-model.js';
import type { TargetModule } from '../../model/target-modules.js';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import type { TrainingModel } from '../../model/training-model.js';
import type { RunConfig } from '../../run/config/run-config.js';
import type { TrainHooks } from './hooks.js';
import type { PreparedModel } from './prepare-run.js';
import type { TrainingEngine } from './training-engine.js';

export interface TrainingModelRequest {
	readonly config: RunConfig;
	readonly model: PreparedModel;
	readonly computing: TrainingEngine;
	readonly modules: readonly TargetModule[];
	readonly tensors: readonly TrainableTensor[];
	/** By name. */
	readonly frozen?: ReadonlySet<string> | undefined;
	/** Class pictures stand beside the others. */
	readonly prior: boolean;
	readonly hooks: TrainHooks;
}

/** The base of a run with what is trained over it. @throws {FormatError} those of `createTrainingModel` */
export function openTrainingModel({
	config,
	model,
	computing,
	modules,
	tensors,
	frozen,
	prior,
	hooks,
}: TrainingModelRequest): TrainingModel {
	const { base, prediction } = model.opened;
	return createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: model.textEncoders[0],
		textEncoder2: model.textEncoders[1],
		engine: computing.gradients,
		modules,
		tensors,
		frozen: new Set([...(frozen ?? []), ...model.unreached]),
		prediction,
		schedule: model.schedule,
		snrGamma: config.loss.snr_gamma ?? undefined,
		memory: config.engine.memory,
		batchSize: microBatchSize(config, prior),
		masked: config.loss.masked,
		signal: hooks.signal,
		onProgress: (done, total) => hooks.onWork?.('loading the base', done, total, 'bytes'),
	});
}

/** Pictures of the largest micro-batch, those of the class included. */
export function microBatchSize({ train }: RunConfig, prior: boolean): number {
	return train.train_batch_size * (prior ? 2 : 1);
}
