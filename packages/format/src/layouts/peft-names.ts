import type { Role } from '../adapter.js';
import { isBareLeaf, type LeafRole, leafSuffix } from './leaves.js';
import { nameLeaf, splitNamedLeaf } from './peft-leaf.js';

/** Where PEFT puts the model it wraps. */
export const PEFT_PREFIX: string = 'base_model.model.';

const PREFIX = /^(?:([a-z][a-z0-9_]*)\.)?base_model\.model\./;

/** One tensor name of a PEFT file, understood. */
export interface PeftKey {
	/** `base_model.model.`, with a component in front where a pipeline's tool put one, or ''. */
	readonly prefix: string;
	/** The component in front. */
	readonly component: string | undefined;
	readonly path: string;
	readonly role: LeafRole;
	readonly suffix: string;
	readonly adapterName: string | undefined;
}

/** Take a name apart. Names without PEFT's prefix are understood as far as their leaves go. */
export function parsePeftKey(key: string): PeftKey | undefined {
	const found = key.includes(PEFT_PREFIX) ? PREFIX.exec(key) : null;
	const prefix = found?.[0] ?? '';
	const rest = key.slice(prefix.length);
	const common = { prefix, component: found?.[1] };
	const split = splitNamedLeaf(rest);
	if (split !== undefined && !isBareLeaf(split.leaf) && (split.leaf.style === 'peft' || split.leaf.style === 'any')) {
		return { ...common, path: split.module, role: split.leaf.role, suffix: split.leaf.suffix, adapterName: split.adapterName };
	}
	return prefix === '' ? undefined : wholeKey(rest, common);
}

/**
 * `modules_to_save` and `bias="all"`: whole tensors, not differences. `X.base_layer.bias` keeps `base_layer` in its
 * path: that is the module's name inside the wrapped model, apart from the adapted module X.
 */
function wholeKey(rest: string, common: Pick<PeftKey, 'prefix' | 'component'>): PeftKey | undefined {
	const found = /^(.+?)(?:\.modules_to_save\.([^.]+))?\.(weight|bias)$/.exec(rest);
	if (found === null) return undefined;
	const [, path = '', adapterName, leaf] = found;
	const last = path.slice(path.lastIndexOf('.') + 1);
	if (/^(?:lora|hada|lokr|vera|oft|boft|ia3|original_module)/.test(last) || /\.original_module(?:\.|$)/.test(path)) return undefined;
	const role: Role = leaf === 'weight' ? 'weight' : 'bias';
	return { ...common, path, role, suffix: `.${role}`, adapterName };
}

/** The leaf PEFT has for a role; undefined when it has none. */
export function peftSuffix(role: Role, magnitudeLeaf: string, adapterName: string | undefined): string | undefined {
	if (role === 'weight' || role === 'bias') return adapterName === undefined ? `.${role}` : `.modules_to_save.${adapterName}.${role}`;
	const suffix = role === 'magnitude' ? magnitudeLeaf : PEFT_ROLES.has(role) ? leafSuffix(role, 'peft') : undefined;
	return suffix === undefined ? undefined : nameLeaf(suffix, adapterName);
}

const PEFT_ROLES: ReadonlySet<Role> = new Set<Role>([
	'down',
	'up',
	'up_bias',
	'embedding_down',
	'embedding_up',
	'hada_w1_a',
	'hada_w1_b',
	'hada_w2_a',
	'hada_w2_b',
	'hada_t1',
	'hada_t2',
	'lokr_w1',
	'lokr_w1_a',
	'lokr_w1_b',
	'lokr_w2',
	'lokr_w2_a',
	'lokr_w2_b',
	'lokr_t2',
	'ia3_l',
	'oft_R',
	'boft_R',
	'boft_s',
]);

/** Leaves of PEFT methods that are recognised to be refused by name. */
export function unsupportedMethod(key: string): string | undefined {
	if (!mayBeUnsupported(key)) return undefined;
	for (const [mark, name] of METHODS) if (key.includes(mark)) return name;
	return undefined;
}

/** Quick look: whether a part of the name begins as one of the marks does. This runs for every name of every file. */
function mayBeUnsupported(key: string): boolean {
	for (let dot = key.indexOf('.'); dot >= 0; dot = key.indexOf('.', dot + 1)) {
		const rows = METHODS_BY_LETTER.get(key.charCodeAt(dot + 1));
		if (rows?.some((mark) => key.startsWith(mark, dot)) === true) return true;
	}
	return key.includes(PROMPT_MARK);
}

/** The one mark without a dot in front. */
export const PROMPT_MARK: string = 'prompt_embeddings';

const METHODS: readonly (readonly [string, string])[] = [
	['.lora_E', 'AdaLoRA'],
	['.vera_lambda_', 'VeRA'],
	['.fourierft_spectrum', 'FourierFT'],
	['.hra_u', 'HRA'],
	['.ln_tuning_layers', 'LN tuning'],
	['.vblora_', 'VB-LoRA'],
	['.randlora_', 'RandLoRA'],
	['.shira_weight', 'SHiRA'],
	['.c3a_kernel', 'C3A'],
	['.miss_block', 'MiSS'],
	['.bone_block', 'Bone'],
	['.delora_', 'DeLoRA'],
	['.waveft_spectrum', 'WaveFT'],
	['.road_theta', 'RoAd'],
	['.oft_r', 'OFT of old PEFT releases'],
	[PROMPT_MARK, 'prompt tuning'],
];

/** The marks that begin with a dot, by the letter behind it. */
const METHODS_BY_LETTER: ReadonlyMap<number, readonly string[]> = byLetter();

function byLetter(): Map<number, string[]> {
	const out = new Map<number, string[]>();
	for (const [mark] of METHODS) {
		if (mark === PROMPT_MARK) continue;
		const letter = mark.charCodeAt(1);
		out.set(letter, [...(out.get(letter) ?? []), mark]);
	}
	return out;
}
