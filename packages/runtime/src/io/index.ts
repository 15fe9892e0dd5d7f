/**
 * `@lorakit/runtime/node`: what needs Node. Everything else is in the main entry.
 */

export {
	type BaseName,
	type CardExample,
	type FetchAdapterOptions,
	type FetchBaseOptions,
	fetchAdapter,
	fetchBase,
	type HubAdapter,
	type HubFetchOptions,
	type HubProgress,
	type ModelCard,
	readModelCard,
} from './hub/index.js';
export { type OpenBaseOptions, openBase } from './open-base.js';
