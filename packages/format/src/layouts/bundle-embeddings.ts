import type { Embedding } from '../adapter.js';
import { originsOf, reshaped, type Tensor } from '../tensor.js';
import { stringMap } from './kohya-alpha.js';
import type { Loss } from './layout.js';

/** `bundle_emb.NAME.LEAF`: embeddings inside a LoRA file (A1111 extra networks, OneTrainer, HCP; LAYOUTS.md §2.19). */
export const BUNDLE_PREFIX: string = 'bundle_emb.';

/** Leaves whose encoder is known. The T5's place depends on the base: see `BundleContext`. */
const SLOTS: ReadonlyMap<string, string> = new Map([
	['string_to_param.*', 'text_encoder'],
	['emb_params', 'text_encoder'],
	['clip_l', 'text_encoder'],
	['clip_l_out', 'text_encoder'],
	['clip_g', 'text_encoder_2'],
	['clip_g_out', 'text_encoder_2'],
	['t5', 't5'],
	['t5_out', 't5'],
	['llama', 'text_encoder'],
	['llama_out', 'text_encoder'],
]);

export interface BundleContext {
	/** Component of the T5: `text_encoder_2` for Flux, `text_encoder_3` for SD3. */
	readonly t5: string;
}

/** Takes a name apart; undefined when it is no bundled embedding with a leaf that we know. A NAME may hold dots. */
export function parseBundleKey(key: string): { readonly token: string; readonly slot: string } | undefined {
	if (!key.startsWith(BUNDLE_PREFIX)) return undefined;
	const rest = key.slice(BUNDLE_PREFIX.length);
	for (const slot of SLOTS.keys()) {
		if (rest.endsWith(`.${slot}`) && rest.length > slot.length + 1) return { token: rest.slice(0, -slot.length - 1), slot };
	}
	return undefined;
}

/**
 * Form entry of files with bundled embeddings: JSON of bundle name -> `vector` or `matrix`, for tokens that came without
 * a leaf (cloneofsimo's, diffusers'), so that they go back as they were.
 */
export const BUNDLE_FORM_KEY: string = 'bundle.bare';

/** The embeddings under the given names; names that are none, or no vectors of shape (d) or (n, d), are left out. */
export function parseBundles(
	keys: Iterable<string>,
	tensors: ReadonlyMap<string, Tensor>,
	context: BundleContext,
	form: ReadonlyMap<string, string>,
): { readonly embeddings: readonly Embedding[]; readonly names: ReadonlySet<string> } {
	const bare = stringMap(form.get(BUNDLE_FORM_KEY) ?? '{}');
	const embeddings: Embedding[] = [];
	const names = new Set<string>();
	for (const key of keys) {
		const parsed = parseBundleKey(key);
		const tensor = tensors.get(key);
		if (parsed === undefined || tensor === undefined || !isVectors(tensor)) continue;
		names.add(key);
		const component = SLOTS.get(parsed.slot) ?? 'text_encoder';
		const how = bare.get(key);
		const width = tensor.shape[1] ?? 0;
		embeddings.push({
			token: parsed.token,
			slot: how === undefined ? parsed.slot : '',
			component: component === 't5' ? context.t5 : component,
			vectors: how === 'vector' && tensor.shape[0] === 1 && tensor.shape.length === 2 ? reshaped(tensor, [width]) : tensor,
		});
	}
	return { embeddings, names };
}

/** True for a bundled embedding with a leaf that we know and the shape of vectors. */
export function isBundle(key: string, tensor: Tensor): boolean {
	return isVectors(tensor) && parseBundleKey(key) !== undefined;
}

function isVectors(tensor: Tensor): boolean {
	return tensor.shape.length === 1 || tensor.shape.length === 2;
}

/**
 * Names and tensors for embeddings. Those without a slot (a bare token of cloneofsimo, diffusers) get
 * `string_to_param.*` where there is one encoder, else `clip_l`, `clip_g` or `t5`; a vector (d) is written as
 * (1, d), which is what A1111's reader takes.
 */
export function formatBundles(embeddings: readonly Embedding[]): {
	readonly tensors: Map<string, Tensor>;
	readonly losses: readonly Loss[];
	/** `bundle.bare`, when it is needed. */
	readonly form: ReadonlyMap<string, string>;
} {
	const tensors = new Map<string, Tensor>();
	const losses: Loss[] = [];
	const bare = new Map<string, string>();
	const several = embeddings.some((e) => e.component !== 'text_encoder');
	for (const e of embeddings) {
		const slot = e.slot === '' ? slotOf(e.component, several, e.vectors) : e.slot;
		const key = `${BUNDLE_PREFIX}${e.token}.${slot ?? ''}`;
		const problem =
			slot === undefined
				? `no bundle leaf for the encoder ${e.component}`
				: tensors.has(key)
					? `two embeddings would have the name ${key}`
					: parseBundleKey(key)?.token !== e.token
						? `the name ${key} would be read as another token`
						: undefined;
		if (problem !== undefined) {
			for (const what of originsOf(e.vectors)) losses.push({ what, why: `embedding ${e.token}: ${problem}.` });
			continue;
		}
		const [first] = e.vectors.shape;
		const vector = e.slot === '' && e.vectors.shape.length === 1 && first !== undefined;
		tensors.set(key, vector ? reshaped(e.vectors, [1, first]) : e.vectors);
		if (e.slot === '') bare.set(key, vector ? 'vector' : 'matrix');
	}
	return { tensors, losses, form: bare.size === 0 ? bare : new Map([[BUNDLE_FORM_KEY, JSON.stringify(Object.fromEntries(bare))]]) };
}

function slotOf(component: string, several: boolean, vectors: Tensor): string | undefined {
	if (component === 'text_encoder') return several ? 'clip_l' : 'string_to_param.*';
	const width = vectors.shape[vectors.shape.length - 1] ?? 0;
	// T5-XXL is 4096 wide, CLIP-G 1280.
	if (component === 'text_encoder_2') return width === 4096 ? 't5' : 'clip_g';
	return component === 'text_encoder_3' ? 't5' : undefined;
}
