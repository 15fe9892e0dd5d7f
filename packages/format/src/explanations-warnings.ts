import type { Explanation } from './explanations.js';

/** Warnings of containers and of what an adapter says. */
export const WARNING_EXPLANATIONS: Readonly<
	Record<
		| 'W_NON_TENSOR'
		| 'W_OPAQUE_GLOBAL'
		| 'W_DUPLICATE_KEY'
		| 'W_TRAILING'
		| 'W_STORAGE_REUSED'
		| 'W_EXTENSION'
		| 'W_UNKNOWN_FIELD'
		| 'W_NAME'
		| 'W_NONFINITE'
		| 'W_UNDERFLOW'
		| 'W_OVERFLOW'
		| 'W_CONV_2D'
		| 'W_MIXED_DTYPE'
		| 'W_MIXED_LAYOUT'
		| 'W_DUPLICATE_MODULE'
		| 'W_DEAD_TENSOR'
		| 'W_UNKNOWN_KEY'
		| 'W_TEXT_ENCODER_ONLY'
		| 'W_EMPTY_ADAPTER'
		| 'W_NOT_A_LORA'
		| 'W_AMBIGUOUS'
		| 'W_SPLIT_QKV'
		| 'W_ZERO_UP'
		| 'W_COMPANION'
		| 'W_EMBEDDING_BESIDE'
		| 'W_MODULE_NOT_IN_BASE'
		| 'W_REPAIRED'
		| 'W_REPAIRABLE'
		| 'W_PROMPT_TRUNCATED'
		| 'W_UNRESOLVED',
		Explanation
	>
