import type { Role } from '../adapter.js';

/** What the end of a tensor name says: a factor, or one of the two scalars beside factors. */
export type LeafRole = Role | 'alpha' | 'scale';

/** How a leaf is spelled: decides which layouts may claim it. */
export type LeafStyle =
	/** lora_down / lora_up / alpha and everything of LyCORIS */
	| 'kohya'
	/** lora_A / lora_B and everything of PEFT */
	| 'peft'
	/** .lora.down / .lora.up of diffusers 0.20 and later */
	| 'diffusers'
	/** .lora_linear_layer.down / .up: text encoders of diffusers 0.17 and later */
	| 'linear-layer'
	/** _lora.down / _lora.up behind `processor.`: attention processors of diffusers 0.12 to 0.19 */
	| 'processor'
	/** ai-toolkit's `.magnitude` */
	| 'ai-toolkit'
	/** leaves that stand in more than one style */
	| 'any';

export interface Leaf {
	/** Everything after the module name, with its leading dot or underscore. */
	readonly suffix: string;
	readonly role: LeafRole;
	readonly style: LeafStyle;
}

/**
 * Leaf names of the field. Sources: kohya-ss/sd-scripts@48d368f networks/lora.py; KohakuBlueleaf/LyCORIS@f49d30d
 * lycoris/modules; huggingface/peft@5d602fd tuners; huggingface/diffusers@58eb52c utils/state_dict_utils.py;
 * ostris/ai-toolkit@27a03a9 toolkit/network_mixins.py; comfy/weight_adapter.
 */
export const LEAVES: readonly Leaf[] = [
	{ suffix: '.lora_down.weight', role: 'down', style: 'kohya' },
	{ suffix: '.lora_up.weight', role: 'up', style: 'kohya' },
	{ suffix: '.lora_mid.weight', role: 'mid', style: 'kohya' },
	{ suffix: '.alpha', role: 'alpha', style: 'any' },
	{ suffix: '.scale', role: 'scale', style: 'kohya' },
	{ suffix: '.dora_scale', role: 'magnitude', style: 'kohya' },
	{ suffix: '.lora_A.weight', role: 'down', style: 'peft' },
	{ suffix: '.lora_B.weight', role: 'up', style: 'peft' },
	{ suffix: '.lora_B.bias', role: 'up_bias', style: 'peft' },
	{ suffix: '.lora_A', role: 'down', style: 'peft' },
	{ suffix: '.lora_B', role: 'up', style: 'peft' },
	{ suffix: '.lora_magnitude_vector', role: 'magnitude', style: 'peft' },
	{ suffix: '.lora_magnitude_vector.weight', role: 'magnitude', style: 'peft' },
	{ suffix: '.lora_embedding_A', role: 'embedding_down', style: 'peft' },
	{ suffix: '.lora_embedding_B', role: 'embedding_up', style: 'peft' },
	{ suffix: '.lora.down.weight', role: 'down', style: 'diffusers' },
	{ suffix: '.lora.up.weight', role: 'up', style: 'diffusers' },
	{ suffix: '.lora_linear_layer.down.weight', role: 'down', style: 'linear-layer' },
	{ suffix: '.lora_linear_layer.up.weight', role: 'up', style: 'linear-layer' },
	{ suffix: '_lora.down.weight', role: 'down', style: 'processor' },
	{ suffix: '_lora.up.weight', role: 'up', style: 'processor' },
	{ suffix: '.magnitude', role: 'magnitude', style: 'ai-toolkit' },
	{ suffix: '.hada_w1_a', role: 'hada_w1_a', style: 'any' },
	{ suffix: '.hada_w1_b', role: 'hada_w1_b', style: 'any' },
	{ suffix: '.hada_w2_a', role: 'hada_w2_a', style: 'any' },
	{ suffix: '.hada_w2_b', role: 'hada_w2_b', style: 'any' },
	{ suffix: '.hada_t1', role: 'hada_t1', style: 'any' },
	{ suffix: '.hada_t2', role: 'hada_t2', style: 'any' },
	{ suffix: '.lokr_w1', role: 'lokr_w1', style: 'any' },
	{ suffix: '.lokr_w1_a', role: 'lokr_w1_a', style: 'any' },
	{ suffix: '.lokr_w1_b', role: 'lokr_w1_b', style: 'any' },
	{ suffix: '.lokr_w2', role: 'lokr_w2', style: 'any' },
	{ suffix: '.lokr_w2_a', role: 'lokr_w2_a', style: 'any' },
	{ suffix: '.lokr_w2_b', role: 'lokr_w2_b', style: 'any' },
	{ suffix: '.lokr_t1', role: 'lokr_t1', style: 'any' },
	{ suffix: '.lokr_t2', role: 'lokr_t2', style: 'any' },
	{ suffix: '.diff', role: 'diff', style: 'kohya' },
	{ suffix: '.diff_b', role: 'diff_b', style: 'kohya' },
	{ suffix: '.diff_m', role: 'diff_m', style: 'kohya' },
	{ suffix: '.w_norm', role: 'w_norm', style: 'kohya' },
	{ suffix: '.b_norm', role: 'b_norm', style: 'kohya' },
	{ suffix: '.on_input', role: 'on_input', style: 'kohya' },
	{ suffix: '.ia3_l', role: 'ia3_l', style: 'peft' },
	{ suffix: '.oft_blocks', role: 'oft_blocks', style: 'kohya' },
	{ suffix: '.oft_diag', role: 'oft_diag', style: 'kohya' },
	{ suffix: '.rescale', role: 'rescale', style: 'kohya' },
	{ suffix: '.oft_R.weight', role: 'oft_R', style: 'peft' },
	{ suffix: '.boft_R', role: 'boft_R', style: 'peft' },
	{ suffix: '.boft_s', role: 'boft_s', style: 'peft' },
	{ suffix: '.a1.weight', role: 'glora_a1', style: 'kohya' },
	{ suffix: '.a2.weight', role: 'glora_a2', style: 'kohya' },
	{ suffix: '.b1.weight', role: 'glora_b1', style: 'kohya' },
	{ suffix: '.b2.weight', role: 'glora_b2', style: 'kohya' },
	{ suffix: '.bm.weight', role: 'glora_bm', style: 'kohya' },
	{ suffix: '.bias_indices', role: 'bias_indices', style: 'kohya' },
	{ suffix: '.bias_values', role: 'bias_values', style: 'kohya' },
	{ suffix: '.bias_size', role: 'bias_size', style: 'kohya' },
	{ suffix: '.bias', role: 'bias_dense', style: 'kohya' },
	{ suffix: '.set_weight', role: 'set_weight', style: 'kohya' },
	{ suffix: '.reshape_weight', role: 'reshape_weight', style: 'kohya' },
];

