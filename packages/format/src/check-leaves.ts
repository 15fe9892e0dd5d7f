import type { Family, Role } from './adapter.js';
import type { CheckTarget } from './check-names.js';
import { splitLeaf } from './layouts/leaves.js';

/** A file's tensor name as a reader takes it apart. */
export interface FileKey {
	readonly module: string;
	readonly suffix: string;
	/** Name of the PEFT adapter inside the leaf (`lora_A.default.weight`). */
	readonly adapterName: string | undefined;
}

/** Module and leaf of a tensor name; undefined for positional and unknown names. */
export function fileKey(name: string): FileKey | undefined {
	const split = splitLeaf(name);
	if (split !== undefined) return { module: split.module, suffix: split.leaf.suffix, adapterName: undefined };
	const parts = name.split('.');
	const [side, adapterName, weight] = parts.slice(-3);
	if (parts.length > 3 && weight === 'weight' && adapterName !== undefined && (side === 'lora_A' || side === 'lora_B')) {
		return { module: parts.slice(0, -3).join('.'), suffix: `.${side}.weight`, adapterName };
	}
	// IA3's `.weight` of LyCORIS and whole weights: one leaf part.
	if (parts.length > 1 && (weight === 'weight' || weight === 'bias'))
		return { module: parts.slice(0, -1).join('.'), suffix: `.${weight}`, adapterName: undefined };
	return undefined;
}

const LORA_LEAVES: readonly string[] = ['.lora_down.weight', '.lora_up.weight'];
const LYCORIS_LEAVES: readonly string[] = [
	'.hada_w1_a',
	'.hada_w1_b',
	'.hada_w2_a',
	'.hada_w2_b',
	'.hada_t1',
	'.hada_t2',
	'.lokr_w1',
	'.lokr_w1_a',
	'.lokr_w1_b',
	'.lokr_w2',
	'.lokr_w2_a',
	'.lokr_w2_b',
	'.lokr_t2',
	'.a1.weight',
	'.a2.weight',
	'.b1.weight',
	'.b2.weight',
	'.oft_blocks',
	'.rescale',
	'.w_norm',
	'.b_norm',
	'.diff',
	'.diff_b',
];

/** Leaves that a reader reads, whatever the module. Sources as in `acceptedNames`, and comfy/weight_adapter/*.py. */
const LEAVES: Readonly<Record<CheckTarget, ReadonlySet<string>>> = {
	comfyui: new Set([
		...LORA_LEAVES,
		...LYCORIS_LEAVES,
		'.lora_mid.weight',
		'.alpha',
		'.dora_scale',
		'.set_weight',
		'.reshape_weight',
		'.lora_A.weight',
		'.lora_B.weight',
		'.lora.down.weight',
		'.lora.up.weight',
		'.lora_linear_layer.down.weight',
		'.lora_linear_layer.up.weight',
		'_lora.down.weight',
		'_lora.up.weight',
	]),
	a1111: new Set([
		...LORA_LEAVES,
		...LYCORIS_LEAVES,
		'.lora_mid.weight',
		'.alpha',
		'.scale',
		'.dora_scale',
		'.oft_diag',
		'.on_input',
		'.weight',
		'.bias_indices',
		'.bias_values',
		'.bias_size',
	]),
	diffusers: new Set([
		...LORA_LEAVES,
		'.alpha',
		'.lora_A.weight',
		'.lora_B.weight',
		'.lora_B.bias',
		'.lora_magnitude_vector',
		'.lora_magnitude_vector.weight',
		'.lora.down.weight',
		'.lora.up.weight',
		'.lora_linear_layer.down.weight',
		'.lora_linear_layer.up.weight',
		'_lora.down.weight',
		'_lora.up.weight',
	]),
	peft: new Set([
		'.lora_A.weight',
		'.lora_B.weight',
		'.lora_B.bias',
		'.lora_magnitude_vector',
		'.lora_embedding_A',
		'.lora_embedding_B',
		'.hada_w1_a',
		'.hada_w1_b',
		'.hada_w2_a',
		'.hada_w2_b',
		'.hada_t1',
		'.hada_t2',
		'.lokr_w1',
		'.lokr_w1_a',
		'.lokr_w1_b',
		'.lokr_w2',
		'.lokr_w2_a',
		'.lokr_w2_b',
		'.lokr_t2',
		'.oft_R.weight',
		'.boft_R',
		'.boft_s',
		'.ia3_l',
		'.weight',
		'.bias',
	]),
	kohya: new Set([...LORA_LEAVES, '.alpha']),
};

/** Whether a reader reads this leaf at all. */
export function readsLeaf(target: CheckTarget, suffix: string): boolean {
	return LEAVES[target].has(suffix);
}

/** Factors without which a module means something else, but is still loaded: their loss is "partly", not "not at all". */
const BESIDE: ReadonlySet<Role> = new Set<Role>([
	'magnitude',
	'up_bias',
	'bias_indices',
	'bias_values',
	'bias_size',
	'diff_b',
	'b_norm',
	'rescale',
	'reshape_weight',
	'boft_s',
]);

/** True for a factor that stands beside the family's own. */
export function isBeside(role: Role, family: Family): boolean {
	return BESIDE.has(role) && !(family === 'full' && role === 'diff_b') && !(family === 'norm' && role === 'b_norm');
}

/** Name of a leaf's style for a role in the layout that a reader prefers: used to show nearest names. */
export function preferredLeaf(target: CheckTarget, suffix: string): string {
	const kohya = new Map([
		['.lora_A.weight', '.lora_down.weight'],
		['.lora_B.weight', '.lora_up.weight'],
		['.lora.down.weight', '.lora_down.weight'],
		['.lora.up.weight', '.lora_up.weight'],
		['.lora_linear_layer.down.weight', '.lora_down.weight'],
		['.lora_linear_layer.up.weight', '.lora_up.weight'],
		['_lora.down.weight', '.lora_down.weight'],
		['_lora.up.weight', '.lora_up.weight'],
		['.lora_magnitude_vector', '.dora_scale'],
	]);
	const flat = kohya.get(suffix) ?? suffix;
	if (target !== 'diffusers' && target !== 'peft') return flat;
	return flat === '.lora_down.weight'
		? '.lora_A.weight'
		: flat === '.lora_up.weight'
			? '.lora_B.weight'
			: flat === '.dora_scale'
				? '.lora_magnitude_vector'
				: flat;
}
