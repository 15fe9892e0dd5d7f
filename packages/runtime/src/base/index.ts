export type { Architecture, Base, BaseOptions, PredictionType, SchedulerFile, TokenizerFiles } from './base.js';
export { type BaseTree, treeOfSources } from './base-tree.js';
export { type OpenBaseFilesOptions, openBaseFiles } from './open-base-files.js';
export { openBaseTree } from './open-base-tree.js';
export { readWeight } from './read-weight.js';
export { parseTextEncoderConfig, type TextEncoderComponent, type TextEncoderConfig } from './text-encoder-config.js';
export {
	type DownBlockType,
	type MidBlockType,
	type ParsedConfig,
	parseUnetConfig,
	type UnetConfig,
	type UpBlockType,
} from './unet-config.js';
export { parseVaeConfig, type VaeConfig } from './vae-config.js';
export { requireWeight, type WeightPlace, type Weights } from './weights.js';
