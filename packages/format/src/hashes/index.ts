export { type FileHashes, fileHashes, HASH_KEYS, hashEntries, recordedHashes } from './file-hashes.js';
export { EMPTY_SHA256, type Hasher, type HasherFactory } from './hasher.js';
export { legacyHeader } from './legacy-header.js';
export { type RefreshedHashes, refreshHashes } from './refresh-hashes.js';
export { type SshsHashes, sshsHasher, sshsHashes, sshsModelHash } from './sshs.js';
