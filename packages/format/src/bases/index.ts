export { type BaseIndex, indexBase } from './base-index.js';
export type { BaseModel, BaseTensorFile } from './base-model.js';
export { type BaseModelOptions, baseModel } from './build-base.js';
export { findModules, type ModuleSearch } from './find-modules.js';
export { type PlacedTensor, placeBaseTensor, type TensorLeaf } from './place-base-tensor.js';
export { brokenIndex, checkShardHolds, checkShardIsThere, checkShardNumbers, shardsOfIndex } from './shards.js';
export { type Segment, type StoredModule, type StoredPart, segmentName } from './stored-part.js';
