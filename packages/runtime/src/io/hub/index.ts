/** From a LoRA repository on the Hugging Face Hub to a local adapter and its base. */
export { type FetchAdapterOptions, fetchAdapter, type HubAdapter } from './fetch-adapter.js';
export { type FetchBaseOptions, fetchBase } from './fetch-base.js';
export { CONVERTED_REVISION, type FetchDatasetOptions, fetchDataset, type HubDataset } from './fetch-dataset.js';
export type { BaseName } from './find-base.js';
export type { HubFetchOptions, HubProgress } from './hub-session.js';
export { type CardExample, type ModelCard, readModelCard } from './model-card.js';
