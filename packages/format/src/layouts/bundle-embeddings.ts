import type { Embedding } from '../adapter.js';
import { originsOf, reshaped, type Tensor } from '../tensor.js';
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

/** The embedding of one name, or undefined when it is none or no vectors of shape (d) or (n, d). */
export function parseBundle(key: string, tensor: Tensor, context: BundleContext): Embedding | undefined {
	const parsed = parseBundleKey(key);
	if (parsed === undefined || tensor.shape.length < 1 || tensor.shape.length > 2) return undefined;
	const component = SLOTS.get(parsed.slot) ?? 'text_encoder';
	return { token: parsed.token, slot: parsed.slot, component: component === 't5' ? context.t5 : component, vectors: tensor };
}

/**
 * Names and tensors for embeddings. Those without a slot (a bare token of cloneofsimo, diffusers) get
 * `string_to_param.*` where there is one encoder, else `clip_l`, `clip_g` or `t5`; a vector (d) is written as
 * (1, d), which is what A1111's reader takes.
 */
export function formatBundles(embeddings: readonly Embedding[]): {
	readonly tensors: Map<string, Tensor>;
	readonly losses: readonly Loss[];
} {
	const tensors = new Map<string, Tensor>();
	const losses: Loss[] = [];
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
		tensors.set(key, e.vectors.shape.length === 1 && first !== undefined && e.slot === '' ? reshaped(e.vectors, [1, first]) : e.vectors);
	}
	return { tensors, losses };
}

function slotOf(component: string, several: boolean, vectors: Tensor): string | undefined {
	if (component === 'text_encoder') return several ? 'clip_l' : 'string_to_param.*';
	const width = vectors.shape[vectors.shape.length - 1] ?? 0;
	// T5-XXL is 4096 wide, CLIP-G 1280.
	if (component === 'text_encoder_2') return width === 4096 ? 't5' : 'clip_g';
	return component === 'text_encoder_3' ? 't5' : undefined;
}