const BY_SUFFIX: ReadonlyMap<string, Leaf> = new Map(LEAVES.map((leaf) => [leaf.suffix, leaf]));

/** A name taken apart into module and leaf. */
export interface SplitKey {
	readonly module: string;
	readonly leaf: Leaf;
}

/**
 * Split a dotted name at its leaf: the longest known suffix wins (`.lora.down.weight` before `.weight`).
 * Undefined when no known leaf ends it. Names of PEFT adapters in the leaf (`lora_A.default.weight`) are not
 * known here: the peft layout takes them out first.
 */
export function splitLeaf(key: string): SplitKey | undefined {
	const last = key.lastIndexOf('.');
	if (last <= 0) return undefined;
	// Only leaves that end in a weight or a bias have more than one part.
	const tail = key.slice(last);
	if (tail !== '.weight' && tail !== '.bias') return cutAt(key, last, BY_SUFFIX.get(tail));
	const second = key.lastIndexOf('.', last - 1);
	if (second <= 0) return undefined;
	const two = key.slice(second);
	if (two !== '.down.weight' && two !== '.up.weight') return cutAt(key, second, BY_SUFFIX.get(two));
	const third = key.lastIndexOf('.', second - 1);
	const leaf = third <= 0 ? undefined : BY_SUFFIX.get(key.slice(third));
	if (leaf !== undefined) return cutAt(key, third, leaf);
	// `…to_q_lora.down.weight`: the leaf begins inside a part.
	const inside = second - '_lora'.length;
	return inside > 0 && key.startsWith('_lora', inside) ? cutAt(key, inside, BY_SUFFIX.get(key.slice(inside))) : undefined;
}

function cutAt(key: string, at: number, leaf: Leaf | undefined): SplitKey | undefined {
	return leaf === undefined ? undefined : { module: key.slice(0, at), leaf };
}

/** True for `.lora_A` and `.lora_B` without `.weight`: bare parameters, as Mochi's trainer saves them (LAYOUTS.md §2.20). */
export function isBareLeaf(leaf: Leaf): boolean {
	return leaf.suffix === '.lora_A' || leaf.suffix === '.lora_B';
}

/** The suffix a style uses for a role, or undefined when the style has no such leaf. `any` leaves belong to every style. */
export function leafSuffix(role: LeafRole, style: 'kohya' | 'peft' | 'diffusers' | 'linear-layer' | 'processor'): string | undefined {
	for (const leaf of LEAVES) if (leaf.role === role && (leaf.style === style || leaf.style === 'any')) return leaf.suffix;
	return undefined;
}
