export { clipGradients, type GradientNorm } from './clip-gradients.js';
export { createOptimizer } from './create-optimizer.js';
export { EmaModel, type EmaOptions } from './ema-model.js';
export { GradientAccumulator } from './gradient-accumulator.js';
export {
	LEARNING_RATE_SCHEDULES,
	type LearningRateScheduleKind,
	type LearningRateScheduleOptions,
	learningRateSchedule,
} from './learning-rate-schedule.js';
export { LossScaler, type LossScalerOptions, type LossScalerState } from './loss-scaler.js';
export type * from './optimizer.js';
export {
	type AdamW8bitOptions,
	type AdamWOptions,
	OPTIMIZER_KINDS,
	type OptimizerKind,
	type OptimizerOptions,
	type OptimizerOptionsInput,
	optimizerOptionsSchema,
	type ProdigyOptions,
	parseOptimizerOptions,
} from './optimizer-options.js';
