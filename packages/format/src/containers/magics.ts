import type { ErrorCode } from '../errors.js';

/** A kind of file that is known by its bytes and is not read here. */
export interface Magic {
	readonly offset: number;
	/** Latin-1 text of the bytes. */
	readonly bytes: string;
	readonly code: ErrorCode;
	/** What it is and what to do; follows "This is ". */
	readonly say: string;
}

const UNPACK = 'unpack it and give the file inside';

/** Longest first where one begins with another. */
export const MAGICS: readonly Magic[] = [
	{
		offset: 0,
		bytes: 'GGUF',
		code: 'E_FORMAT_GGUF',
		say: 'a GGUF file (llama.cpp, stable-diffusion.cpp); those adapters are not read here: use the safetensors file it was made from',
	},
	{
		offset: 4,
		bytes: 'TORT',
		code: 'E_FORMAT_ONNX',
		say: 'an ONNX Runtime adapter (.onnx_adapter), bound to one ONNX graph; use the PEFT adapter it was exported from',
	},
	{
		offset: 4,
		bytes: 'ORTM',
		code: 'E_FORMAT_ONNX',
		say: 'an ONNX Runtime model (.ort), in which weights are bound to one graph; use the adapter it was exported from',
	},
	{
		offset: 257,
		bytes: 'ustar',
		code: 'E_FORMAT_TAR',
		say: 'a tar archive; unpack it and give the weight file inside (a model in the tar form of torch before 0.1.10 must be loaded and saved again with a newer torch)',
	},
	{ offset: 0, bytes: '\x1f\x8b', code: 'E_COMPRESSED', say: `gzip-compressed; ${UNPACK} (gunzip)` },
	{ offset: 0, bytes: '\x28\xb5\x2f\xfd', code: 'E_COMPRESSED', say: `zstd-compressed; ${UNPACK} (zstd -d)` },
	{ offset: 0, bytes: '\xfd7zXZ\0', code: 'E_COMPRESSED', say: `xz-compressed; ${UNPACK} (unxz)` },
	{ offset: 0, bytes: '\x1f\x9d', code: 'E_COMPRESSED', say: `compressed (.Z); ${UNPACK} (uncompress)` },
	{ offset: 0, bytes: 'BZh', code: 'E_COMPRESSED', say: `bzip2-compressed; ${UNPACK} (bunzip2)` },
	{ offset: 0, bytes: "7z\xbc\xaf'\x1c", code: 'E_COMPRESSED', say: `a 7z archive; ${UNPACK}` },
	{ offset: 0, bytes: 'Rar!\x1a\x07', code: 'E_COMPRESSED', say: `a RAR archive; ${UNPACK}` },
	{ offset: 0, bytes: '\x04\x22\x4d\x18', code: 'E_COMPRESSED', say: `lz4-compressed; ${UNPACK} (lz4 -d)` },
	{ offset: 0, bytes: 'LZIP', code: 'E_COMPRESSED', say: `lzip-compressed; ${UNPACK} (lzip -d)` },
	{
		offset: 0,
		bytes: '\x89PNG\r\n\x1a\n',
		code: 'E_FORMAT',
		say: 'a PNG picture, not weights; perhaps the preview was fetched instead of the model',
	},
	{
		offset: 0,
		bytes: '\xff\xd8\xff',
		code: 'E_FORMAT',
		say: 'a JPEG picture, not weights; perhaps the preview was fetched instead of the model',
	},
	{ offset: 8, bytes: 'WEBP', code: 'E_FORMAT', say: 'a WebP picture, not weights; perhaps the preview was fetched instead of the model' },
	{ offset: 0, bytes: 'GIF8', code: 'E_FORMAT', say: 'a GIF picture, not weights; perhaps the preview was fetched instead of the model' },
	{ offset: 4, bytes: 'ftyp', code: 'E_FORMAT', say: 'a video or picture (MP4, HEIC or AVIF), not weights' },
	{ offset: 0, bytes: '%PDF-', code: 'E_FORMAT', say: 'a PDF document, not weights' },
	{
		offset: 0,
		bytes: '\x93NUMPY',
		code: 'E_FORMAT',
		say: 'a NumPy array (.npy), which has no tensor names; save it with safetensors.numpy.save_file under the names it should have',
	},
	{
		offset: 0,
		bytes: '\x89HDF\r\n\x1a\n',
		code: 'E_FORMAT',
		say: 'an HDF5 file (Keras .h5), which is not read here; save the weights as safetensors',
	},
	{ offset: 4, bytes: 'TFL3', code: 'E_FORMAT', say: 'a TensorFlow Lite model, which is not read here; save the weights as safetensors' },
	{ offset: 0, bytes: 'SQLite format 3\0', code: 'E_FORMAT', say: 'an SQLite database, not weights' },
	{ offset: 0, bytes: '\x7fELF', code: 'E_FORMAT', say: 'a program (ELF), not weights' },
	{ offset: 0, bytes: 'lmgg', code: 'E_FORMAT', say: 'an old GGML file of llama.cpp; use the file it was made from' },
	{ offset: 0, bytes: 'tjgg', code: 'E_FORMAT', say: 'an old GGML file of llama.cpp; use the file it was made from' },
	{ offset: 0, bytes: 'algg', code: 'E_FORMAT', say: 'an old GGLA adapter of llama.cpp; use the PEFT adapter it was made from' },
];

/** True when `bytes` has the Latin-1 text `text` at `offset`. */
export function hasBytes(bytes: Uint8Array, offset: number, text: string): boolean {
	if (offset + text.length > bytes.byteLength) return false;
	for (let i = 0; i < text.length; i++) if (bytes[offset + i] !== text.charCodeAt(i)) return false;
	return true;
}
