export { addNoise, snr, velocity } from './add-noise.js';
export { MAX_STEPS, MAX_TRAIN_TIMESTEPS } from './config.js';
export { BETA_SCHEDULES, type BetaSchedule, type NoiseSchedule, noiseSchedule } from './noise-schedule.js';
export { parsePythonJson } from './python-json.js';
export {
	createScheduler,
	type ImageToImageStart,
	imageToImageStart,
	kindOfClass,
	kindOfConfig,
	type SchedulerConfigOptions,
	schedulerConfigFor,
} from './registry.js';
export {
	type PredictionType,
	SCHEDULER_KINDS,
	type Scheduler,
	type SchedulerConfig,
	type SchedulerKind,
	type SchedulerOptions,
} from './scheduler.js';
