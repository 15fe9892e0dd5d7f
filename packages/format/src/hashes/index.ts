export { type FileHashes, fileHashes, recordedHashes } from './file-hashes.js';
export type { Hasher, HasherFactory } from './hasher.js';
export { legacyHeader } from './legacy-header.js';
export { type RefreshedHashes, refreshHashes } from './refresh-hashes.js';
export { type SshsHashes, sshsHasher, sshsHashes, sshsModelHash } from './sshs.js';
