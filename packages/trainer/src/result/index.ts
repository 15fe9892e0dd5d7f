export { type AdapterFileSize, adapterFileSize } from './adapter-file-size.js';
export { adapterMetadata, embeddingMetadata } from './adapter-metadata.js';
export { type ModelCardInput, modelCard, type SamplePicture } from './model-card.js';
export { planResult, type ResultFile, type ResultOptions, type ResultPlan } from './plan-result.js';
export { type AdapterDescription, type TrainedModule, type TrainedToken, trainedAdapter } from './trained-adapter.js';
export type * from './training-facts.js';
export { type TrainingRecord, trainingRecord } from './training-record.js';
