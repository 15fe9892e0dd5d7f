/**
 * `@lorakit/runtime/node`: what needs Node. Everything else is in the main entry.
 */

export {
	type BaseName,
	type CardExample,
	CONVERTED_REVISION,
	type FetchAdapterOptions,
	type FetchBaseOptions,
	type FetchDatasetOptions,
	fetchAdapter,
	fetchBase,
	fetchDataset,
	type HubAdapter,
	type HubDataset,
	type HubFetchOptions,
	type HubProgress,
	type ModelCard,
	readModelCard,
} from './hub/index.js';
export { type OpenBaseOptions, openBase } from './open-base.js';
export { openTokenizers } from './open-tokenizers.js';
export {
	type DecodedPicture,
	type DecodePictureOptions,
	decodePicture,
	encodePng,
	MAX_PICTURE_BYTES,
	MAX_PICTURE_SIDE,
	type PictureHeader,
	type PictureKind,
	type Rgb,
	readPictureFile,
	readPictureHeader,
	type Sniffed,
	sniffPicture,
} from './pictures/index.js';
export { weightFiles } from './weight-files.js';
