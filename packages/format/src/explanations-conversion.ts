import type { Explanation } from './explanations.js';

/** Refusals of a conversion, of input and output. */
export const CONVERSION_EXPLANATIONS: Readonly<
	Record<
		| 'E_AMBIGUOUS'
		| 'E_LOSS'
		| 'E_ALPHA_NO_SLOT'
		| 'E_MODULE_UNRESOLVED'
		| 'E_NEEDS_REPAIR'
		| 'E_MODULE_ORDER'
		| 'E_CONFIG'
		| 'E_OUTPUT_EXISTS'
		| 'E_OUTPUT_IS_INPUT'
		| 'E_NO_SPACE'
		| 'E_INPUT_CHANGED'
		| 'E_HTTP'
		| 'E_HUB'
		| 'E_DEVICE'
		| 'E_USAGE'
		| 'E_INTERRUPTED'
		| 'E_INTERNAL',
		Explanation
	>
> = {
	E_AMBIGUOUS: {
		title: 'Two readings are equally good',
		meaning: 'Nothing in the file decides between two ways of reading it. Guessing would give a file that loads and is wrong.',
		whatToDo: 'The message names both readings and the flag that decides: --from, --order, --base.',
		example: 'E_AMBIGUOUS: list.pt can be read with the class order of diffusers <= 0.14 or >= 0.15; say --order old or --order new.',
	},
	E_LOSS: {
		title: 'Something would be lost',
		meaning: 'The target has no place for a part of the input. Nothing is lost silently: the receipt and the message name it.',
		whatToDo: 'Choose another target, or accept with --allow-loss.',
		example: 'E_LOSS: Converting to diffusers-attn-procs would lose "….ff.net.0.proj.lora.down.weight".',
	},
	E_ALPHA_NO_SLOT: {
		title: 'No place for alpha',
		meaning: 'The target layout cannot say a strength, and the strength is not 1.',
		whatToDo: 'Fold it into the factors: --alpha fold.',
		example: 'lora convert kohya.safetensors lora.pt --to cloneofsimo --alpha fold',
	},
	E_MODULE_UNRESOLVED: {
		title: 'A name cannot be taken apart',
		meaning:
			'kohya replaces the dots of a name by underscores, which cannot be undone without the list of modules. This name is in no table here.',
		whatToDo: 'Give the base: --base DIR_OR_FILE. Please open an issue with the name.',
		example: 'E_MODULE_UNRESOLVED: "lora_unet_new_block_3_proj_x" is in no table.',
	},
	E_NEEDS_REPAIR: {
		title: 'Names were damaged by another tool',
		meaning: 'Prefixes are doubled, or one layout was flattened under the prefix of another. Which name was meant can be told.',
		whatToDo: 'Pass --repair; every repaired name is named in a warning.',
		example: 'E_NEEDS_REPAIR: "lora_unet_lora_unet_…" should be "lora_unet_…"; pass --repair.',
	},
	E_MODULE_ORDER: {
		title: 'The order of a list does not fit',
		meaning:
			'A cloneofsimo list has no names: only order and shapes say which pair belongs to which module. These shapes fit no order known.',
		whatToDo: 'Give the base with --base, the class order with --order.',
		example: 'E_MODULE_ORDER: pair 4 has shape (8, 320), which no module order expects there.',
	},
	E_CONFIG: {
		title: 'The side file cannot be used',
		meaning:
			'adapter_config.json (or lora_adapter_metadata) is no JSON, lacks a field that decides the strength, or names a method that is no LoRA.',
		whatToDo: 'Fetch the side file again; "lora inspect" says which field.',
		example: 'E_CONFIG: adapter_config.json has peft_type "PROMPT_TUNING".',
	},
	E_OUTPUT_EXISTS: {
		title: 'The output exists',
		meaning: 'There is a file where the output should go. It was not touched.',
		whatToDo: 'Choose another name, or pass --force.',
		example: 'E_OUTPUT_EXISTS: out.safetensors exists; pass --force to replace it.',
	},
	E_OUTPUT_IS_INPUT: {
		title: 'Output and input are one file',
		meaning: 'Writing over the file that is being read would destroy it, whatever the flags.',
		whatToDo: 'Choose another name for the output.',
		example: 'E_OUTPUT_IS_INPUT: in.safetensors is the input.',
	},
	E_NO_SPACE: {
		title: 'The disk is full',
		meaning: 'There was not enough room. The old file, if there was one, is whole; no half file is left.',
		whatToDo: 'Make room and run the command again.',
		example: 'E_NO_SPACE: no space left for out.safetensors (151,108,831 bytes).',
	},
	E_INPUT_CHANGED: {
		title: 'The input changed meanwhile',
		meaning: 'Another program changed the input while it was read, so the output would be a mixture.',
		whatToDo: 'Wait until the other program has finished and run the command again.',
		example: 'E_INPUT_CHANGED: in.safetensors changed while it was read; nothing was written.',
	},
	E_HTTP: {
		title: 'The server refused',
		meaning: 'The server did not give the file: wrong address, no rights, no ranges, or no answer.',
		whatToDo: 'Check the address; for private files set HF_TOKEN.',
		example: 'E_HTTP: https://example.org/lora.safetensors answered 404.',
	},
	E_HUB: {
		title: 'The Hub refused',
		meaning: 'The repository, revision or file is not on the Hub, is gated, or the path is ambiguous.',
		whatToDo: 'Check hf://OWNER/REPO[@REVISION]/FILE; for gated repositories accept the terms and set HF_TOKEN.',
		example: 'E_HUB: hf://owner/repo has 3 adapters; name one: …',
	},
	E_DEVICE: {
		title: 'The device or engine does not work here',
		meaning:
			'What was asked to compute is not installed, has no build for this machine, found no graphics card or driver, or was lost while it worked.',
		whatToDo:
			'The message says why. "lora doctor" says which engines and devices work here; without --engine and --device the CPU computes.',
		example: 'E_DEVICE: The device cuda does not work here: no CUDA-capable device is detected. …',
	},
	E_USAGE: {
		title: 'The command was given wrongly',
		meaning: 'An argument is unknown, missing or contradicts another.',
		whatToDo: 'See "lora help COMMAND".',
		example: 'E_USAGE: "koya" is no layout; did you mean "kohya"?',
	},
	E_INTERRUPTED: {
		title: 'Interrupted',
		meaning: 'The command was stopped by a signal. No half file is left.',
		whatToDo: 'Run it again.',
		example: 'E_INTERRUPTED: stopped by SIGINT.',
	},
	E_INTERNAL: {
		title: 'A bug of ours',
		meaning: 'Something happened that should be impossible. Your file may be fine.',
		whatToDo: 'Please open an issue with the command and, if you can, the file.',
		example: 'E_INTERNAL: please report this.',
	},
};
