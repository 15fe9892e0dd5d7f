/**
 * Every limit that bounds work done on behalf of a file, in one place. A number here is the most that an
 * honest file in the field needs, times a margin; it is checked before anything is allocated.
 */

/** Largest safetensors header: the format's own cap (safetensors/src/tensor.rs MAX_HEADER_SIZE). */
export const MAX_HEADER_BYTES: number = 100_000_000;
/** Nesting of JSON in a safetensors header: object -> entry -> array is 3; serde_json's own cap is 128. */
export const MAX_JSON_DEPTH: number = 64;
/** Tensors in one file. SDXL adapters have about 2,400; whole checkpoints some thousands. */
export const MAX_TENSORS: number = 2_000_000;
/** Dimensions of one tensor. torch itself stops at 64. */
export const MAX_RANK: number = 64;

/** `data.pkl` (and each legacy pickle), after inflating. sd-v1-4.ckpt has about 0.3 MB. */
export const MAX_PICKLE_BYTES: number = 64 * 1024 * 1024;
/** Opcodes executed for one pickle. */
export const MAX_PICKLE_OPS: number = 20_000_000;
/** Objects alive on the pickle stack. */
export const MAX_PICKLE_STACK: number = 4_000_000;
/** Open MARKs at one time. */
export const MAX_PICKLE_MARKS: number = 100_000;
/** Entries in the memo. */
export const MAX_PICKLE_MEMO: number = 4_000_000;
/** Bytes of all strings, byte strings and long integers in one pickle. */
export const MAX_PICKLE_STRING_BYTES: number = 64 * 1024 * 1024;
/** Digits or bytes of one LONG. */
export const MAX_PICKLE_LONG_BYTES: number = 4096;
/** Values visited when the finished object is walked for tensors. */
export const MAX_WALK_NODES: number = 5_000_000;
/** Depth of containers searched for tensors. */
export const MAX_WALK_DEPTH: number = 32;

/** Entries in a torch zip. Every storage is one entry. */
export const MAX_ZIP_ENTRIES: number = 100_000;
/** Central directory bytes. */
export const MAX_ZIP_DIRECTORY_BYTES: number = 64 * 1024 * 1024;
/** Inflated size of one deflated storage: larger ones are refused before a byte is inflated. */
export const MAX_INFLATED_STORAGE_BYTES: number = 512 * 1024 * 1024;
/** Inflated / compressed size above which a deflated entry is a bomb. Real fp16/fp32 weights reach about 12. */
export const MAX_INFLATE_RATIO: number = 200;
/** Inflated sizes below this are never called a bomb. */
export const INFLATE_RATIO_FLOOR_BYTES: number = 16 * 1024 * 1024;
/** Bytes that strided views of a torch file may take when written out, as a multiple of its storage bytes. */
export const MAX_VIEW_EXPANSION: number = 64;
/** View bytes always allowed, whatever the storage. */
export const VIEW_EXPANSION_FLOOR_BYTES: number = 64 * 1024 * 1024;

/** Tensors of at most this many elements are read with the header, so that layouts can use their values. */
export const SMALL_TENSOR_ELEMENTS: number = 4;
/** Largest adapter_config.json or other side file. */
export const MAX_SIDE_FILE_BYTES: number = 16 * 1024 * 1024;
/** Bytes moved at a time when tensors are streamed. */
export const COPY_CHUNK_BYTES: number = 4 * 1024 * 1024;
/** Largest single tensor that is computed (folded, cast, split) in memory. */
export const MAX_COMPUTED_TENSOR_BYTES: number = 2 * 1024 * 1024 * 1024;
/** Containers built by one pickle; a dict with entries counts four times (a `Map` is that much larger). */
export const MAX_PICKLE_OBJECTS: number = 4_000_000;
/** Zip entries are checked (CRC, inflating) while the file is opened until this many bytes are spent; the rest when they are read. */
export const VERIFY_ON_OPEN_BYTES: number = 1024 * 1024;
/** Python values without tensors that are listed one by one; more are counted. */
export const MAX_NON_TENSORS: number = 10_000;
/** Names in one torch file for tensors that are one and the same object: more than this, and more than `MAX_ALIASES` per object, is a bomb. */
export const ALIAS_FLOOR: number = 10_000;
/** Names per tensor object on average. Tied weights have two or three. */
export const MAX_ALIASES: number = 16;
/** Characters of all tensor names of a torch file once nested names are joined. SDXL adapters have about 0.2 million. */
export const MAX_NAME_CHARS: number = 64 * 1024 * 1024;
/** Lists of tensor names that are remembered from one file of a batch to the next: files of one kind share their names. */
export const MAX_REMEMBERED_LISTS: number = 8;
/** Characters of a header (of a name list) above which it is not remembered. SDXL adapters have about 0.3 million. */
export const MAX_REMEMBERED_CHARS: number = 1024 * 1024;
/** Piece of a data section that fuse and unfuse read, change and write at once. */
export const FUSE_WINDOW_BYTES: number = 8 * 1024 * 1024;
/** Memory for such pieces: one being read, one being changed, the rest being written. */
export const FUSE_BUFFER_BYTES: number = 8 * FUSE_WINDOW_BYTES;
/** Characters of the JSON record in a sidecar. A sharded SDXL or Flux model has about 0.5 MB of it. */
export const MAX_SIDECAR_RECORD_CHARS: number = 32 * 1024 * 1024;
/** Adapters that one sidecar can hold. */
export const MAX_SIDECAR_ADAPTERS: number = 1000;
