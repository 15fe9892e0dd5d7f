export { type AdapterFeeds, adapterFeeds, feedsOf, formsFor, NO_ADAPTERS } from './adapters/adapter-feeds.js';
export {
	type FormOf,
	inputName,
	lowRankEverywhere,
	type ModuleForm,
	type ModulePart,
	plainEverywhere,
	type RankOf,
} from './adapters/module-form.js';
export * from './attention/index.js';
export * from './base/index.js';
export { checkFeeds } from './engines/check-feeds.js';
export type { Engine, LoadOptions, ParameterSource, Session } from './engines/engine.js';
export { createFloat64Engine } from './engines/float64/index.js';
export * from './graph/index.js';
export { countOf, f32Tensor, type HostDType, type HostTensor, i32Tensor } from './host-tensor.js';
export { type AttentionCall, type AttentionOptions, type AttentionProcessor, fusedAttention } from './models/attention.js';
export { recordTextEncoder, TEXT_INPUTS, textEncoderGraph } from './models/clip-text.js';
export { createNet, type Net } from './models/net.js';
export { timestepFeatures } from './models/timestep-features.js';
export { recordUNet, UNET_INPUTS, type UNetOptions, type UNetShape, unetGraph } from './models/unet.js';
export { vaeDecoderGraph, vaeEncoderGraph } from './models/vae.js';
export * from './pictures/index.js';
export { type Component, createComponent, parameterSource } from './pipeline/component-sessions.js';
export { type Conditioning, conditioningOf } from './pipeline/conditioning.js';
export { type AttentionControl, type DenoiseRequest, type DenoiseStep, denoise } from './pipeline/denoise.js';
export { encodePrompts, joinPrompts } from './pipeline/encode-prompts.js';
export { encodeScheduled, type ScheduledOptions } from './pipeline/encode-scheduled.js';
export { encodeText, type TextStates, textFeeds } from './pipeline/encode-text.js';
export { encodeWeighted } from './pipeline/encode-weighted.js';
export { type FusedBase, fuseBase } from './pipeline/fuse-base.js';
export { type Generated, type GenerateRequest, generate, MAX_SIDE } from './pipeline/generate.js';
export { guide, guideComposed, rescaleGuided } from './pipeline/guidance.js';
export { pixelsOf, roundPictures } from './pipeline/round-picture.js';
export {
	type AdapterOptions,
	conditionOn,
	createStableDiffusion,
	type EncodedPrompt,
	type PromptOptions,
	type StableDiffusion,
	type StableDiffusionOptions,
	tokenizerOf,
} from './pipeline/stable-diffusion.js';
export { decodeLatents, encodePixels, type LatentDistribution, pixelsPerLatent, sampleLatents, scaleLatents } from './pipeline/vae.js';
export * from './random/index.js';
export {
	addNoise,
	BETA_SCHEDULES,
	createScheduler,
	type ImageToImageStart,
	imageToImageStart,
	kindOfClass,
	kindOfConfig,
	MAX_STEPS,
	MAX_TRAIN_TIMESTEPS,
	type NoiseSchedule,
	noiseSchedule,
	parsePythonJson,
	SCHEDULER_KINDS,
	type Scheduler,
	type SchedulerConfig,
	type SchedulerKind,
	type SchedulerOptions,
	schedulerConfigFor,
	snr,
	velocity,
} from './schedulers/index.js';
export * from './tokenizer/index.js';
