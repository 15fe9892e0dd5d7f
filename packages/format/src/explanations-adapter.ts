import type { Explanation } from './explanations.js';

/** Faults of what an adapter says. */
export const ADAPTER_EXPLANATIONS: Readonly<
	Record<
		| 'E_LORA_UNPAIRED'
		| 'E_LORA_RANK'
		| 'E_LORA_SHAPE'
		| 'E_LORA_TRANSPOSED'
		| 'E_LORA_ALPHA'
		| 'E_LORA_DTYPE'
		| 'E_LORA_MIXED_LAYOUT'
		| 'E_LORA_DUPLICATE_MODULE'
		| 'E_LORA_MULTIPLE_ADAPTERS'
		| 'E_UNKNOWN_KEY'
		| 'E_UNSUPPORTED_ADAPTER'
		| 'E_MODULE_NOT_IN_BASE'
		| 'E_BASE_MISMATCH'
		| 'E_EMPTY_ADAPTER'
		| 'E_NOT_A_LORA'
		| 'E_NONFINITE'
		| 'E_UNDERFLOW',
		Explanation
	>
> = {
	E_LORA_UNPAIRED: {
		title: 'Half of a pair is missing',
		meaning:
			'A LoRA module needs a down and an up matrix (and LoHa, LoKr and the others their own sets). One of them is not in the file: it was cut, or a converter dropped it. Tools that skip the half they have apply less than was trained, silently.',
		whatToDo: 'Get the complete file. If a converter made it, convert the original again.',
		example: 'E_LORA_UNPAIRED: unet mid_block.attentions.0.proj_in has down but no up.',
	},
	E_LORA_RANK: {
		title: 'Ranks of a pair differ',
		meaning: 'down has shape (rank, in) and up (out, rank); here the two ranks are not the same, so they cannot be multiplied.',
		whatToDo: 'The file was put together from two adapters, or damaged. Get the original.',
		example: 'E_LORA_RANK: "….lora_down.weight" has rank 4 but its up is (320, 8); expected (out, 4).',
	},
	E_LORA_SHAPE: {
		title: 'Shapes of a pair do not fit',
		meaning: 'The factors are no matrices, or have axes that cannot belong to one layer.',
		whatToDo: 'Get the original file.',
		example: 'E_LORA_SHAPE: unet conv_in: down (4) must be a matrix (rank, in) or a convolution.',
	},
	E_LORA_TRANSPOSED: {
		title: 'Both factors are transposed',
		meaning: 'down is (in, rank) and up is (rank, out). MLX and some scripts store them so; the layouts here do not.',
		whatToDo: 'Transpose both in the tool that wrote them, or export from it in a known layout.',
		example: 'E_LORA_TRANSPOSED: down (320, 4) and up (4, 320) are both transposed.',
	},
	E_LORA_ALPHA: {
		title: 'Alpha is no finite number',
		meaning: 'alpha decides the strength. Here it is NaN, infinite, or a tensor of more than one number, so there is no strength to apply.',
		whatToDo: 'The training broke, or the file was edited wrongly. Get another checkpoint of the training.',
		example: 'E_LORA_ALPHA: "….alpha" is NaN; alpha must be a finite number.',
	},
	E_LORA_DTYPE: {
		title: 'A factor is not of a float type',
		meaning: 'A factor holds integers. They may be quantised values, whose scale is not in the file.',
		whatToDo: 'Get the file in fp16, bf16 or fp32.',
		example: 'E_LORA_DTYPE: "….lora_up.weight" is I8; a factor must be a float type.',
	},
	E_LORA_MIXED_LAYOUT: {
		title: 'Two layouts in one file',
		meaning: 'Some names are of one layout and some of another. Most readers take one part and skip the other without a word.',
		whatToDo: 'Split the file, or choose one part with --from and --allow-loss.',
		example: 'E_LORA_MIXED_LAYOUT: 3 names are kohya and 2 are peft.',
	},
	E_LORA_DUPLICATE_MODULE: {
		title: 'One module twice',
		meaning: 'Two sets of factors claim the same module, with different names. Which one counts depends on the reader.',
		whatToDo: 'Take one set out; only you know which.',
		example: 'E_LORA_DUPLICATE_MODULE: "….lora_A.weight" and "….lora_down.weight" are both the down of unet ….',
	},
	E_LORA_MULTIPLE_ADAPTERS: {
		title: 'Several adapters in one file',
		meaning: 'The names carry more than one PEFT adapter name (lora_A.first, lora_A.second).',
		whatToDo: 'Say which one you want.',
		example: 'E_LORA_MULTIPLE_ADAPTERS: the file holds the adapters "style" and "subject".',
	},
	E_UNKNOWN_KEY: {
		title: 'Tensors that no layout knows',
		meaning: 'The file holds tensors whose names no table here can read, and the target would lose them.',
		whatToDo: '"lora inspect" lists them. Pass --allow-loss if you can do without; please open an issue with the names.',
		example: 'E_UNKNOWN_KEY: 2 tensors belong to no module that kohya knows: "extra.weight", "step".',
	},
	E_UNSUPPORTED_ADAPTER: {
		title: 'The target cannot hold this family',
		meaning:
			'The adapter has DoRA, LoHa, LoKr, full differences or the like, and readers of the target layout would ignore or misread them.',
		whatToDo: 'Choose a layout that holds them (kohya holds all LyCORIS families), or pass --allow-loss to leave those modules out.',
		example: 'E_UNSUPPORTED_ADAPTER: diffusers-old cannot hold LoHa (12 modules).',
	},
	E_MODULE_NOT_IN_BASE: {
		title: 'The base has no such module',
		meaning: 'A module of the adapter does not exist in the base given with --base.',
		whatToDo: 'Check that it is the base the adapter was trained on.',
		example: 'E_MODULE_NOT_IN_BASE: the base has no unet down_blocks.3.attentions.0.',
	},
	E_BASE_MISMATCH: {
		title: 'Adapter and base do not fit',
		meaning: 'Widths or names say that the adapter was trained on another base model (SD 1.5, SD 2, SDXL, ...).',
		whatToDo: 'Use the base that "lora inspect" names.',
		example: 'E_BASE_MISMATCH: the adapter is for SDXL (width 2048), the base is SD 1.x (768).',
	},
	E_EMPTY_ADAPTER: {
		title: 'No tensors at all',
		meaning: 'The file is sound, but empty: nothing was saved into it. A known bug of several trainers when no module matched.',
		whatToDo: 'Check the target modules of the training and save again.',
		example: 'E_EMPTY_ADAPTER: lora.safetensors holds no tensors.',
	},
	E_NOT_A_LORA: {
		title: 'Not a LoRA',
		meaning: 'The file is sound but something else: a whole checkpoint, a textual inversion, a ControlNet, a VAE, an IP-Adapter.',
		whatToDo: 'Use it in the slot it is made for. "--to keep" changes the container of any tensor file.',
		example: 'E_NOT_A_LORA: model.safetensors is a whole Stable Diffusion checkpoint, not a LoRA.',
	},
	E_NONFINITE: {
		title: 'NaN or infinite numbers',
		meaning: 'A result would contain NaN or infinity.',
		whatToDo: 'The training broke; use an earlier checkpoint. If fp16 overflowed, use --dtype bf16 or f32.',
		example: 'E_NONFINITE: folding gives 3 infinite numbers in "….lora_up.weight".',
	},
	E_UNDERFLOW: {
		title: 'Numbers would become zero',
		meaning: 'The numbers are too small for the type asked for, so that the adapter would do nothing.',
		whatToDo: 'Use --dtype bf16 or f32, or keep alpha apart (--alpha keep).',
		example: 'E_UNDERFLOW: all numbers of "….lora_down.weight" become 0 in F16.',
	},
};