> = {
	W_NON_TENSOR: {
		title: 'Values that are no tensors',
		meaning:
			'A torch file also holds numbers, texts or objects. safetensors has no place for them, so they are left out; the tensors are complete.',
		whatToDo: 'Nothing, unless you need the values: then keep the original.',
		example: 'W_NON_TENSOR: "epoch" (int 17) is no tensor and is left out.',
	},
	W_OPAQUE_GLOBAL: {
		title: 'An object of an unknown class',
		meaning: 'The pickle holds an object of a class that is not needed for tensors. It was not built and its code was not run.',
		whatToDo: 'Nothing, if you trust the file. Otherwise get it as .safetensors.',
		example: 'W_OPAQUE_GLOBAL: "callbacks" holds pytorch_lightning.callbacks.ModelCheckpoint, which was not built.',
	},
	W_DUPLICATE_KEY: {
		title: 'A name occurs twice',
		meaning: 'A name stands twice with the same place, so that all readers agree on the value.',
		whatToDo: 'Write the file again to be rid of it.',
		example: 'W_DUPLICATE_KEY: "a" occurs twice with the same bytes.',
	},
	W_TRAILING: {
		title: 'Bytes after the end',
		meaning: 'There are bytes after the data that nobody reads.',
		whatToDo: 'Write the file again to be rid of them.',
		example: 'W_TRAILING: 12 bytes follow the archive.',
	},
	W_STORAGE_REUSED: {
		title: 'Tensors share storage',
		meaning: 'Two tensors of a torch file are views of one storage. They are written apart, so the output may be larger.',
		whatToDo: 'Nothing.',
		example: 'W_STORAGE_REUSED: "a" and "b" share storage 0.',
	},
	W_EXTENSION: {
		title: 'The ending is misleading',
		meaning: 'The file is readable, but its name promises another container.',
		whatToDo: 'Rename it, because other programs go by the name.',
		example: 'W_EXTENSION: lora.pt is a safetensors file.',
	},
	W_UNKNOWN_FIELD: {
		title: 'Unknown field in the header',
		meaning: 'An entry has a field that the format does not define. It is ignored, as the official reader does.',
		whatToDo: 'Nothing.',
		example: 'W_UNKNOWN_FIELD: "a.weight" has a field "comment".',
	},
	W_NAME: {
		title: 'A strange tensor name',
		meaning: 'A name has control characters or the like. It is shown escaped and carried as it is.',
		whatToDo: 'Be careful with tools that print names.',
		example: 'W_NAME: a name has the control character \\u001b.',
	},
	W_NONFINITE: {
		title: 'NaN or infinite numbers',
		meaning: 'Some numbers are NaN or infinite. One NaN is enough to make a picture black.',
		whatToDo: 'Use an earlier checkpoint of the training.',
		example: 'W_NONFINITE: 1 NaN and 0 infinite numbers in 1 tensor.',
	},
	W_UNDERFLOW: {
		title: 'Numbers became zero',
		meaning: 'A cast to a smaller type made numbers zero. The count says how many.',
		whatToDo: 'Use --dtype bf16 or f32 if they are many.',
		example: 'W_UNDERFLOW: 1280 of 1280 numbers of "….lora_up.weight" became 0 in F16.',
	},
	W_OVERFLOW: {
		title: 'Numbers became infinite',
		meaning: 'A cast to a smaller type made numbers infinite.',
		whatToDo: 'Use --dtype bf16 or f32.',
		example: 'W_OVERFLOW: 2 numbers became infinite in F16.',
	},
	W_CONV_2D: {
		title: 'A convolution stored as a matrix',
		meaning: 'The factor of a convolution is flattened to two axes. It is read by its number of elements; some readers cannot.',
		whatToDo: 'Nothing; a conversion writes the four axes where the layout wants them.',
		example: 'W_CONV_2D: "….lora_down.weight" is (2, 36) for a 3 x 3 convolution.',
	},
	W_MIXED_DTYPE: {
		title: 'Two number types in one module',
		meaning: 'down and up have different types. Readers convert, but the file is larger than it need be.',
		whatToDo: '--dtype makes them alike.',
		example: 'W_MIXED_DTYPE: unet … mixes dtypes: F16 and F32.',
	},
	W_MIXED_LAYOUT: {
		title: 'Names of two layouts',
		meaning: 'Some names are of another layout; they were understood all the same.',
		whatToDo: 'Convert once to have one layout.',
		example: 'W_MIXED_LAYOUT: 4 of 128 modules have diffusers names under the kohya prefix.',
	},
	W_DUPLICATE_MODULE: {
		title: 'One module twice, equal',
		meaning: 'The same module stands twice with the same bytes; one is used.',
		whatToDo: 'Nothing.',
		example: 'W_DUPLICATE_MODULE: unet … stands in sgm and in diffusers names.',
	},
	W_DEAD_TENSOR: {
		title: 'Tensors without effect',
		meaning: 'diffusers 0.17 saved four LoRAs for each text encoder projection, of which only one was ever used. The others do nothing.',
		whatToDo: 'Nothing; conversions leave them out and the receipt names them.',
		example: 'W_DEAD_TENSOR: 144 tensors have no effect in any reader.',
	},
	W_UNKNOWN_KEY: {
		title: 'A tensor that no layout knows',
		meaning: 'A tensor belongs to no module that the tables know. Readers will skip it.',
		whatToDo: 'See "lora inspect"; conversions refuse to lose it without --allow-loss.',
		example: 'W_UNKNOWN_KEY: Tensor "extra.weight" belongs to no module known here.',
	},
	W_TEXT_ENCODER_ONLY: {
		title: 'Only the text encoder',
		meaning: 'All modules are of the text encoder. Loaders that skip text encoders apply nothing.',
		whatToDo: 'In ComfyUI use the loader that has a CLIP input.',
		example: 'W_TEXT_ENCODER_ONLY: Only text encoder modules.',
	},
	W_EMPTY_ADAPTER: {
		title: 'Nothing to apply',
		meaning: 'The adapter has no modules.',
		whatToDo: 'Check the target modules of the training.',
		example: 'W_EMPTY_ADAPTER: the adapter has no modules.',
	},
	W_NOT_A_LORA: {
		title: 'Not a LoRA',
		meaning: 'The file is something else; it was only looked at, or only its container changed.',
		whatToDo: 'Use it in the slot it is made for.',
		example: 'W_NOT_A_LORA: this is a textual inversion.',
	},
	W_AMBIGUOUS: {
		title: 'Another reading is possible',
		meaning: 'One reading was taken because a flag or the header said so; the names alone would allow another.',
		whatToDo: 'Check the pictures; give --from or --order to be sure.',
		example: 'W_AMBIGUOUS: read with the class order of diffusers >= 0.15, as --order says.',
	},
	W_SPLIT_QKV: {
		title: 'Trained as separate parts',
		meaning:
			'sd-scripts trained q, k and v apart and saved them as one module, but left alpha as it was. Every reader applies it three or four times weaker than in training (sd-scripts #2204).',
		whatToDo: 'Use three (four) times the strength, or nothing, if you are used to it.',
		example: 'W_SPLIT_QKV: 19 fused projections were trained as 3 separate parts.',
	},
	W_ZERO_UP: {
		title: 'Modules that do nothing',
		meaning:
			'The up matrix is all zero, so the module adds nothing. In files of cloneofsimo/lora from before 2022-12-24 that is so for every to_out.',
		whatToDo: 'Nothing, if only some; if all, the training did not run.',
		example: 'W_ZERO_UP: up is all zero in 32 of 128 modules.',
	},
	W_COMPANION: {
		title: 'A companion file was taken',
		meaning: 'A file beside the input belongs to it (text encoder, embeddings, adapter_config.json) and was read too.',
		whatToDo: 'Nothing; --text-encoder none or --embeddings none leaves it out.',
		example: 'W_COMPANION: lora.text_encoder.pt beside the input is used.',
	},
	W_EMBEDDING_BESIDE: {
		title: 'Embeddings written beside',
		meaning:
			'The target has no place for learned embeddings; they went to files beside the output, in the form of textual-inversion loaders.',
		whatToDo: 'Load them too: without them the trigger word does nothing.',
		example: 'W_EMBEDDING_BESIDE: "<s1>" goes to out_emb.safetensors.',
	},
	W_MODULE_NOT_IN_BASE: {
		title: 'The base lacks a module',
		meaning: 'A module is not in the base given. It will be skipped.',
		whatToDo: 'Check that it is the right base.',
		example: 'W_MODULE_NOT_IN_BASE: the base has no unet ….',
	},
	W_REPAIRED: {
		title: 'Names were repaired',
		meaning: 'Damaged names were read as what they were meant to be, because --repair was given.',
		whatToDo: 'Check the first of them.',
		example: 'W_REPAIRED: 256 names repaired (doubled prefix).',
	},
	W_REPAIRABLE: {
		title: 'Names could be repaired',
		meaning: 'Some names were damaged by another tool and could be repaired.',
		whatToDo: 'Pass --repair.',
		example: 'W_REPAIRABLE: 4 names have a doubled prefix.',
	},
	W_PROMPT_TRUNCATED: {
		title: 'The end of a prompt has no effect',
		meaning: 'The text encoder reads 77 tokens, start and end included; what stands behind them was cut off, as diffusers does.',
		whatToDo: 'Shorten the prompt, or pass --weighting a1111, which reads prompts of any length in pieces.',
		example: 'W_PROMPT_TRUNCATED: The text encoder reads 77 tokens, so this end of a prompt has no effect: ….',
	},
	W_UNRESOLVED: {
		title: 'Names not taken apart',
		meaning: 'Flattened names are in no table here. They are carried as they are, and cannot be renamed for layouts with dots.',
		whatToDo: 'Give --base, or open an issue with the names.',
		example: 'W_UNRESOLVED: 12 modules keep their flattened names.',
	},
};
