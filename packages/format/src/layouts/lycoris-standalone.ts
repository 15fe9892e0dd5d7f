import type { Naming } from '../adapter.js';
import { unflattenTextEncoder, unflattenTransformers, unflattenUnet } from '../modules/index.js';
import { hasOnlyFlatNames } from './key-table.js';
import { claimFlat, decodeFlat, encodeFlat } from './kohya-flat.js';
import type { FlatLayout } from './kohya-flat-layout.js';
import { type FlatNameParts, flatName, type ResolvedName, type ResolvedNames } from './kohya-names.js';
import type { Layout } from './layout.js';

const LYCORIS: FlatLayout = {
	id: 'lycoris-standalone',
	prefixes: ['lycoris'],
	resolve: resolveLycoris,
	// One wrapper wraps one model, so the prefix says nothing of it.
	prefixOf: (component) => (component === 'unet' || component === 'transformer' || component === 'text_encoder' ? 'lycoris' : undefined),
	blocksOf: () => 'diffusers',
	check: () => {},
};

/**
 * LyCORIS' own wrapper (SimpleTuner, old ai-toolkit): `lycoris_transformer_blocks_7_attn_to_v.lokr_w1`, the module
 * path of the wrapped model underscored behind `lycoris_` (LAYOUTS.md §2.6). The same leaves and alpha tensors as kohya.
 */
export const lycorisStandalone: Layout = {
	id: 'lycoris-standalone',
	title: "LyCORIS' standalone wrapper (SimpleTuner)",
	aliases: ['lycoris'],
	namings: [],
	flat: true,
	readers: 'LyCORIS, SimpleTuner, ComfyUI',
	claim: (input) => (hasOnlyFlatNames(input.file) ? { names: new Set(), confidence: 0, evidence: [] } : claimFlat(LYCORIS, input)),
	decode: (input) => decodeFlat(LYCORIS, input),
	encode: (adapter, options) => encodeFlat(LYCORIS, adapter, options),
};

/** The wrapped model is the one whose table knows most of the names. */
function resolveLycoris(keys: readonly FlatNameParts[]): ResolvedNames {
	const flats = new Set(keys.map((k) => k.flat));
	const unet = new Map<string, ResolvedName>();
	const text = new Map<string, ResolvedName>();
	for (const flat of flats) {
		const u = unflattenUnet(flat);
		if (u !== undefined) unet.set(flat, { component: 'unet', path: u.path, resolved: true, style: u.style });
		const t = unflattenTextEncoder(flat);
		if (t !== undefined) text.set(flat, { component: 'text_encoder', path: t.path, resolved: true, style: undefined });
	}
	const dit = unflattenTransformers(flats);
	const transformer = new Map<string, ResolvedName>();
	for (const [flat, path] of dit?.paths ?? []) transformer.set(flat, { component: 'transformer', path, resolved: true, style: undefined });
	let best = unet;
	let naming: Naming = 'diffusers';
	if (transformer.size > best.size) {
		best = transformer;
		naming = dit?.naming ?? 'native';
	}
	if (text.size > best.size) {
		best = text;
		naming = 'diffusers';
	}
	const component = best === text ? 'text_encoder' : best === unet && unet.size > 0 ? 'unet' : 'transformer';
	const byName = new Map<string, ResolvedName>();
	for (const key of keys) {
		byName.set(flatName(key), best.get(key.flat) ?? { component, path: key.flat, resolved: false, style: undefined });
	}
	return { naming, family: best === transformer ? dit?.family : undefined, byName, t5: 'text_encoder_2' };
}
