import type { Explanation } from './explanations.js';

/** Warnings of strength, metadata and conversion. */
export const METADATA_WARNING_EXPLANATIONS: Readonly<
	Record<
		| 'W_ALPHA_UNKNOWN'
		| 'W_ALPHA_ZERO'
		| 'W_ALPHA_MISSING'
		| 'W_ALPHA_METADATA_ONLY'
		| 'W_ALPHA_IGNORED'
		| 'W_ALPHA_NOT_READ'
		| 'W_METADATA_CONTRADICTS'
		| 'W_METADATA_PARSE'
		| 'W_METADATA_HASH'
		| 'W_CACHE_DAMAGED'
		| 'W_BASE_CHANGED'
		| 'W_LOSS'
		| 'W_RUNTIMES_DIFFER',
		Explanation
	>
> = {
	W_ALPHA_UNKNOWN: {
		title: 'Nobody says alpha',
		meaning:
			'The layout keeps alpha in a side file or in the header, and it is not there. Every reader then uses strength 1; if the training used another alpha, that strength is lost.',
		whatToDo: 'Put adapter_config.json beside the file, or use another strength by hand.',
		example: 'W_ALPHA_UNKNOWN: alpha lives in adapter_config.json, which is not there; scaling 1 is used.',
	},
	W_ALPHA_ZERO: {
		title: 'Alpha is 0',
		meaning: 'ComfyUI and A1111 then apply nothing; kohya\'s trainer reads 0 as "alpha = rank". The same file has two strengths.',
		whatToDo: 'Write the alpha you mean.',
		example: 'W_ALPHA_ZERO: alpha is 0 in 1 module.',
	},
	W_ALPHA_MISSING: {
		title: 'Some modules have no alpha',
		meaning: 'Where alpha is missing every reader takes alpha = rank, strength 1, while the modules beside it have another strength.',
		whatToDo: 'If that is not meant, the file was put together wrongly.',
		example: 'W_ALPHA_MISSING: 1 of 2 modules have no alpha.',
	},
	W_ALPHA_METADATA_ONLY: {
		title: 'Alpha stands only in the header',
		meaning: 'diffusers reads alpha from lora_adapter_metadata; ComfyUI, A1111, kohya and others do not and apply strength 1.',
		whatToDo: 'Convert for them: lora convert IN OUT --to kohya, or --alpha tensors.',
		example: 'W_ALPHA_METADATA_ONLY: alpha 16 (strength 2) is only in lora_adapter_metadata.',
	},
	W_ALPHA_IGNORED: {
		title: 'Alpha has no effect here',
		meaning: 'The family ignores alpha (LoKr with both factors full, norms, full differences).',
		whatToDo: 'Nothing.',
		example: 'W_ALPHA_IGNORED: LyCORIS ignores alpha of LoKr when both factors are full.',
	},
	W_ALPHA_NOT_READ: {
		title: 'Alpha was not fetched',
		meaning: 'Only the header was read, to save a download; alpha stands in tensors.',
		whatToDo: 'Ask for the values if you need the strength.',
		example: 'W_ALPHA_NOT_READ: alpha of 264 modules was not fetched.',
	},
	W_METADATA_CONTRADICTS: {
		title: 'The header contradicts the tensors',
		meaning: 'The header names a rank, alpha or base that the tensors do not have: it was copied from another file or not updated.',
		whatToDo: 'The tensors count. Correct the entry with "lora meta set".',
		example: 'W_METADATA_CONTRADICTS: "ss_network_dim" says 128, but the tensors have rank 4.',
	},
	W_METADATA_PARSE: {
		title: 'A header entry cannot be read',
		meaning: 'An entry that should be JSON is none. It is carried as it stands.',
		whatToDo: 'Nothing; "lora meta" can remove it.',
		example: 'W_METADATA_PARSE: "ss_tag_frequency" should be JSON.',
	},
	W_METADATA_HASH: {
		title: 'A hash in the header is wrong',
		meaning: 'The file was changed after it was hashed. Sites then do not recognise it, or take it for another.',
		whatToDo: 'Any conversion or "lora meta set" writes the right ones.',
		example: 'W_METADATA_HASH: "sshs_model_hash" is not that of the tensors.',
	},
	W_CACHE_DAMAGED: {
		title: 'A file of the cache is damaged',
		meaning:
			'The cached latents of a picture or states of a text are not what was written: the file is cut short, was changed, or belongs to something else. It is not used.',
		whatToDo: 'Nothing: they are computed again and the file is replaced. If it comes back, look at the disk.',
		example: 'W_CACHE_DAMAGED: "cache/latents/3f/….safetensors" in the cache is damaged and is made anew: …',
	},
	W_BASE_CHANGED: {
		title: 'The base is another',
		meaning: 'PiSSA, OLoRA and the like change the base weights before training: the adapter is no difference to the original base.',
		whatToDo: 'Use it only with the base it was saved with.',
		example: 'W_BASE_CHANGED: init_lora_weights is "pissa".',
	},
	W_LOSS: {
		title: 'Something was lost',
		meaning: '--allow-loss was given, and this is what the target has no place for.',
		whatToDo: 'See the receipt.',
		example: 'W_LOSS: "extra.weight" was left out.',
	},
	W_RUNTIMES_DIFFER: {
		title: 'Runtimes differ in strength',
		meaning:
			'Well-known programs apply different strengths to this very file, because they look for alpha in different places. See docs/alpha.md.',
		whatToDo: 'Convert it so that alpha stands in tensors, which all of them read: --to kohya.',
		example: 'W_RUNTIMES_DIFFER: ComfyUI applies 1 instead of 2 (0.5 times) to all 128 modules.',
	},
};
