import type { Naming } from '../adapter.js';
import { CHROMA_NAMES, FLUX_NAMES } from './flux-names.js';
import { type Grammar, type GrammarMatch, grammar } from './grammar.js';
import type { NamingTable } from './naming-table.js';
import { SD3_NAMES } from './sd3-names.js';
import {
	animaTemplates,
	flux2Templates,
	hiDreamTemplates,
	hunyuanVideoTemplates,
	mochiTemplates,
	plainBlockTemplates,
	qwenImageTemplates,
	zImageTemplates,
} from './transformer-templates.js';
import { WAN_NAMES } from './wan-names.js';

/** One model's way of naming its modules. */
export interface TransformerDialect {
	/** `flux`, `flux2`, `chroma`, `sd3`, `wan`, `qwen-image`, `z-image`, `hunyuan-video`, `hidream`, `anima`, `mochi`, `dit`. */
	readonly family: string;
	readonly naming: Naming;
}

export interface TransformerName extends TransformerDialect {
	readonly path: string;
}

/** What the names of a whole file agree on. */
export interface TransformerNames extends TransformerDialect {
	/** Given name -> dotted path; a name that the dialect lacks is not in it. */
	readonly paths: ReadonlyMap<string, string>;
	/** Other families whose dialects have as many of the names: then shapes must decide. */
	readonly alternatives: readonly string[];
}

interface Dialect extends TransformerDialect {
	readonly templates: () => readonly string[];
}

function natives(table: NamingTable): string[] {
	return table.rows.map((row) => row.native);
}

function parts(table: NamingTable): string[] {
	return table.rows.flatMap((row) => row.parts);
}

/** Chroma's blocks take their modulation from one guidance layer. */
function withoutModulation(templates: readonly string[]): string[] {
	return templates.filter((t) => !/_mod\.|modulation|norm1|norm_out|\.norm\.linear/.test(t));
}

/** XLabs' and ComfyUI's name for the attention rows of `linear1` (LAYOUTS.md §2.12, §2.20). */
const LINEAR1_QKV = 'single_blocks.#.linear1_qkv';

/** What carries Wan's modulation tables: the owners of `.diff_m` (LAYOUTS.md §2.15). */
const WAN_TABLES = ['blocks.#', 'head'];

/** In order of preference where names alone do not decide. */
const DIALECTS: readonly Dialect[] = [
	{ family: 'flux', naming: 'bfl', templates: () => [...natives(FLUX_NAMES), LINEAR1_QKV] },
	{ family: 'flux', naming: 'diffusers', templates: () => parts(FLUX_NAMES) },
	{ family: 'sd3', naming: 'sai', templates: () => natives(SD3_NAMES) },
	{ family: 'sd3', naming: 'diffusers', templates: () => parts(SD3_NAMES) },
	{ family: 'wan', naming: 'native', templates: () => [...natives(WAN_NAMES), ...WAN_TABLES] },
	{ family: 'wan', naming: 'diffusers', templates: () => parts(WAN_NAMES) },
	{ family: 'qwen-image', naming: 'native', templates: qwenImageTemplates },
	{ family: 'hunyuan-video', naming: 'native', templates: hunyuanVideoTemplates },
	{ family: 'z-image', naming: 'native', templates: zImageTemplates },
	{ family: 'chroma', naming: 'bfl', templates: () => [...withoutModulation(natives(FLUX_NAMES)), ...natives(CHROMA_NAMES)] },
	{ family: 'chroma', naming: 'diffusers', templates: () => [...withoutModulation(parts(FLUX_NAMES)), ...parts(CHROMA_NAMES)] },
	{ family: 'flux2', naming: 'native', templates: () => [...natives(FLUX_NAMES), ...flux2Templates().bfl] },
	{ family: 'flux2', naming: 'diffusers', templates: () => [...parts(FLUX_NAMES), ...flux2Templates().diffusers] },
	{ family: 'dit', naming: 'diffusers', templates: plainBlockTemplates },
	{ family: 'mochi', naming: 'native', templates: () => mochiTemplates().native },
	{ family: 'mochi', naming: 'diffusers', templates: () => mochiTemplates().diffusers },
	{ family: 'hidream', naming: 'native', templates: hiDreamTemplates },
	{ family: 'anima', naming: 'native', templates: animaTemplates },
];

