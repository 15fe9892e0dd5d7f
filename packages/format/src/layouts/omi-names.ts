import type { TargetModule } from '../adapter.js';
import {
	CHROMA_NAMES,
	canonicalTextEncoderPath,
	diffusersToSgm,
	FLUX_NAMES,
	type NamingTable,
	type RowRule,
	SD3_NAMES,
	sgmToDiffusers,
} from '../modules/index.js';
import { computedTensor, type Tensor } from '../tensor.js';
import type { NameContext } from './kohya-names.js';

/** One module name of an OMI file, understood. */
export interface OmiName {
	readonly component: string;
	readonly path: string;
	/** How the rows differ from diffusers': `swap` for scale and shift changed round. */
	readonly rule: RowRule;
}

/** Which component is which encoder, and which table the transformer is in. */
export interface OmiFile {
	readonly table: NamingTable | undefined;
	readonly clipL: string;
	readonly llama: string;
	readonly t5: string;
}

const TABLES: readonly NamingTable[] = [FLUX_NAMES, SD3_NAMES, CHROMA_NAMES];

/** The text encoders' prefixes. */
const TEXT = ['clip_l', 'clip_g', 't5', 'llama'] as const;

/** What the module names of a file say together. */
export function surveyOmi(names: Iterable<string>): OmiFile {
	const counts = TABLES.map(() => 0);
	const prefixes = new Set<string>();
	for (const name of names) {
		const cut = name.indexOf('.');
		const prefix = name.slice(0, cut);
		prefixes.add(prefix);
		if (prefix !== 'transformer') continue;
		for (const [n, table] of TABLES.entries()) if (findPart(table, name.slice(cut + 1)) !== undefined) counts[n] = (counts[n] ?? 0) + 1;
	}
	const most = Math.max(...counts);
	const table = most === 0 ? undefined : TABLES[counts.indexOf(most)];
	const hunyuan = prefixes.has('llama') && !prefixes.has('clip_g');
	const alone = !prefixes.has('clip_l') && !prefixes.has('clip_g');
	return {
		table,
		clipL: hunyuan ? 'text_encoder_2' : 'text_encoder',
		llama: hunyuan ? 'text_encoder' : 'text_encoder_4',
		// Flux' second encoder, SD3's and HiDream's third; the only one of Chroma and PixArt.
		t5:
			prefixes.has('clip_g') || table === SD3_NAMES
				? 'text_encoder_3'
				: table === CHROMA_NAMES || (alone && table === undefined)
					? 'text_encoder'
					: 'text_encoder_2',
	};
}

/**
 * `unet.input_blocks.1.1.proj_in`, `transformer.double_blocks.0.img_attn.qkv.0`, `clip_l.text_model...`; undefined
 * when it is no name of this layout. Source: Open-Model-Initiative/OMI-Model-Standards@16e78ee
 * src/omi_model_standards/convert/lora.
 */
export function parseOmiName(name: string, file: OmiFile): OmiName | undefined {
	const cut = name.indexOf('.');
	const prefix = name.slice(0, cut);
	const rest = name.slice(cut + 1);
	if (prefix === 'unet') {
		const path = sgmToDiffusers(rest);
		return path === undefined ? undefined : { component: 'unet', path, rule: 'rename' };
	}
	if (prefix === 'transformer') {
		const found = file.table === undefined ? undefined : findPart(file.table, rest);
		return found === undefined ? undefined : { component: 'transformer', ...found };
	}
	const encoder = TEXT.find((p) => p === prefix);
	const found = encoder === undefined ? undefined : canonicalTextEncoderPath(rest);
	if (found === undefined || encoder === undefined) return undefined;
	const component = encoder === 'clip_l' ? file.clipL : encoder === 'clip_g' ? 'text_encoder_2' : encoder === 't5' ? file.t5 : file.llama;
	return { component, path: found.path, rule: 'rename' };
}

/** The name of a module, and what has to be done to its rows; undefined when OMI has none. */
export function formatOmiName(
	module: Pick<TargetModule, 'component' | 'path'>,
	context: NameContext,
	table: NamingTable | undefined,
): { readonly name: string; readonly rule: RowRule } | undefined {
	const { component, path } = module;
	if (component === 'unet') {
		const sgm = diffusersToSgm(path, { hasAttentionInUpBlock: context.hasAttentionInUpBlock });
		return sgm === undefined ? undefined : { name: `unet.${sgm}`, rule: 'rename' };
	}
	if (component === 'transformer') {
		const found = table?.byDiffusers(path);
		if (found === undefined) return undefined;
		const part = found.parts.length > 1 ? `.${found.part}` : found.native === 'img_in' ? '.proj' : '';
		return { name: `transformer.${found.native}${part}`, rule: found.rule };
	}
	if (!component.startsWith('text_encoder')) return undefined;
	const kind = canonicalTextEncoderPath(path)?.kind;
	if (kind === undefined) return undefined;
	const clip = component === 'text_encoder_2' && context.family !== 'hunyuan-video' ? 'clip_g' : 'clip_l';
	return { name: `${kind === 't5' ? 't5' : kind === 'llm' ? 'llama' : clip}.${path}`, rule: 'rename' };
}

/** The table that has most of an adapter's transformer paths. */
export function tableOf(modules: readonly TargetModule[]): NamingTable | undefined {
	let best: NamingTable | undefined;
	let most = 0;
	for (const table of TABLES) {
		const n = modules.filter((m) => m.component === 'transformer' && table.byDiffusers(m.path) !== undefined).length;
		if (n > most) {
			most = n;
			best = table;
		}
	}
	return best;
}

const SWAPPED = 'upper and lower half of the rows changed round';

/** Rows [a; b] -> [b; a], exact; twice gives the same Tensor back. Undefined for an odd number of rows. */
export function swapHalves(tensor: Tensor): Tensor | undefined {
	const before = tensor.derivation?.how === SWAPPED ? tensor.derivation.from[0] : undefined;
	if (before !== undefined) return before;
	if ((tensor.shape[0] ?? 1) % 2 !== 0) return undefined;
	return computedTensor(tensor.dtype, tensor.shape, { from: [tensor], how: SWAPPED, errorBound: 0 }, async () => {
		const bytes = await tensor.read();
		const half = bytes.byteLength / 2;
		const out = new Uint8Array(bytes.byteLength);
		out.set(bytes.subarray(half), 0);
		out.set(bytes.subarray(0, half), half);
		return out;
	});
}

/** A transformer name in a table: fused modules appear as numbered parts, `img_attn.qkv.0` being the query. */
function findPart(table: NamingTable, rest: string): { readonly path: string; readonly rule: RowRule } | undefined {
	const cut = rest.lastIndexOf('.');
	const last = rest.slice(cut + 1);
	if (/^[0-3]$/.test(last)) {
		const fused = table.byNative(rest.slice(0, cut));
		const part = fused?.parts[Number(last)];
		if (fused !== undefined && fused.parts.length > 1 && part !== undefined) return { path: part, rule: 'rename' };
	}
	const found = table.byNative(rest === 'img_in.proj' ? 'img_in' : rest);
	const [path] = found?.parts ?? [];
	// A fused module without its number is another layout's.
	return found === undefined || found.parts.length > 1 || path === undefined ? undefined : { path, rule: found.rule };
}
