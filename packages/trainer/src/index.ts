export { differentiate, gradientName } from './gradients/differentiate.js';
export { engineGradients } from './gradients/engine-gradients.js';
export type * from './gradients/gradient-engine.js';
export { createTrainingModel, type TrainingModelOptions } from './model/create-training-model.js';
export { OBJECTIVE_INPUTS, OBJECTIVE_OUTPUTS, type ObjectiveGraphOptions, objectiveGraph } from './model/objective-graph.js';
export {
	type ModuleShape,
	modulesOf,
	type RankPattern,
	TARGET_PRESETS,
	type TargetModule,
	type TargetOptions,
	type TargetPreset,
	TEXT_TARGET_PRESETS,
	type TextTargetPreset,
	targetModules,
} from './model/target-modules.js';
export type * from './model/trainable-tensor.js';
export { type InitialFactors, initialTensors, TOKEN_ROWS, tokenRows } from './model/trainable-tensors.js';
export type * from './model/training-batch.js';
export type * from './model/training-model.js';
export { clipGradients, type GradientNorm } from './optimizers/clip-gradients.js';
export { createOptimizer } from './optimizers/create-optimizer.js';
export { GradientAccumulator } from './optimizers/gradient-accumulator.js';
export {
	LEARNING_RATE_SCHEDULES,
	type LearningRateScheduleKind,
	type LearningRateScheduleOptions,
	learningRateSchedule,
} from './optimizers/learning-rate-schedule.js';
export type * from './optimizers/optimizer.js';
export * from './optimizers/optimizer-options.js';
export { applyNormPrior } from './run/norm-prior.js';
