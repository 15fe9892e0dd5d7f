import type { Explanation } from './explanations.js';

/** Codes of fuse, unfuse, verify, merge, resize and extract. */
export const TRANSFORM_EXPLANATIONS: Readonly<
	Record<
		| 'E_SHARD_MISSING'
		| 'E_SIDECAR'
		| 'E_FUSED_CHANGED'
		| 'E_VERIFY'
		| 'E_RANK'
		| 'W_FILE_LEFT_OUT'
		| 'W_RANK'
		| 'W_TRUNCATED_RANK'
		| 'W_NEEDS_BASE',
		Explanation
	>
> = {
	E_SHARD_MISSING: {
		title: 'A shard of the base is missing',
		meaning: 'The index of a model in several files names a file that is not there, or does not name a tensor that is.',
		whatToDo: 'Fetch the missing file again; the message names it.',
		example: 'E_SHARD_MISSING: "unet/diffusion_pytorch_model-00002-of-00002.safetensors" is named by the index and is not there.',
	},
	E_SIDECAR: {
		title: 'No way back',
		meaning:
			'The small file that fuse --reversible writes is missing, damaged, or cannot be written for this base (only safetensors bases come back bit for bit).',
		whatToDo: 'Pass --sidecar FILE, or fuse again from the original base with --reversible.',
		example: 'E_SIDECAR: "fused.safetensors.unfuse" is not there; pass --sidecar FILE.',
	},
	E_FUSED_CHANGED: {
		title: 'Not the file that was fused',
		meaning: 'The file to unfuse is not the one the sidecar was written for: its SHA-256 is another.',
		whatToDo: 'Give the file that fuse wrote, unchanged.',
		example: 'E_FUSED_CHANGED: "fused.safetensors" has SHA-256 12ab…, the sidecar was written for 9fc0….',
	},
	E_VERIFY: {
		title: 'Not what it should be',
		meaning:
			'The fused file is not base + adapter within one rounding step of its type; the message says how far off, and the likely cause.',
		whatToDo: 'Fuse again with "lora fuse", or read the per-module table for the strength that was really used.',
		example: 'E_VERIFY: 128 of 128 modules have gain 0.25, cosine 1.000: the strength was squared.',
	},
	E_RANK: {
		title: 'The rank does not fit',
		meaning: 'An operation needs a rank that the modules do not have, or a matrix that is small enough to be made.',
		whatToDo: 'Read the message: it names the module, its rank and what is possible.',
		example: 'E_RANK: unet down_blocks.0.attentions.0.proj_in has rank 4; give --rank 4 or less.',
	},
	W_FILE_LEFT_OUT: {
		title: 'A file was left out',
		meaning: 'A folder holds a second copy of weights in another container, which would no longer agree with the result.',
		whatToDo: 'Nothing, or convert it first if you need it.',
		example: 'W_FILE_LEFT_OUT: "unet/diffusion_pytorch_model.bin" is a second copy of the weights and is not written.',
	},
	W_RANK: {
		title: 'A rank you may not expect',
		meaning:
			'An exact merge adds the ranks of what it merges; and resize carries modules that have no rank to lower (full differences, DoRA, norms) as they are.',
		whatToDo:
			'For a merge pass --rank N for the best approximation of that rank, with its error stated; for resize nothing, or look at the report.',
		example: 'W_RANK: ranks add up to 160; pass --rank to have fewer.',
	},
	W_TRUNCATED_RANK: {
		title: 'Something was cut off',
		meaning: 'The result is the best approximation of the rank asked for, not the whole; the error of each module is in the report.',
		whatToDo: 'Give a larger --rank where the error matters.',
		example: 'W_TRUNCATED_RANK: 128 modules cut to rank 16; largest relative error 0.041 (unet mid_block.attentions.0.proj_in).',
	},
	W_NEEDS_BASE: {
		title: 'Not done for want of the base',
		meaning:
			'What these modules add depends on the weights of the base, which were not given: they are compared by their factors, or carried as they are.',
		whatToDo: 'Pass --base.',
		example: 'W_NEEDS_BASE: 16 DoRA modules are compared by their factors alone; pass --base.',
	},
};
