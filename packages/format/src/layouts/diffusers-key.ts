import { canonicalTextEncoderPath } from '../modules/index.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { isBareLeaf, type LeafRole } from './leaves.js';
import { componentOfPath } from './peft-component.js';
import { splitNamedLeaf } from './peft-leaf.js';

/** How one tensor of diffusers' layouts spells its leaf (LAYOUTS §2.7 to 2.9). */
export type Spelling =
	/** `….to_q.lora_A.weight` */
	| 'peft'
	/** `….to_q.lora.down.weight` */
	| 'lora'
	/** `….q_proj.lora_linear_layer.down.weight` */
	| 'linear'
	/** `….attn1.processor.to_q_lora.down.weight` */
	| 'processor'
	/** text encoder of 0.17, `….q_proj.to_q_lora.down.weight`: four LoRAs on each projection, one of them live */
	| 'te-four'
	/** text encoder of 0.17, `….self_attn.to_q_lora.down.weight` */
	| 'te-attention'
	/** leaves that every style shares (`.alpha`, `.hada_w1_a`, ...) */
	| 'any';

/** One tensor name of a diffusers file, understood. */
export interface DiffusersKey {
	/** First part as written, '' when the file has no component prefix. */
	readonly prefix: string;
	/** Component as the pipeline names it today. */
	readonly component: string;
	/** Module path as written, without `processor` levels: what PEFT matches its patterns against. */
	readonly written: string;
	/** Canonical module path (CLIP always with `text_model.`). */
	readonly path: string;
	readonly role: LeafRole;
	readonly spelling: Spelling;
	/** The leaf as written, without an adapter's name. */
	readonly suffix: string;
	readonly adapterName: string | undefined;
	/** Why no reader uses this tensor; undefined for a live one. */
	readonly dead: string | undefined;
}

const COMPONENT = /^(?:unet|prior|connectors|controlnet|image_encoder|transformer(?:_\d)?|text_encoder(?:_\d)?)$/;
/** Roots of other layouts: never a component. */
const FOREIGN = /^(?:base_model|diffusion_model|model|lora_|lycoris_|bundle_emb|first_stage_model|cond_stage_model)/;

/**
 * Take a tensor name apart.
 * @param known prefixes that `lora_adapter_metadata` names.
 */
export function parseDiffusersKey(key: string, known: ReadonlySet<string>): DiffusersKey | undefined {
	// kohya's names: `FOREIGN` says the same, later.
	if (key.startsWith('lora_') && known.size === 0) return undefined;
	const dot = key.indexOf('.');
	if (dot <= 0) return undefined;
	const head = key.slice(0, dot);
	let prefix = '';
	let rest = key;
	if (COMPONENT.test(head) || known.has(head)) {
		prefix = head;
		rest = key.slice(dot + 1);
	} else if (componentOfPath(key) === undefined) {
		// Another component of a pipeline: `movie_unet.down_blocks.…`, or a file without prefix that its metadata explains.
		if (!FOREIGN.test(head) && /^[a-z][a-z0-9_]*$/.test(head) && componentOfPath(key.slice(dot + 1)) !== undefined) {
			prefix = head;
			rest = key.slice(dot + 1);
		} else if (!known.has('')) return undefined;
	}
	if (rest.startsWith('base_model.')) return undefined;
	const split = splitNamedLeaf(rest);
	if (split === undefined) return undefined;
	const { leaf, adapterName } = split;
	const common = { prefix, role: leaf.role, suffix: leaf.suffix, adapterName };
	if (leaf.style === 'processor') return processorKey(split.module, { ...common, known });
	// kohya's and ai-toolkit's leaves, and bare parameters, are native-dotted's.
	if (leaf.style === 'kohya' || leaf.style === 'ai-toolkit' || isBareLeaf(leaf)) return undefined;
	const spelling: Spelling =
		leaf.style === 'diffusers' ? 'lora' : leaf.style === 'linear-layer' ? 'linear' : leaf.style === 'any' ? 'any' : 'peft';
	return { ...common, ...place(prefix, split.module), spelling, dead: undefined };
}

/** A name of a file with what it is to diffusers. */
export interface DiffusersEntry {
	readonly name: string;
	readonly tensor: Tensor;
	readonly key: DiffusersKey | undefined;
}

