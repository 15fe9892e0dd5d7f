import type { Explanation } from './explanations.js';

/** Files that are something else, or cannot be read at all. */
export const FILE_EXPLANATIONS: Readonly<
	Record<
		| 'E_FORMAT'
		| 'E_FORMAT_TAR'
		| 'E_FORMAT_TORCHSCRIPT'
		| 'E_FORMAT_GGUF'
		| 'E_FORMAT_ONNX'
		| 'E_FORMAT_MISMATCH'
		| 'E_LFS_POINTER'
		| 'E_HTML'
		| 'E_COMPRESSED'
		| 'E_PARQUET'
		| 'E_NOT_A_FILE'
		| 'E_IO',
		Explanation
	>
> = {
	E_FORMAT: {
		title: 'Not a tensor file',
		meaning: 'The content is no safetensors file and no torch file, whatever its name says.',
		whatToDo: 'Check where the file comes from. "lora inspect" says what its first bytes look like.',
		example: 'E_FORMAT: notes.safetensors begins with "# My LoRA"; this is a text file.',
	},
	E_FORMAT_TAR: {
		title: 'A tar archive',
		meaning: 'The file is a tar archive: either files packed together, or a torch file from before 2018.',
		whatToDo: 'Unpack it ("tar xf") and use the weight file inside; very old torch files must be saved again in Python.',
		example: 'E_FORMAT_TAR: weights.pt is a tar archive.',
	},
	E_FORMAT_TORCHSCRIPT: {
		title: 'A TorchScript program',
		meaning: 'The file holds a compiled model with code, not only weights.',
		whatToDo: 'Get the weights as .safetensors, or save model.state_dict() in Python.',
		example: 'E_FORMAT_TORCHSCRIPT: model.pt holds code/; it is a TorchScript program.',
	},
	E_FORMAT_GGUF: {
		title: 'A GGUF file',
		meaning: 'The file is in the format of llama.cpp. lora does not read it.',
		whatToDo: 'Use the .safetensors release of the same weights.',
		example: 'E_FORMAT_GGUF: lora.gguf is a GGUF file.',
	},
	E_FORMAT_ONNX: {
		title: 'An ONNX file',
		meaning: 'The file is an ONNX model or adapter, whose tensor names belong to one exported graph.',
		whatToDo: 'Use the .safetensors or .pt that it was exported from.',
		example: 'E_FORMAT_ONNX: lora.onnx_adapter is an ONNX adapter.',
	},
	E_FORMAT_MISMATCH: {
		title: 'Name and content disagree',
		meaning: 'The ending says one container and the content is another, in a way that cannot be meant.',
		whatToDo: 'Rename the file to what it is, or fetch it again.',
		example: 'E_FORMAT_MISMATCH: lora.safetensors is a zip archive.',
	},
	E_LFS_POINTER: {
		title: 'A Git LFS pointer, not the file',
		meaning: 'Git holds large files apart. This is the small text that stands for the file; the weights were not fetched.',
		whatToDo: 'Run "git lfs pull" in the repository, or download the file itself.',
		example: 'E_LFS_POINTER: lora.safetensors is a Git LFS pointer to 151,108,831 bytes.',
	},
	E_HTML: {
		title: 'A web page, not the file',
		meaning: 'A web page was saved under the name of the file: a login page, an error, or the page about the file.',
		whatToDo: 'Use the direct download link (on the Hub: /resolve/ instead of /blob/), log in where needed.',
		example: 'E_HTML: lora.safetensors is an HTML page ("Sign in").',
	},
	E_COMPRESSED: {
		title: 'A compressed file',
		meaning: 'The file is packed with gzip, xz, zstd, 7z or the like.',
		whatToDo: 'Unpack it first.',
		example: 'E_COMPRESSED: lora.safetensors is gzip-compressed; run gunzip first.',
	},
	E_PARQUET: {
		title: 'A Parquet file that cannot be read',
		meaning:
			'A file of a data set contradicts itself or the Parquet specification, is no Parquet file, or is written in a way that is not read here: encrypted, packed with a rare codec, without pictures in the column.',
		whatToDo:
			'Where the message says broken, fetch the file again. Otherwise write it again as it says, for instance with the datasets library and snappy or zstd.',
		example: 'E_PARQUET: train-00000-of-00001.parquet is a broken Parquet file: its footer ends early; fetch it again.',
	},
	E_NOT_A_FILE: {
		title: 'Not a regular file',
		meaning: 'The path is a folder without an adapter, a device, a pipe or a socket.',
		whatToDo: 'Give the path of the weight file.',
		example: 'E_NOT_A_FILE: /dev/zero is a device.',
	},
	E_IO: {
		title: 'The system refused',
		meaning: 'The file does not exist, may not be read or written, or the disk failed.',
		whatToDo: 'See the reason in the message; check path and rights.',
		example: 'E_IO: cannot read lora.safetensors: permission denied.',
	},
};
