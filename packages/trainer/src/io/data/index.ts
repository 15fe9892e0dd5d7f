export { createFolderCache, type FolderCacheOptions, MAX_CACHE_FILE_BYTES } from './cache-folder.js';
export { inspectPicture, type PictureCheck } from './check-picture.js';
export { type HubDatasetOptions, type HubOpened, openHubDataset } from './hub-dataset.js';
export { type ImageFolderOptions, openImageFolder } from './image-folder.js';
export { openParquetFiles } from './parquet-files.js';
export { type MaskSource, readTrainingMask, readTrainingPixels } from './read-training-picture.js';