const READ = new WeakMap<StateDict, readonly DiffusersEntry[]>();

/** Every name of a file, taken apart once for the four layouts of diffusers. @param known as in `parseDiffusersKey`. */
export function readDiffusersKeys(file: StateDict, known: ReadonlySet<string>): readonly DiffusersEntry[] {
	// Components that everybody knows change nothing.
	const more = new Set([...known].filter((prefix) => !COMPONENT.test(prefix)));
	const before = more.size === 0 ? READ.get(file) : undefined;
	if (before !== undefined) return before;
	const entries: DiffusersEntry[] = [];
	for (const [name, tensor] of file.tensors) entries.push({ name, tensor, key: parseDiffusersKey(name, more) });
	if (more.size === 0) READ.set(file, entries);
	return entries;
}

/** `to_q_lora` and its kin: the module is named after what it adapts, not where it stands. */
function processorKey(
	module: string,
	common: Pick<DiffusersKey, 'prefix' | 'role' | 'suffix' | 'adapterName'> & { readonly known: ReadonlySet<string> },
): DiffusersKey | undefined {
	const { known: _, ...rest } = common;
	const cut = module.lastIndexOf('.');
	if (cut < 0) return undefined;
	const which = module.slice(cut + 1);
	const parent = module.slice(0, cut);
	if (parent.endsWith('.processor')) {
		const target = UNET_TARGETS.get(which);
		if (target === undefined) return undefined;
		const written = `${parent.slice(0, -'.processor'.length)}.${target}`;
		return { ...rest, ...place(common.prefix, written), spelling: 'processor', dead: undefined };
	}
	const target = TEXT_TARGETS.get(which);
	if (target === undefined || !common.prefix.startsWith('text_encoder')) return undefined;
	if (parent.endsWith('.self_attn')) {
		return { ...rest, ...place(common.prefix, `${parent}.${target}`), spelling: 'te-attention', dead: undefined };
	}
	const at = parent.slice(parent.lastIndexOf('.') + 1);
	if (![...TEXT_TARGETS.values()].includes(at)) return undefined;
	// huggingface/diffusers PR #3437: each projection carried four LoRAs, of which only its own was ever called.
	const dead = at === target ? undefined : `diffusers 0.17 put ${which}_lora on ${at} too, but only ever called it on ${target}`;
	return { ...rest, ...place(common.prefix, parent), spelling: 'te-four', dead };
}

const UNET_TARGETS: ReadonlyMap<string, string> = new Map([
	['to_q', 'to_q'],
	['to_k', 'to_k'],
	['to_v', 'to_v'],
	['to_out', 'to_out.0'],
	['add_k_proj', 'add_k_proj'],
	['add_v_proj', 'add_v_proj'],
]);

const TEXT_TARGETS: ReadonlyMap<string, string> = new Map([
	['to_q', 'q_proj'],
	['to_k', 'k_proj'],
	['to_v', 'v_proj'],
	['to_out', 'out_proj'],
]);

/** The component and canonical path of a module as written under a prefix. */
function place(prefix: string, written: string): Pick<DiffusersKey, 'component' | 'path' | 'written'> {
	// Some SDXL scripts number the first encoder too (LAYOUTS §2.9).
	const component = prefix === 'text_encoder_1' ? 'text_encoder' : prefix === '' ? (componentOfPath(written) ?? 'transformer') : prefix;
	if (!component.startsWith('text_encoder')) return { component, path: written, written };
	return { component, path: canonicalTextEncoderPath(written)?.path ?? written, written };
}

/** `attn1.to_out.0` -> `attn1.processor.to_out`, or undefined for a module that attention processors do not adapt. */
export function processorModule(path: string): string | undefined {
	for (const [which, target] of UNET_TARGETS) {
		if (!path.endsWith(`.${target}`)) continue;
		const parent = path.slice(0, -target.length - 1);
		if (/\.attn\d+$/.test(parent)) return `${parent}.processor.${which}`;
	}
	return undefined;
}

/** `…self_attn.q_proj` -> `to_q`, or undefined for a module that is no projection of a text encoder's attention. */
export function textTarget(path: string): string | undefined {
	for (const [which, target] of TEXT_TARGETS) if (path.endsWith(`.self_attn.${target}`)) return which;
	return undefined;
}
