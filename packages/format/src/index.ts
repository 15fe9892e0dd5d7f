/**
 * `@lorakit/format`: read, check, convert and write LoRA weight files. Isomorphic; files, HTTP and the Hub are in
 * `@lorakit/format/node`.
 *
 * @packageDocumentation
 */

// data
export type * from './adapter.js';
export { type ByteSource, blobSource, bytesSource } from './byte-source.js';
// reports
export { CHECK_TARGETS, type CheckReport, type CheckTarget, checkTarget } from './check.js';
export { ERROR_CODES, type ErrorCode, WARNING_CODES, type WarningCode } from './codes.js';
// containers
export { type ByteSink, openStateDict, type ReadOptions, readSafetensors, safetensorsBytes, sniffContainer } from './containers/index.js';
// conversion
export { type ConversionPlan, type ConvertOptions, type OutputContainer, type PlannedFile, planConversion } from './convert.js';
export { type DecodeAdapterOptions, type Decoded, type Detection, decodeAdapter, detectLayout, type Reading } from './detect.js';
export { DTYPES, type DType, dtypeBits, isDType, isFloat, numel } from './dtype.js';
export { escapeControls, FormatError, quote, type Warning } from './errors.js';
export { type Code, type Explanation, explain, isCode } from './explanations.js';
// meaning
export { deltaOf, needsBase } from './families/index.js';
export { type FileHashes, fileHashes, recordedHashes } from './hashes/index.js';
export { type InspectOptions, type InspectReport, inspect } from './inspect.js';
export { inspectMarkdown } from './inspect-markdown.js';
export { inspectText } from './inspect-text.js';
// layouts
export { findLayout, LAYOUTS, layoutIds, targetIds } from './layouts/index.js';
export type { Claim, DecodeOptions, Encoded, EncodedFile, EncodeOptions, Layout, LayoutInput, Loss } from './layouts/layout.js';
export { recogniseNonLora } from './layouts/not-a-lora.js';
export { damagedKeys, repairKeys } from './layouts/repair.js';
export { companionOrigin, type InputSources, type LoadOptions, loadInput, soloInput } from './load.js';
export { type MetadataEdit, type StripWhich, setMetadata, stripMetadata } from './metadata/edit.js';
export { ARCHITECTURES, readModelSpec, writeModelSpec } from './metadata/modelspec.js';
export { baseInventoryFromTensors, parseUnetConfig, unetModulesInOrder } from './modules/index.js';
export type { BaseInventory, BaseModule, UnetConfig } from './modules/inventory.js';
export { nearestName } from './nearest-name.js';
export type { Disposition, Receipt, ReceiptCounts, ReceiptEntry } from './receipt.js';
export { type EditableMetadata, openForMetadata, type RewriteOptions, writeWithMetadata } from './rewrite-metadata.js';
export { rankOf, type Scaling, type ScalingInput, scalingOf } from './scaling.js';
export { createSha256, type Hasher, type HasherFactory } from './sha256.js';
export type { ContainerId, NonTensor, StateDict } from './state-dict.js';
export { bytesTensor, computedTensor, type Derivation, rangeTensor, type Tensor, type TensorRange, tensorChunks } from './tensor.js';
export { type CastDType, castAdapter } from './transforms/cast-adapter.js';
export { foldScaling } from './transforms/fold-scaling.js';
export { renameNaming } from './transforms/rename-naming.js';
export { type ValidateFinding, type ValidateOptions, type ValidateReport, validate } from './validate.js';
export { type PatchableSink, type WriteFileOptions, writePlannedFile } from './write.js';
