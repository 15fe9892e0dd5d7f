export { checkTrainable, createTrainingModel, type TrainingModelOptions } from './create-training-model.js';
export { OBJECTIVE_INPUTS, OBJECTIVE_OUTPUTS, type ObjectiveGraphOptions, objectiveGraph } from './objective-graph.js';
export {
	type ModuleShape,
	moduleForms,
	modulesOf,
	type RankPattern,
	TARGET_PRESETS,
	type TargetModule,
	type TargetOptions,
	type TargetPreset,
	TEXT_TARGET_PRESETS,
	type TextTargetPreset,
	targetModules,
} from './target-modules.js';
export type * from './trainable-tensor.js';
export { type InitialFactors, initialTensors, TOKEN_ROWS, TOKEN_ROWS_2, tokenRows } from './trainable-tensors.js';
export type * from './training-batch.js';
export type * from './training-model.js';
export { unreachedFactors } from './unreached-factors.js';
