export { differentiate, gradientName } from './gradients/differentiate.js';
export { engineGradients } from './gradients/engine-gradients.js';
export type * from './gradients/gradient-engine.js';
export { createTrainingModel, type TrainingModelOptions } from './model/create-training-model.js';
export {
	OBJECTIVE_INPUTS,
	OBJECTIVE_OUTPUTS,
	type ObjectiveGraphOptions,
	objectiveGraph,
} from './model/objective-graph.js';
export {
	type ModuleShape,
	modulesOf,
	type RankPattern,
	TARGET_PRESETS,
	type TargetModule,
	type TargetOptions,
	type TargetPreset,
	targetModules,
	TEXT_TARGET_PRESETS,
	type TextTargetPreset,
} from './model/target-modules.js';
export type * from './model/trainable-tensor.js';
export { type InitialFactors, initialTensors, TOKEN_ROWS, tokenRows } from './model/trainable-tensors.js';
export type * from './model/training-batch.js';
export type * from './model/training-model.js';
export type * from './optimizers/optimizer.js';