const GRAMMAR: Grammar<Dialect> = grammar(function* () {
	for (const dialect of DIALECTS) for (const template of new Set(dialect.templates())) yield [template, dialect] as const;
});

/**
 * A flattened transformer name (after `lora_unet_`, `lora_transformer_`, `lycoris_`) as a dotted path in the first
 * dialect that has it. Wan-Fun's doubled underscore (`lora_unet__blocks_0_...`) is taken as one. For a whole file
 * use `unflattenTransformers`: `double_blocks_0_img_attn_qkv` alone may be Flux' or HunyuanVideo's.
 */
export function unflattenTransformer(flat: string): TransformerName | undefined {
	const match = GRAMMAR.byFlat(oneUnderscore(flat))[0];
	return match === undefined ? undefined : { path: match.path, naming: match.value.naming, family: match.value.family };
}

/** The dialect that has most of the flattened names, and what they are in it. Undefined when no name is known. */
export function unflattenTransformers(flats: Iterable<string>): TransformerNames | undefined {
	return agree(flats, (name) => GRAMMAR.byFlat(oneUnderscore(name)));
}

/** The same for dotted names: in whose words they are. */
export function transformerDialect(paths: Iterable<string>): TransformerNames | undefined {
	return agree(paths, (name) => GRAMMAR.byDotted(name));
}

function oneUnderscore(flat: string): string {
	return flat.startsWith('_') ? flat.slice(1) : flat;
}

/**
 * Flattened, `double_blocks_0_img_attn_qkv` is Flux' and HunyuanVideo's; FLUX.1 has 19 double blocks, FLUX.2 fewer,
 * HunyuanVideo 20 (LAYOUTS.md §2.12, §2.15). Only where the names alone leave both.
 */
function deeperThanFlux(best: Dialect, paths: ReadonlyMap<Dialect, ReadonlyMap<string, string>>): Dialect | undefined {
	if (best.family !== 'flux' || best.naming !== 'bfl') return undefined;
	const known = paths.get(best);
	const other = DIALECTS.find((d) => d.family === 'hunyuan-video' && paths.get(d)?.size === known?.size);
	if (known === undefined || other === undefined) return undefined;
	for (const path of known.values()) if (path.startsWith(FIRST_BEYOND_FLUX)) return other;
	return undefined;
}

const FIRST_BEYOND_FLUX = 'double_blocks.19.';

function agree(names: Iterable<string>, look: (name: string) => readonly GrammarMatch<Dialect>[]): TransformerNames | undefined {
	const paths = new Map<Dialect, Map<string, string>>();
	for (const name of names) {
		const matches = look(name);
		for (const { value, path } of matches) {
			const known = paths.get(value);
			if (known === undefined) paths.set(value, new Map([[name, path]]));
			else known.set(name, path);
		}
	}
	let best: Dialect | undefined;
	for (const dialect of DIALECTS) {
		const count = paths.get(dialect)?.size ?? 0;
		if (count > (best === undefined ? 0 : (paths.get(best)?.size ?? 0))) best = dialect;
	}
	if (best === undefined) return undefined;
	const count = paths.get(best)?.size ?? 0;
	best = deeperThanFlux(best, paths) ?? best;
	const family = best.family;
	const alternatives = new Set<string>();
	for (const [dialect, known] of paths) if (known.size === count && dialect.family !== family) alternatives.add(dialect.family);
	return { family, naming: best.naming, paths: paths.get(best) ?? new Map(), alternatives: [...alternatives] };
}
