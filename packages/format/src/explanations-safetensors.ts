import type { Explanation } from './explanations.js';

/** Faults of the safetensors container. */
export const SAFETENSORS_EXPLANATIONS: Readonly<
	Record<
		| 'E_EMPTY'
		| 'E_TRUNCATED'
		| 'E_HEADER_TOO_LARGE'
		| 'E_HEADER_UTF8'
		| 'E_HEADER_JSON'
		| 'E_HEADER_NOT_OBJECT'
		| 'E_DUPLICATE_KEY'
		| 'E_METADATA'
		| 'E_TENSOR_INFO'
		| 'E_DTYPE'
		| 'E_SHAPE'
		| 'E_OVERFLOW'
		| 'E_OFFSETS'
		| 'E_OVERLAP'
		| 'E_HOLE'
		| 'E_TRAILING'
		| 'E_NAME'
		| 'E_NAME_COLLISION'
		| 'E_LIMIT',
		Explanation
	>
> = {
	E_EMPTY: {
		title: 'Empty file',
		meaning:
			'The file has no bytes, or too few to be anything. A download that failed at once, or a program that stopped before it wrote, leaves such a file.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_EMPTY: lora.safetensors is empty.',
	},
	E_TRUNCATED: {
		title: 'File cut short',
		meaning:
			'The file ends before the place where its own header says the data ends. It was not fetched or copied completely. Nothing of it can be trusted, because a wrong tensor looks like a right one.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from. With git, run "git lfs pull".',
		example:
			'E_TRUNCATED: lora.safetensors ends at byte 1048576, but bytes 4194304 to 4194308 are needed; the file is cut short, fetch it again.',
	},
	E_HEADER_TOO_LARGE: {
		title: 'Header length is impossible',
		meaning:
			'A safetensors file begins with the length of its header. This one says more than 100,000,000 bytes or more than the file has. Most often the file is no safetensors file at all, only named so.',
		whatToDo: 'Look at what the file really is: "lora inspect" names it. If it should be a safetensors file, fetch it again.',
		example: 'E_HEADER_TOO_LARGE: the header would have 8,243,122,740,717,776,739 bytes.',
	},
	E_HEADER_UTF8: {
		title: 'Header is not UTF-8',
		meaning:
			'The header of a safetensors file is JSON in UTF-8. This one has bytes that are no UTF-8, so names of tensors could be read in two ways.',
		whatToDo: 'The file is damaged or was written by a faulty tool. Fetch it again, or write it again with safetensors.',
		example: 'E_HEADER_UTF8: the header is not UTF-8 at byte 312.',
	},
	E_HEADER_JSON: {
		title: 'Header is not JSON',
		meaning:
			'The header cannot be read as strict JSON: something is missing, doubled, or not allowed. Readers that guess here disagree with each other.',
		whatToDo: 'The file is damaged or was written by a faulty tool. Fetch it again, or write it again with safetensors.',
		example: 'E_HEADER_JSON: expected "," or "}" at byte 97 of the header.',
	},
	E_HEADER_NOT_OBJECT: {
		title: 'Header is no JSON object',
		meaning: 'The header is JSON, but not an object with one entry per tensor, so there are no names.',
		whatToDo: 'The file is not a safetensors file in the usual sense. Write it again with safetensors.',
		example: 'E_HEADER_NOT_OBJECT: the header is a JSON array; expected an object.',
	},
	E_DUPLICATE_KEY: {
		title: 'A name occurs twice in the header',
		meaning:
			'Two entries of the header have the same name. Readers take the first, the last or both: the same file would mean different things to different tools. Attackers use this to show one thing to a scanner and another to a loader.',
		whatToDo: 'Do not use the file unless you know where the second entry comes from. Write it again with safetensors.',
		example: 'E_DUPLICATE_KEY: "lora_unet_mid_block.alpha" occurs twice in the header.',
	},
	E_METADATA: {
		title: 'Metadata is not text to text',
		meaning:
			'"__metadata__" must be one object whose values are all strings. This one has a number, a list, an object, or stands twice. The official reader refuses it too.',
		whatToDo: 'Write the file again with string values only (json.dumps what is not a string).',
		example: 'E_METADATA: "__metadata__" entry "ss_epoch" is a number; values must be strings.',
	},
	E_TENSOR_INFO: {
		title: 'Entry of a tensor is incomplete',
		meaning:
			'Each tensor needs "dtype", "shape" and "data_offsets" of the right kinds, and its size must be that of its shape. This one lacks one of them or contradicts itself.',
		whatToDo: 'The file is damaged or was written by a faulty tool. Fetch it again, or write it again with safetensors.',
		example: 'E_TENSOR_INFO: "a.weight" has 8 bytes, but F32 of shape (4) needs 16.',
	},
	E_DTYPE: {
		title: 'Unknown element type',
		meaning: 'The header names a type of numbers that the safetensors format does not have. Without it the bytes cannot be read.',
		whatToDo: 'Check the spelling (types are upper-case: F16, BF16). If it is a new type of the format, update lora.',
		example: 'E_DTYPE: "a.weight" has dtype "f16"; the format spells it F16.',
	},
	E_SHAPE: {
		title: 'Impossible shape',
		meaning: 'A dimension is negative, no whole number, or too large to be exact, or the shape and type give no whole number of bytes.',
		whatToDo: 'The file is damaged or hostile. Write it again with the tool that made it.',
		example: 'E_SHAPE: "a.weight" has shape (-1, 4).',
	},
	E_OVERFLOW: {
		title: 'Size too large to be exact',
		meaning:
			'The product of the dimensions leaves the exact integers. Readers that compute with 32 or 64 bits would wrap round and read the wrong memory.',
		whatToDo: 'No honest file looks like this. Do not use it.',
		example: 'E_OVERFLOW: shape (4294967296, 4294967296) of "a.weight" is too large.',
	},
	E_OFFSETS: {
		title: 'Impossible data offsets',
		meaning: 'The place of a tensor in the data ends before it begins, lies outside the file, or is no whole number.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_OFFSETS: "a.weight" lies at 128 to 64.',
	},
	E_OVERLAP: {
		title: 'Two tensors share bytes',
		meaning: 'The format forbids tensors that overlap. A file with shared bytes can hide data or make a small file read as a huge one.',
		whatToDo: 'Write the file again with safetensors, which stores shared tensors once each.',
		example: 'E_OVERLAP: "a.weight" and "b.weight" overlap at byte 128.',
	},
	E_HOLE: {
		title: 'Bytes that belong to no tensor',
		meaning: 'Between the tensors there are bytes that no tensor claims. The format forbids it: anything could be hidden there.',
		whatToDo: 'Write the file again with safetensors.',
		example: 'E_HOLE: 16 bytes before "b.weight" belong to no tensor.',
	},
	E_TRAILING: {
		title: 'Bytes after the last tensor',
		meaning: 'The file goes on after its data. It may be two files stuck together, or a second file hidden behind the first (a polyglot).',
		whatToDo: 'Write the file again with safetensors. If you did not expect extra bytes, do not use it.',
		example: 'E_TRAILING: 5 bytes follow the last tensor.',
	},
	E_NAME: {
		title: 'Impossible tensor name',
		meaning: 'A name is too long, or has characters that cannot be carried safely.',
		whatToDo: 'Rename the tensor with the tool that made the file.',
		example: 'E_NAME: a tensor name has 200000 characters.',
	},
	E_NAME_COLLISION: {
		title: 'Two tensors would get one name',
		meaning: 'Different names of the input become the same name in the output, so one tensor would be lost.',
		whatToDo: 'Say which of the two is right, take the other out, and convert again.',
		example: 'E_NAME_COLLISION: "0.up" and "0 up" both become "0.up".',
	},
	E_LIMIT: {
		title: 'A limit is exceeded',
		meaning:
			'The file asks for more memory, depth or work than any honest file needs. The limits are listed in limits.ts with their reasons; they keep hostile files from exhausting your machine.',
		whatToDo: 'If the file is honest, open an issue with its numbers. Otherwise do not use it.',
		example: 'E_LIMIT: the header nests 2000 deep; the limit is 64.',
	},
};
