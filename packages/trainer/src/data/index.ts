export {
	type AspectBuckets,
	aspectBuckets,
	type BucketChoice,
	type BucketOptions,
	MAX_BUCKET_SIDE,
} from './aspect-buckets.js';
export { assignSizes, type SizedItem, type SizeRule } from './assign-sizes.js';
export { encodingWeights, latentKey, textKey, weightsIdentity } from './cache-key.js';
export { type CachedTensors, createMemoryCache, type TensorCache } from './cache-tensors.js';
export type * from './dataset.js';
export { type DigestedItem, datasetDigest } from './dataset-digest.js';
export { datasetReport } from './dataset-report.js';
export { createLatentSource, type LatentRequest, type LatentSource } from './latent-cache.js';
export { captionLines, MAX_CAPTION_CHARS, MAX_CAPTIONS, MAX_LINE_BYTES, metadataLines } from './metadata-lines.js';
export {
	type InspectedPicture,
	openParquetDataset,
	type ParquetDatasetOptions,
	type ParquetShard,
	type PictureInspector,
} from './parquet-dataset.js';
export { chooseShards, type SplitOptions } from './parquet-shards.js';
export { maskLatents, maskOf, picturePixels } from './picture-pixels.js';
export { mirroredPlan, type PicturePlan, type PlanOptions, planPicture, shorterSideTo, timeIdsOf } from './plan-picture.js';
export { createTextSource, type TextSource } from './text-cache.js';
