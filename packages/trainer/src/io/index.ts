export * from './data/index.js';
export { type PlanTrainingOptions, planTraining } from './plan-training.js';
export * from './result/index.js';
export * from './run/index.js';
export type { TrainHooks } from './train/hooks.js';
export { type TrainOptions, type TrainOutcome, trainFromConfig } from './train.js';
