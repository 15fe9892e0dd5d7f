export type { Hasher, HasherFactory } from '../sha256.js';

/** SHA-256 of nothing. Some releases of ai-toolkit wrote it as the model's hash (ai-toolkit #130): it means "absent". */
export const EMPTY_SHA256: string = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
