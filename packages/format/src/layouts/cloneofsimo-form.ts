import type { Adapter, Embedding, TargetModule } from '../adapter.js';
import { quote, type Warning } from '../errors.js';
import { type TargetList, targetList } from './cloneofsimo-targets.js';
import { familyWhy, groupInto, lostModule, lostTensor, unknownLosses, withoutAlpha } from './diffusers-losses.js';
import { factorsOf } from './diffusers-names.js';
import type { Absorbed, EncodeOptions, Loss } from './layout.js';

/**
 * Form entries of both cloneofsimo layouts: `cloneofsimo.order` = `old` (diffusers <= 0.14; `new` is what we write by
 * ourselves), `cloneofsimo.targets` = JSON, component -> class names, where they are not in `usualOrder`.
 */
export const ORDER_FORM: string = 'cloneofsimo.order';
export const TARGETS_FORM: string = 'cloneofsimo.targets';

/** `<embed>`: what cloneofsimo's metadata says of a token. */
export const EMBED_FLAG: string = '<embed>';

/** Component -> class names of a form entry or metadata JSON; empty for anything else. */
export function parseTargets(text: string | undefined): ReadonlyMap<string, readonly string[]> {
	const out = new Map<string, readonly string[]>();
	if (text === undefined) return out;
	try {
		const value: unknown = JSON.parse(text);
		if (typeof value !== 'object' || value === null) return out;
		for (const [key, entry] of Object.entries(value)) if (isNames(entry)) out.set(key, entry);
	} catch {
		return out;
	}
	return out;
}

/** A JSON list of class names; undefined for anything else, and for more or longer names than any file has. */
export function parseNames(text: string): readonly string[] | undefined {
	try {
		const value: unknown = JSON.parse(text);
		return isNames(value) ? value : undefined;
	} catch {
		return undefined;
	}
}

/** Class names in one list; real lists have one to five. They stand in messages, and each is searched for. */
const MAX_TARGETS = 32;
const MAX_TARGET_CHARS = 100;

function isNames(value: unknown): value is readonly string[] {
	return Array.isArray(value) && value.length <= MAX_TARGETS && value.every((v) => typeof v === 'string' && v.length <= MAX_TARGET_CHARS);
}

/** What both layouts write: lists by component, and what they cannot say. */
export interface ClonedLists {
	readonly lists: ReadonlyMap<string, TargetList>;
	readonly order: 'old' | 'new';
	readonly losses: Loss[];
	readonly absorbed: readonly Absorbed[];
	readonly warnings: Warning[];
	/** True when tokens fit into cloneofsimo's own place: one vector each, of the first text encoder. */
	readonly holdsEmbeddings: boolean;
}

/** Plain LoRA of scaling 1 on complete target sets; everything else is a loss. */
export function clonedLists(adapter: Adapter, options: EncodeOptions, layout: string): ClonedLists {
	const order = options.order ?? (adapter.form.get(ORDER_FORM) === 'old' ? 'old' : 'new');
	const spelled = parseTargets(adapter.form.get(TARGETS_FORM));
	const losses: Loss[] = [...unknownLosses(adapter)];
	const components = new Map<string, TargetModule[]>();
	const families = new Map<string, TargetModule[]>();
	for (const module of adapter.modules) {
		const map = module.family === 'lora' ? components : families;
		const key = module.family === 'lora' ? module.component : module.family;
		groupInto(map, key, module);
	}
	for (const [family, modules] of families) {
		const why = familyWhy('cloneofsimo', family, modules.length, 'cloneofsimo/lora, which reads plain LoRA alone');
		for (const m of modules) losses.push(...lostModule(m, why));
	}
	const lists = new Map<string, TargetList>();
	const kept: TargetModule[] = [];
	for (const [component, modules] of components) {
		if (component !== 'unet' && !component.startsWith('text_encoder')) {
			for (const m of modules) losses.push(...lostModule(m, `cloneofsimo/lora adapts unet and text_encoder, not ${component}.`));
			continue;
		}
		const list = targetList(component, modules, order, spelled.get(component) ?? []);
		for (const [m, why] of list.left) losses.push(...lostModule(m, `${why}.`));
		for (const m of list.modules) {
			for (const [role, tensor] of factorsOf(m)) {
				if (role !== 'down' && role !== 'up')
					losses.push(lostTensor(m, tensor, familyWhy('cloneofsimo', role === 'magnitude' ? 'DoRA' : role, 1, 'cloneofsimo/lora')));
			}
			kept.push(m);
		}
		if (list.modules.length > 0) lists.set(component, list);
	}
	const alpha = withoutAlpha(kept, layout);
	losses.push(...alpha.losses);
	return { lists, order, losses, absorbed: alpha.absorbed, warnings: [], holdsEmbeddings: holds(adapter.embeddings) };
}

function holds(embeddings: readonly Embedding[]): boolean {
	const tokens = new Set<string>();
	for (const { token, slot, component, vectors } of embeddings) {
		if (slot !== '' || component !== 'text_encoder' || tokens.has(token) || token.includes(':') || /^(?:unet|text_encoder)/.test(token))
			return false;
		if (vectors.shape.length > 1 && vectors.shape[0] !== 1) return false;
		tokens.add(token);
	}
	return true;
}

/** Warn that a list does not show its own order. */
export function orderWarning(what: string, order: 'old' | 'new'): Warning {
	return {
		code: 'W_AMBIGUOUS',
		message: `The shapes of ${quote(what)} fit more than one order of modules; a torch list cannot say that this one is ${order}: read it with --order ${order}.`,
	};
}
