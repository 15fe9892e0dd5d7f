/**
 * `@lorakit/format/node`: files, HTTP, the Hub and atomic writing for Node. Everything here deals in `ByteSource`s and
 * bytes; what they mean is the main entry's affair. Importing this loads `node:fs` and `node:path` only.
 */
export { type AtomicOutput, type AtomicWriteOptions, writeFileAtomic, writeFilesAtomic } from './atomic-write.js';
export { assertUnchanged, type CheckedSource } from './checked-source.js';
export { type Choice, chooseAdapter } from './choose-adapter.js';
export { type CompanionNames, companionNames } from './companion-names.js';
export { type Companions, type FolderLister, findCompanions, NO_COMPANIONS, rememberingLister } from './companions.js';
export { expandInputs } from './expand-inputs.js';
export type { FileCalls, FileSink } from './file-sink.js';
export { type FileIdentity, type FileSource, type FileSourceOptions, openFileSource } from './file-source.js';
export { checkFolderTarget, type FolderTarget } from './folder-target.js';
export { isGlob, matchName } from './glob.js';
export { hashFile, hashSource } from './hash-file.js';
export type { HttpOptions } from './http-request.js';
export { snapshotOfRepoFolder } from './hub-cache.js';
export { type Environment, type HubSettings, hubSettings } from './hub-settings.js';
export type { HubOptions } from './hub-source.js';
export { formatHubSpec, type HubSpec, hubSpecOfUrl, parseHubSpec } from './hub-spec.js';
export { errnoOf, quotePath, readError, writeError } from './io-error.js';
export { listTree } from './list-tree.js';
export { openHttpSource, openHubSource } from './network.js';
export { createNodeSha256, type Hasher } from './node-hasher.js';
export { type OpenOptions, openSource, openStdin } from './open-source.js';
export { checkTarget, type InputRef, type OutputTarget } from './output-target.js';
export { type ResolvedInput, type ResolveOptions, resolveFolder, resolveInput } from './resolve-input.js';
export { classifySpec, type SpecKind } from './spec-kind.js';
export { createSpill, type SpillFile } from './spill-file.js';
export { writeStdout } from './stdout-write.js';
export { cleanupTempFiles } from './temp-files.js';
export { type FolderFile, type WriteFolderOptions, writeFolder } from './write-folder.js';
export { planTargets, type WritePlanOptions, writePlan } from './write-plan.js';
