import type { Naming, TargetModule } from '../adapter.js';
import { diffusersToSgm, flattenPath, unflattenTextEncoder, unflattenTransformers, unflattenUnet } from '../modules/index.js';
import type { FlatKey } from './kohya-keys.js';

/** What of a name says its module. */
export type FlatNameParts = Pick<FlatKey, 'prefix' | 'flat'> & { readonly name?: string };

/** A flat name, taken apart. */
export interface ResolvedName {
	readonly component: string;
	readonly path: string;
	readonly resolved: boolean;
	readonly style: 'diffusers' | 'sgm' | undefined;
}

/** Every module name of a file, and in whose words the paths are. */
export interface ResolvedNames {
	readonly naming: Naming;
	/** `flux`, `sd3`, `wan`, ... where a transformer's table resolved the names. */
	readonly family: string | undefined;
	readonly byName: ReadonlyMap<string, ResolvedName>;
	/** Component of the T5, for bundled embeddings. */
	readonly t5: string;
}

/** What decides names when writing. */
export interface NameContext {
	/** `BaseGuess.family`. */
	readonly family: string;
	readonly naming: Naming;
	readonly components: ReadonlySet<string>;
	/** True when `text_encoder_2` is a T5 (Flux). */
	readonly secondIsT5: boolean;
	/** Whether an up block of the UNet has attentions. */
	readonly hasAttentionInUpBlock: (i: number) => boolean;
}

const FLUX: ReadonlySet<string> = new Set(['flux', 'flux2', 'chroma']);
const SEVERAL_ENCODERS: ReadonlySet<string> = new Set(['sdxl', 'sdxl-refiner', 'sd3', 'flux', 'hunyuan-video', 'hidream']);

/** `PREFIX_FLAT`, the name of a module in the file. */
export function flatName(key: FlatNameParts): string {
	return key.name ?? `${key.prefix}_${key.flat}`;
}

/**
 * Take the flat names of a file apart, all of them together: which model's table knows most of them decides. Names
 * that no table knows keep their flat form (`resolved` false); splitting at `_` would be a guess (LAYOUTS.md §2.5).
 */
export function resolveFlatNames(keys: readonly FlatNameParts[]): ResolvedNames {
	/** Prefix -> flat path -> name. */
	const denoisers = new Map<string, Map<string, string>>();
	const texts = new Map<string, FlatNameParts>();
	let last = '';
	for (const key of keys) {
		const name = flatName(key);
		if (name === last) continue;
		last = name;
		if (isTextPrefix(key.prefix)) texts.set(name, key);
		else {
			const flats = denoisers.get(key.prefix);
			if (flats === undefined) denoisers.set(key.prefix, new Map([[key.flat, name]]));
			else flats.set(key.flat, name);
		}
	}
	const groups = [...denoisers].map(([prefix, flats]) => resolveDenoiser(prefix, flats));
	groups.sort((a, b) => b.known - a.known);
	const [main] = groups;
	const naming = main?.naming ?? 'diffusers';
	const byName = new Map<string, ResolvedName>();
	for (const group of groups) {
		for (const [flat, name] of group.flats) {
			const found = group.names.get(flat) ?? { component: group.component, path: flat, resolved: false, style: undefined };
			// One adapter has one naming: a second model in other words stays as the file has it.
			byName.set(name, group.naming === naming ? found : { ...found, path: flat, resolved: false });
		}
	}
	const hasSecond = [...texts.values()].some((k) => k.prefix === 'lora_te2');
	const flux = main?.family === undefined ? !hasSecond : FLUX.has(main.family);
	const t5 = flux ? 'text_encoder_2' : 'text_encoder_3';
	for (const [name, key] of texts) {
		const found = unflattenTextEncoder(key.flat);
		byName.set(name, {
			component: textComponent(key.prefix, t5),
			path: found?.path ?? key.flat,
			resolved: found !== undefined,
			style: undefined,
		});
	}
	return { naming, family: main?.family, byName, t5 };
}

interface Group {
	readonly prefix: string;
	readonly naming: Naming;
	readonly family: string | undefined;
	readonly known: number;
	/** Component of names that no table has. */
	readonly component: string;
	readonly flats: ReadonlyMap<string, string>;
	/** Those that a table has, by flat path. */
	readonly names: ReadonlyMap<string, ResolvedName>;
}

