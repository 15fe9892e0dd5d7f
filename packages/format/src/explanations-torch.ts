import type { Explanation } from './explanations.js';

/** Faults of .pt, .bin and .ckpt files: pickles and zip archives. */
export const TORCH_EXPLANATIONS: Readonly<
	Record<
		| 'E_PICKLE_GLOBAL'
		| 'E_PICKLE_OPCODE'
		| 'E_PICKLE_CORRUPT'
		| 'E_PICKLE_PERSID'
		| 'E_PICKLE_TENSOR'
		| 'E_PICKLE_CYCLE'
		| 'E_UNSUPPORTED_TENSOR'
		| 'E_UNSUPPORTED_DTYPE'
		| 'E_NO_TENSORS'
		| 'E_BYTEORDER'
		| 'E_ZIP'
		| 'E_ZIP_MISMATCH'
		| 'E_ZIP_CRC'
		| 'E_ZIP_ENCRYPTED'
		| 'E_ZIP_NAME'
		| 'E_ZIP_DUPLICATE'
		| 'E_ZIP_AMBIGUOUS'
		| 'E_ZIP_MISSING'
		| 'E_ZIP_METHOD',
		Explanation
	>
> = {
	E_PICKLE_GLOBAL: {
		title: 'The file wants to run code',
		meaning:
			'A .pt file is a Python pickle, which can call any function while it is loaded. This one names a function that no weight file needs. lora executes nothing from a file; Python would have run it.',
		whatToDo: 'Do not load the file with Python. Get the weights as .safetensors from its author.',
		example: 'E_PICKLE_GLOBAL: data.pkl asks for "os.system"; nothing was executed.',
	},
	E_PICKLE_OPCODE: {
		title: 'Unknown or forbidden pickle instruction',
		meaning:
			'The pickle uses an instruction that weight files do not use (extension registry, instances of arbitrary classes) or that does not exist.',
		whatToDo: 'Do not load the file with Python. Save the weights again with torch.save of plain tensors, or as .safetensors.',
		example: 'E_PICKLE_OPCODE: opcode 0x82 (EXT1) at byte 17 is not allowed.',
	},
	E_PICKLE_CORRUPT: {
		title: 'Damaged pickle',
		meaning: 'The pickle stops in the middle, takes from an empty stack, or refers to something that was never stored.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_PICKLE_CORRUPT: the pickle ends without STOP.',
	},
	E_PICKLE_PERSID: {
		title: 'Damaged storage reference',
		meaning: 'A tensor points to its bytes with a reference that has the wrong form.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_PICKLE_PERSID: a storage reference has 3 items; expected 5.',
	},
	E_PICKLE_TENSOR: {
		title: 'Impossible tensor',
		meaning: 'A tensor of the pickle reaches outside its storage, or its sizes and strides do not fit each other.',
		whatToDo: 'The file is damaged or hostile. Do not use it.',
		example: 'E_PICKLE_TENSOR: "0" needs elements up to 1024, but its storage has 512.',
	},
	E_PICKLE_CYCLE: {
		title: 'The object contains itself',
		meaning: 'A list or dict of the pickle contains itself, so walking through it would never end.',
		whatToDo: 'No weight file needs this. Do not use it.',
		example: 'E_PICKLE_CYCLE: the top list contains itself.',
	},
	E_UNSUPPORTED_TENSOR: {
		title: 'A kind of tensor we do not read',
		meaning: 'Sparse, quantised, nested or data-less (meta) tensors have no plain block of numbers.',
		whatToDo: 'Make them dense in Python (t.to_dense(), t.dequantize()) and save again.',
		example: 'E_UNSUPPORTED_TENSOR: "w" is a sparse tensor.',
	},
	E_UNSUPPORTED_DTYPE: {
		title: 'A type of numbers we do not read',
		meaning: 'The tensor has a type that safetensors has no name for, such as a quantised integer.',
		whatToDo: 'Convert it in Python (t.to(torch.float16)) and save again.',
		example: 'E_UNSUPPORTED_DTYPE: "w" is of type QInt8.',
	},
	E_NO_TENSORS: {
		title: 'No tensors in the file',
		meaning: 'The file is a sound pickle, but there is not one tensor in it. It may be a training state or a configuration.',
		whatToDo: 'Look for the file with the weights beside it (pytorch_lora_weights, adapter_model).',
		example: 'E_NO_TENSORS: state.pt holds a dict of 3 numbers and no tensor.',
	},
	E_BYTEORDER: {
		title: 'Big-endian numbers',
		meaning: 'The file was saved on a big-endian machine. Its numbers would have to be turned round.',
		whatToDo: 'Load and save it again in Python on an ordinary machine.',
		example: 'E_BYTEORDER: the archive says byteorder "big".',
	},
	E_ZIP: {
		title: 'Damaged zip archive',
		meaning: 'A .pt file is a zip archive. The directory of this one cannot be read or points outside the file.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_ZIP: no end of central directory; the file is cut short or no zip archive.',
	},
	E_ZIP_MISMATCH: {
		title: 'Zip directory and entries disagree',
		meaning:
			'The name, place or size of an entry in the directory is not that at the entry itself. Programs that look at one see another file than those that look at the other.',
		whatToDo: 'Do not use the file.',
		example: 'E_ZIP_MISMATCH: "archive/data.pkl" is called "archive/data.pk1" at its own place.',
	},
	E_ZIP_CRC: {
		title: 'Checksum is wrong',
		meaning: 'The bytes of an entry are not those that were written.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_ZIP_CRC: "archive/data/0" has CRC 1a2b3c4d; the directory says 5e6f7a8b.',
	},
	E_ZIP_ENCRYPTED: {
		title: 'Encrypted archive',
		meaning: 'An entry of the archive is encrypted.',
		whatToDo: 'Unpack it with its password and pack it again without.',
		example: 'E_ZIP_ENCRYPTED: "archive/data.pkl" is encrypted.',
	},
	E_ZIP_NAME: {
		title: 'Dangerous entry name',
		meaning:
			'An entry has a name with "..", an absolute path, a NUL or a backslash, which would be written outside its folder by careless programs.',
		whatToDo: 'Do not use the file.',
		example: 'E_ZIP_NAME: "../../etc/passwd" is no name of a weight archive.',
	},
	E_ZIP_DUPLICATE: {
		title: 'Two entries of one name',
		meaning: 'Two entries of the archive have the same name, so that programs differ in which one they read.',
		whatToDo: 'Do not use the file.',
		example: 'E_ZIP_DUPLICATE: "archive/data.pkl" occurs twice.',
	},
	E_ZIP_AMBIGUOUS: {
		title: 'More than one reading of the archive',
		meaning: 'There are two directories, two data.pkl, or bytes before the archive: what the file says depends on the program.',
		whatToDo: 'Do not use the file unless you know why. Save the weights again.',
		example: 'E_ZIP_AMBIGUOUS: the archive has two files data.pkl.',
	},
	E_ZIP_MISSING: {
		title: 'Entry is missing',
		meaning: 'The pickle refers to a storage that is not in the archive.',
		whatToDo: 'Fetch the file again and compare its size and SHA-256 with those on the site it came from.',
		example: 'E_ZIP_MISSING: storage "archive/data/3" is not in the archive.',
	},
	E_ZIP_METHOD: {
		title: 'Unknown compression',
		meaning: 'An entry is compressed with a method that torch does not use.',
		whatToDo: 'Pack the archive again without compression, or save the weights again.',
		example: 'E_ZIP_METHOD: "archive/data/0" uses method 12 (bzip2).',
	},
};
