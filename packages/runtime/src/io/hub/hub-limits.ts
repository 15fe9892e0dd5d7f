/** Limits and times of everything that is asked of the Hub; each is checked before anything is allocated or written. */

/** Largest README.md that is fetched and read. Cards with hundreds of example pictures have about 0.2 MB. */
export const MAX_CARD_BYTES: number = 1024 * 1024;
/** Longest YAML front matter of a card that is parsed, in characters. */
export const MAX_FRONT_MATTER_CHARS: number = 128 * 1024;
/** References to anchors that the YAML parser follows: the default of `yaml`, against documents that grow without end. */
export const MAX_YAML_ALIASES: number = 100;
/** Entries read of any list in a card (tags, widgets, bases). */
export const MAX_CARD_LIST: number = 1000;

/** Largest answer of the Hub's API. A listing has 1,000 entries a page, about 0.3 MB. */
export const MAX_HUB_ANSWER_BYTES: number = 16 * 1024 * 1024;
/** Files of one repository. */
export const MAX_HUB_FILES: number = 20_000;

/** Largest adapter file. Adapters of rank 256 over SDXL, full differences included, stay below 6 GB. */
export const MAX_ADAPTER_BYTES: number = 8 * 1024 ** 3;
/** Largest configuration, vocabulary or other text file. `tokenizer.json` of CLIP has 2 MB. */
export const MAX_TEXT_FILE_BYTES: number = 16 * 1024 * 1024;
/** Largest base model, all files together. SDXL in float32 has 14 GB. */
export const MAX_BASE_BYTES: number = 64 * 1024 ** 3;

/** Largest data set, all files together. */
export const MAX_DATASET_BYTES: number = 1024 ** 4;

/** Redirects followed for one request. */
export const HUB_REDIRECTS: number = 10;
/** Tries without new bytes to speak of (`HUB_PROGRESS_BYTES`) after which a request is given up. */
export const HUB_TRIES: number = 5;
/**
 * New bytes after which a transfer counts as going on, so that its tries begin anew; of a file below 16 times as much, a 16th
 * of it. A server that breaks off after every byte is given up after `HUB_TRIES`.
 */
export const HUB_PROGRESS_BYTES: number = 64 * 1024;
/** Wait before the second try, in ms; it doubles each time. */
export const HUB_BACKOFF_MS: number = 500;
/** Longest wait between two tries, in ms, also when the server asks for more (Retry-After). */
export const HUB_MAX_WAIT_MS: number = 30_000;
/** A server that is silent for this long, in ms, is given up (and tried again). */
export const HUB_SILENCE_MS: number = 30_000;
/**
 * A partial download that nobody has written to for this long, in ms, is taken over. More than the longest wait of a
 * living one (`HUB_SILENCE_MS` and `HUB_MAX_WAIT_MS`).
 */
export const PARTIAL_STALE_MS: number = 5 * 60_000;
/** Piece in which the part that is already on disk is read again for its checksum. */
export const REHASH_BYTES: number = 4 * 1024 * 1024;