function resolveDenoiser(prefix: string, flats: ReadonlyMap<string, string>): Group {
	const prior = prefix === 'lora_prior_unet';
	const unet = new Map<string, ResolvedName>();
	for (const flat of flats.keys()) {
		const found = prior ? undefined : unflattenUnet(flat);
		if (found !== undefined) unet.set(flat, { component: 'unet', path: found.path, resolved: true, style: found.style });
	}
	const dit = unet.size === flats.size ? undefined : unflattenTransformers(flats.keys());
	const isDit = dit !== undefined && dit.paths.size > unet.size;
	const component = prior ? 'prior' : isDit || prefix === 'lora_transformer' ? 'transformer' : 'unet';
	let names = unet;
	if (isDit) {
		names = new Map();
		for (const [flat, path] of dit.paths) names.set(flat, { component: 'transformer', path, resolved: true, style: undefined });
	}
	return {
		prefix,
		naming: isDit ? dit.naming : 'diffusers',
		family: isDit ? dit.family : undefined,
		known: names.size,
		component,
		flats,
		names,
	};
}

function isTextPrefix(prefix: string): boolean {
	return prefix.startsWith('lora_te') || prefix.startsWith('lora_prior_te');
}

/** te3 is SD3's third encoder, but sd-scripts' name for Flux' T5, which is `text_encoder_2` in diffusers. */
function textComponent(prefix: string, t5: string): string {
	if (prefix.startsWith('lora_te2')) return 'text_encoder_2';
	if (prefix.startsWith('lora_te3')) return t5;
	if (prefix.startsWith('lora_te4')) return 'text_encoder_4';
	return 'text_encoder';
}

/** What the names of an adapter depend on, from its modules. */
export function nameContext(modules: readonly TargetModule[], family: string, naming: Naming): NameContext {
	const components = new Set<string>();
	const attention = new Set<number>();
	let secondIsT5 = FLUX.has(family);
	for (const m of modules) {
		components.add(m.component);
		if (m.component === 'text_encoder_2' && m.path.startsWith('encoder.block.')) secondIsT5 = true;
		if (m.component !== 'unet') continue;
		const block = m.path.startsWith('up_') ? UP_ATTENTION.exec(m.path) : null;
		if (block !== null) attention.add(Number(block[1]));
	}
	const sdxl = family.startsWith('sdxl');
	return {
		family,
		naming,
		components,
		secondIsT5,
		// Seen in the adapter, else what the base has: SDXL levels 0 and 1, SD1 and SD2 all but 0 (LAYOUTS.md §3).
		hasAttentionInUpBlock: (i) => attention.has(i) || (sdxl && family !== 'sdxl-refiner' ? i < 2 : i > 0),
	};
}

const UP_ATTENTION = /^up_blocks\.(\d{1,3})\.attentions\./;

/** The prefix a component has by default; undefined when kohya's grammar has none for it. */
export function defaultPrefix(component: string, context: NameContext): string | undefined {
	const several =
		SEVERAL_ENCODERS.has(context.family) || ['text_encoder_2', 'text_encoder_3', 'text_encoder_4'].some((c) => context.components.has(c));
	switch (component) {
		case 'unet':
			return 'lora_unet';
		case 'transformer':
			return context.naming === 'diffusers' ? 'lora_transformer' : 'lora_unet';
		case 'prior':
			return 'lora_prior_unet';
		case 'text_encoder':
			if (context.components.has('prior')) return 'lora_prior_te';
			return several ? 'lora_te1' : 'lora_te';
		case 'text_encoder_2':
			return context.secondIsT5 && !context.components.has('text_encoder_3') ? 'lora_te3' : 'lora_te2';
		case 'text_encoder_3':
			return 'lora_te3';
		case 'text_encoder_4':
			return 'lora_te4';
		default:
			return undefined;
	}
}

/** Block names of the UNet by default: sgm's for SDXL, diffusers' for SD1 and SD2, as sd-scripts writes them. */
export function defaultBlocks(context: NameContext): 'diffusers' | 'sgm' {
	return context.family.startsWith('sdxl') ? 'sgm' : 'diffusers';
}

/** The flat path of a module, without prefix. */
export function flatPath(
	module: Pick<TargetModule, 'component' | 'path' | 'resolved'>,
	blocks: 'diffusers' | 'sgm',
	context: NameContext,
): string {
	if (module.component === 'unet' && blocks === 'sgm' && module.resolved) {
		const sgm = diffusersToSgm(module.path, { hasAttentionInUpBlock: context.hasAttentionInUpBlock });
		if (sgm !== undefined) return flattenPath(sgm);
	}
	return flattenPath(module.path);
}
