/**
 * `@lorakit/format`: read, check, convert and write LoRA weight files. Isomorphic; files, HTTP and the Hub are in
 * `@lorakit/format/node`.
 *
 * @packageDocumentation
 */

// data
export type * from './adapter.js';
export {
	type BaseModel,
	type BaseModelOptions,
	type BaseTensorFile,
	baseModel,
	brokenIndex,
	checkShardHolds,
	checkShardIsThere,
	checkShardNumbers,
	type PlacedTensor,
	placeBaseTensor,
	shardsOfIndex,
	type TensorLeaf,
} from './bases/index.js';
export { type ByteSource, blobSource, bytesSource } from './byte-source.js';
// reports
export { CHECK_TARGETS, type CheckReport, type CheckTarget, checkTarget } from './check.js';
export { ERROR_CODES, type ErrorCode, WARNING_CODES, type WarningCode } from './codes.js';
// containers
export { crc32 } from './containers/crc32.js';
export { type ByteSink, openStateDict, type ReadOptions, readSafetensors, safetensorsBytes, sniffContainer } from './containers/index.js';
// conversion
export { type ConversionPlan, type ConvertOptions, type OutputContainer, type PlannedFile, planConversion } from './convert.js';
export { type DecodeAdapterOptions, type Decoded, type Detection, decodeAdapter, detectLayout, type Reading } from './detect.js';
export { DTYPES, type DType, dtypeBits, isDType, isFloat, numel } from './dtype.js';
export { escapeControls, FormatError, quote, type Warning } from './errors.js';
export { type Code, type Explanation, explain, isCode } from './explanations.js';
// meaning
export { type DoraStrength, deltaOf, needsBase } from './families/index.js';
export { decodeFloats } from './half.js';
export { type FileHashes, fileHashes, recordedHashes } from './hashes/index.js';
export { type InspectOptions, type InspectReport, inspect } from './inspect.js';
export { inspectMarkdown } from './inspect-markdown.js';
export { inspectText } from './inspect-text.js';
export { type Kernel, kernel, loadKernel } from './kernel/index.js';
// layouts
export { findLayout, LAYOUTS, layoutIds, targetIds } from './layouts/index.js';
export type { Claim, DecodeOptions, Encoded, EncodedFile, EncodeOptions, Layout, LayoutInput, Loss } from './layouts/layout.js';
export { recogniseNonLora } from './layouts/not-a-lora.js';
export { damagedKeys, repairKeys } from './layouts/repair.js';
export { embeddingFiles } from './layouts/textual-inversion.js';
export { companionOrigin, type InputSources, type LoadOptions, loadInput, soloInput } from './load.js';
export { type MetadataEdit, type StripWhich, setMetadata, stripMetadata } from './metadata/edit.js';
export { ARCHITECTURES, readModelSpec, writeModelSpec } from './metadata/modelspec.js';
export { baseInventoryFromTensors, parseUnetConfig, unetModulesInOrder } from './modules/index.js';
export type { BaseInventory, BaseModule, UnetConfig } from './modules/inventory.js';
export { nearestName } from './nearest-name.js';
export { type PlanAdapterOptions, planAdapter } from './plan-adapter.js';
export type { Disposition, Receipt, ReceiptCounts, ReceiptEntry } from './receipt.js';
export { diffHtml } from './report-html/diff-html.js';
export { inspectHtml } from './report-html/inspect-html.js';
export { type EditableMetadata, openForMetadata, type RewriteOptions, writeWithMetadata } from './rewrite-metadata.js';
export { rankOf, type Scaling, type ScalingInput, scalingOf } from './scaling.js';
export { createSha256, type Hasher, type HasherFactory } from './sha256.js';
export type { ContainerId, NonTensor, StateDict } from './state-dict.js';
export { bytesTensor, computedTensor, type Derivation, rangeTensor, type Tensor, type TensorRange, tensorChunks } from './tensor.js';
export { type CastDType, castAdapter } from './transforms/cast-adapter.js';
export { type DiffOptions, diffAdapters, SAME_TOLERANCE } from './transforms/diff/diff-adapters.js';
export { diffText } from './transforms/diff/diff-adapters-text.js';
export type { DiffBlock, DiffEmbedding, DiffModule, DiffReport, DiffSide, DiffSummary } from './transforms/diff/diff-adapters-types.js';
export { type AdapterEnergy, adapterEnergy, type BlockEnergy, type ModuleEnergy } from './transforms/diff/energy.js';
export { type BaseReader, baseReader } from './transforms/diff/energy-base.js';
export { extractAdapter } from './transforms/extract/extract-adapter.js';
export { type ExtractDocument, extractDocument, extractText } from './transforms/extract/extract-report.js';
export type { ExtractedModule, Extraction, ExtractOptions } from './transforms/extract/extract-types.js';
export { foldScaling } from './transforms/fold-scaling.js';
export { type FuseTally, type FuseTensorOptions, fusedTensor, fuseTensor } from './transforms/fuse/fuse-tensor.js';
export { type FuseLedgerEntry, type FuseOptions, type FusePlan, planFuse } from './transforms/fuse/plan-fuse.js';
export { makeRecipe, parseRecipe, RECIPE_KEY, type Recipe, readRecipe, recipeMetadata } from './transforms/fuse/recipe.js';
export type { TouchedTensor } from './transforms/fuse/touched-tensor.js';
export { type FuseCause, type VerifyModule, type VerifyOptions, type VerifyReport, verifyFused } from './transforms/fuse/verify-fused.js';
export { type FusedFile, type WriteFusedOptions, writeFusedFile } from './transforms/fuse/write-fused.js';
export { planVariants, variantsOf } from './transforms/fuse/write-fused-variants.js';
export { cosineOf, type DeltaProducts, deltaProducts, gainOf, totalProducts } from './transforms/gain-cosine.js';
export { mergeAdapters } from './transforms/merge/merge-adapters.js';
export { mergeBase } from './transforms/merge/merge-base.js';
export { type MergeRecipe, makeMergeRecipe, withRecipe } from './transforms/merge/merge-recipe.js';
export { type MergeDocument, mergeDocument, mergeText } from './transforms/merge/merge-report.js';
export {
	MERGE_METHODS,
	type MergeBase,
	type MergedModule,
	type MergeMethod,
	type MergeOptions,
	type MergeResult,
} from './transforms/merge/merge-types.js';
export { type MergeVerification, verifyMerge } from './transforms/merge/merge-verify.js';
export { renameNaming } from './transforms/naming/rename-naming.js';
export { embeddingsAsAdapter, joinAdapters } from './transforms/parts/join-adapters.js';
export { type AdapterSplit, EMBEDDINGS_PART, splitAdapter } from './transforms/parts/split-adapter.js';
export { lowRankOf } from './transforms/product/low-rank-of.js';
export { type ExpandedModule, type ExpandOptions, type Expansion, expandAdapter } from './transforms/resize/expand-adapter.js';
export { resizeAdapter } from './transforms/resize/resize-adapter.js';
export { type ResizeJob, type ResizeOutcome, type ResizeRunner, runResizeJob } from './transforms/resize/resize-job.js';
export { type ResizeDocument, resizeDocument, resizeText } from './transforms/resize/resize-report.js';
export { parseSize, plannedBytes } from './transforms/resize/resize-size.js';
export type { Resize, ResizedModule, ResizeOptions } from './transforms/resize/resize-types.js';
export { type AdapterUse, FULL_STRENGTH, type Strength, strengthOf } from './transforms/strength/adapter-use.js';
export { type AdapterSpec, parseAdapterSpec, strengthFor } from './transforms/strength/parse-adapter-spec.js';
export { type ScaledAdapter, scaleAdapter } from './transforms/strength/scale-adapter.js';
export { planTerms } from './transforms/terms/plan-terms.js';
export { scaleTerms } from './transforms/terms/scale-terms.js';
export type { LowRankPart, LowRankTerms, ModuleTerms, TermOptions, TermPlan } from './transforms/terms/terms-types.js';
export { encodeResidual } from './transforms/unfuse/residual.js';
export {
	readSidecar,
	SIDECAR_NAME,
	SIDECAR_SUFFIX,
	type Sidecar,
	type SidecarAdapter,
	type SidecarAdapterFile,
	type SidecarFile,
	type SidecarHash,
	type SidecarRecord,
	type SidecarTensor,
	sidecarMetadata,
} from './transforms/unfuse/sidecar.js';
export { planUnfuse, type UnfuseFile, type UnfusePlan } from './transforms/unfuse/unfuse.js';
export { codeWidth, guessBase } from './transforms/unfuse/unfuse-guess.js';
export { type ValidateFinding, type ValidateOptions, type ValidateReport, validate } from './validate.js';
export { type PatchableSink, type WriteFileOptions, writePlannedFile } from './write.js';
