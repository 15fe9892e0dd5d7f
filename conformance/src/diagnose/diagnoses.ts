/** One code of the closed list and its sentence (DIAGNOSES.md is made from this). */
const SENTENCES = {
	// alpha, rank, strength: k is what multiplies the delta, s the user's strength
	'alpha-ignored': 'Alpha is not used: every delta is multiplied by the strength alone, k = s, where alpha / rank is due.',
	'alpha-not-divided-by-rank': 'Alpha is not divided by the rank: k = s * alpha.',
	'rank-of-first-module-for-all':
		'One rank is used for all modules: k = s * alpha / (rank of another module); ranks differ by module and come from the tensors.',
	'alpha-of-first-module-for-all': 'One alpha is used for all modules: k = s * (alpha of another module) / rank.',
	'alpha-over-rank-squared': 'alpha / rank is applied twice: k = s * (alpha / rank)^2.',
	'rank-over-alpha': 'The quotient is upside down: k = s * rank / alpha.',
	'user-scale-squared':
		'The strength is applied twice: k = s^2 * alpha / rank, or s |s| * alpha / rank where the sign is kept (on both factors, or on load and on merge).',
	'user-scale-ignored': 'The strength is not applied: k = alpha / rank whatever the user said.',
	'applied-twice': 'The adapter is added twice: k = 2 s * alpha / rank.',
	'sign-flipped': 'The delta is taken away instead of added: k = -s * alpha / rank.',
	rslora: 'rsLoRA is taken where it is not due, or not taken where it is: alpha / sqrt(rank) and alpha / rank are exchanged.',
	'missing-alpha-as-one': 'A file without alpha is read as alpha = 1, k = s / rank; the rule is alpha = rank, k = s.',
	'alpha-zero-as-rank': 'An alpha of 0 is read as "no alpha", k = s; it says that the module does nothing.',
	'scale-tensor-ignored': 'The `.scale` tensor, which goes before alpha, is not used.',
	'component-strength-ignored': 'The strengths of the components (unet, text encoder) are not kept apart.',
	'negative-strength': 'A negative strength is clamped to 0 or made positive.',
	'factor-wrong': 'Every delta is multiplied by the same wrong factor, which no rule of this list explains.',
	// the delta itself
	'up-down-swapped-on-square': 'up and down are exchanged: on square weights the transposed delta is added.',
	'delta-column-major': 'The delta is written in column-major order into a row-major weight.',
	'conv-kernel-flipped': 'The kernels of 3x3 deltas are reversed in both axes (correlation and convolution mixed up).',
	'k-and-v-exchanged': 'to_k gets the delta of to_v and the other way round.',
	'module-order': 'Deltas go to other modules of the same shape: a list without names was taken in the wrong order.',
	'dora-ignored': 'The DoRA magnitude is not used: the plain delta is added.',
	// what is left out
	'text-encoder-dropped': 'The text encoder gets nothing.',
	'unet-dropped': 'The UNet gets nothing.',
	'block-dropped': 'One block of the UNet gets nothing.',
	'mid-block-dropped': 'The middle block of the UNet gets nothing.',
	'conv-ignored': 'Convolutions get nothing: only linear layers are changed.',
	'conv3x3-ignored': '3x3 convolutions get nothing; 1x1 ones do.',
	'to-out-dropped': 'The output projections (to_out.0) of attention get nothing.',
	'cross-attention-only': 'In the UNet only cross-attention (attn2) is changed.',
	'ff-dropped': 'The feed-forward layers (ff, mlp) get nothing.',
	'adapter-not-applied': 'The adapter has no effect at all.',
	'modules-dropped': 'Some modules get nothing, by no rule of this list.',
	// rounding
	'bf16-rounding': 'The numbers are right up to bfloat16: something was rounded to it although another precision was declared.',
	'f16-rounding': 'The numbers are right up to float16: something was rounded to it although another precision was declared.',
	'rounded-too-often': 'The numbers are right, but rounded more often than a merge needs at this precision.',
	// lifecycle
	'unload-by-subtraction': 'Unloading subtracts the delta again: rounding leaves weights that are not the base, bit for bit.',
	'unload-ignored': 'An adapter that was unloaded still acts.',
	'strength-not-updated': 'Setting a strength anew has no effect: the first one stays.',
	'strength-added': 'Setting a strength anew adds to the old one instead of replacing it.',
	'swap-keeps-old': 'After a swap the old adapter still acts beside the new one.',
	'last-adapter-only': 'Of a stack of adapters only the last one acts.',
	'first-adapter-only': 'Of a stack of adapters only the first one acts.',
	'not-restored': 'The weights do not come back bit for bit.',
	'untouched-changed': 'Weights change that no adapter touches.',
	// names, verdicts
	'wrong-module': 'Modules are named that the file does not have.',
	'rank-wrong': 'A rank is not the inner dimension of the tensors.',
	'layout-wrong': 'The layout is taken for another one.',
	'silent-leftovers': 'Names that match nothing are not reported.',
	'tensors-wrong': 'Tensors of the file are lost, invented or changed on reading.',
	accepted: 'A file that must be refused is accepted.',
	refused: 'A sound file is refused.',
	'shape-wrong': 'A tensor has another shape than the weight.',
	'no-answer': 'The answer lacks what was asked, or the file cannot be read.',
	// the program
	'wrote-outside': 'Files outside the case folder were written.',
	'runtime-fault': 'The program crashed, hung, broke the protocol or went over a limit.',
	// outputs and pictures
	picture: 'The latents are right, the picture is not.',
	unexplained: 'It is wrong in a way that no formula of this list reproduces.',
} as const;

/** Codes of diagnoses: a closed list; adding one is a minor version, changing a meaning a major one. */
export type Code = keyof typeof SENTENCES;

export const CODES: readonly Code[] = Object.keys(SENTENCES) as readonly Code[];

export function sentenceOf(code: Code): string {
	return SENTENCES[code];
}

/** What a judge's hint is called in the closed list. */
export function codeOfHint(hint: string | undefined): Code {
	switch (hint) {
		case 'tensors-missing':
		case 'tensors-invented':
		case 'tensor-bytes':
			return 'tensors-wrong';
		case 'weights-missing':
			return 'no-answer';
		default:
			return CODES.find((c) => c === hint) ?? 'unexplained';
	}
}
