import {
	canonicalTextEncoderPath,
	flattenPath,
	isUnetPath,
	sgmToDiffusers,
	transformerDialect,
	unflattenTextEncoder,
	unflattenTransformer,
	unflattenUnet,
} from '../modules/index.js';
import { leafSuffix, splitLeaf } from './leaves.js';

/** What a damaged name should be. */
export interface NameRepair {
	readonly to: string;
	/** A phrase: "prefix written twice". */
	readonly what: string;
	/** False where some reader takes the name as it is. */
	readonly certain?: boolean | undefined;
}

/** Prefix put before a name that already had it (or PEFT's wrapper put inside another): text at the start -> what it should be. */
const DOUBLED: readonly (readonly [damaged: string, good: string])[] = [
	['base_model.model.base_model.model.', 'base_model.model.'],
	['model.diffusion_model.diffusion_model.', 'diffusion_model.'],
	['diffusion_model.model.diffusion_model.', 'diffusion_model.'],
	...['unet', 'transformer', 'text_encoder', 'text_encoder_2', 'text_encoder_3', 'diffusion_model'].flatMap((p): [string, string][] => [
		[`${p}.${p}.`, `${p}.`],
		[`${p}.base_model.model.${p}.`, `${p}.`],
		[`${p}.base_model.model.`, `${p}.`],
	]),
	...['lora_unet', 'lora_te', 'lora_te1', 'lora_te2', 'lora_te3', 'lora_transformer'].flatMap((p): [string, string][] => [
		[`${p}_${p}_`, `${p}_`],
		[`unet.${p}_`, `${p}_`],
		[`transformer.${p}_`, `${p}_`],
		[`text_encoder.${p}_`, `${p}_`],
		[`base_model.model.${p}_`, `${p}_`],
	]),
	['lora_unet_lora_te_', 'lora_te_'],
	['lora_unet_lora_te1_', 'lora_te1_'],
	['lora_unet_lora_te2_', 'lora_te2_'],
	['lora_unet_unet_', 'lora_unet_'],
	['lora_unet_unet.', 'lora_unet_'],
	['lora_unet_text_encoder_2_', 'lora_te2_'],
	['lora_unet_text_encoder_2.', 'lora_te2_'],
	['lora_unet_text_encoder_text_model', 'lora_te_text_model'],
	['lora_unet_text_encoder.text_model', 'lora_te_text_model'],
	['lora_te_text_encoder_', 'lora_te_'],
	['lora_te_text_encoder.', 'lora_te_'],
	['unet.text_encoder.', 'text_encoder.'],
	['lora_unet_base_model_model_', 'lora_unet_'],
	['lora_unet_diffusion_model_', 'lora_unet_'],
	['lora_unet_transformer_transformer_blocks_', 'lora_unet_transformer_blocks_'],
	['lora_unet_transformer_single_transformer_blocks_', 'lora_unet_single_transformer_blocks_'],
	['lora_transformer_transformer_transformer_blocks_', 'lora_transformer_transformer_blocks_'],
];

/** Names under which a whole module path may stand flattened. */
const FLAT_PREFIXES: readonly string[] = ['lora_unet', 'lora_te1', 'lora_te2', 'lora_te3', 'lora_te', 'lora_transformer'];

/** Dotted prefixes under which a path may have been flattened by mistake. */
const DOTTED_PREFIXES: readonly string[] = ['unet', 'transformer', 'diffusion_model', 'text_encoder_2', 'text_encoder', 'base_model.model'];

type Leaf = 'down' | 'up' | 'mid' | 'magnitude' | 'alpha';

/** Leaves with their dots made `_`, with and without `processor`, `weight` and PEFT's adapter name. */
const FLAT_LEAF =
	/_(?:lora_linear_layer_(down|up)|lora_(down|up|mid)|lora_([AB])|(lora_magnitude_vector|magnitude|dora_scale)|(alpha))(?:_default)?(?:_weight)?$/;

const MAX_STEPS = 4;

/** What a name should be, or undefined when it is as it should be (or not damaged in a way we know). Looks at one name only. */
export function repairName(key: string): NameRepair | undefined {
	// Every damage that we know shows in a separator.
	if (!key.includes('_') && !key.includes('.')) return undefined;
	let name = key;
	let what = '';
	let certain = true;
	for (let step = 0; step < MAX_STEPS; step++) {
		// Dotted paths first: `transformer.transformer.blocks.0` is no doubled prefix.
		const next = unflattenDotted(name) ?? undouble(name) ?? unalias(name) ?? reflatten(name) ?? fromBare(name);
		if (next === undefined || next.to === name) break;
		name = next.to;
		if (what === '') certain = next.certain !== false;
		what ||= next.what;
	}
	return name === key ? undefined : { to: name, what, certain };
}

function undouble(key: string): NameRepair | undefined {
	for (const [damaged, good] of possiblyDoubled(key.slice(0, HEAD_LENGTH))) {
		if (key.startsWith(damaged)) return { to: good + key.slice(damaged.length), what: 'prefix written twice or into another one' };
	}
	return undefined;
}

/** Rows of `DOUBLED` that a name with this beginning can have. The names of a file have few beginnings, each looked up once. */
function possiblyDoubled(head: string): typeof DOUBLED {
	let rows = POSSIBLE.get(head);
	if (rows === undefined) {
		if (POSSIBLE.size >= MAX_HEADS) return DOUBLED;
		rows = DOUBLED.filter(([damaged]) => damaged.startsWith(head) || head.startsWith(damaged));
		POSSIBLE.set(head, rows);
	}
	return rows;
}

const HEAD_LENGTH = 16;
const MAX_HEADS = 1024;
const POSSIBLE = new Map<string, typeof DOUBLED>();

/** `transformer_blocks` that lost its first letters when a prefix of a fixed length was cut off (Flux.2 files). */
function unalias(key: string): NameRepair | undefined {
	// Nearly always "transformer_blocks" itself.
	let at = key.indexOf('sformer_blocks');
	while (at > 0 && key.charCodeAt(at - 1) === 110) at = key.indexOf('sformer_blocks', at + 1);
	if (at < 0) return undefined;
	const to = key.replace(/(^|[._])sformer_blocks([._])/, '$1transformer_blocks$2');
	return to === key ? undefined : { to, what: '"transformer_blocks" cut to "sformer_blocks"' };
}

/**
 * `lora_unet_..._attn1.to_k.lora_magnitude_vector` (ComfyUI #3494), `lora_unet_..._attn1_processor_to_q_lora.down.weight`,
 * `lora_unet_..._to_q_lora_A.weight`, `lora_unet_..._to_k_.alpha` (ComfyUI #4347): kohya's prefix, but module or leaf of
 * another layout.
 */
function reflatten(key: string): NameRepair | undefined {
	const prefix = flatPrefixOf(key);
	if (prefix === undefined) return undefined;
	const split = splitLeaf(key);
	if (split !== undefined && split.leaf.style !== 'processor' && !split.module.includes('.')) {
		// A sound name, unless its module ends where the leaf was torn off, or lacks the index of to_out.0.
		if (split.module.endsWith('_to_out')) {
			const own = split.module.slice(prefix.length + 1);
			if (isModule(prefix, own) || !isModule(prefix, `${own}_0`)) return undefined;
			return { to: `${split.module}_0${split.leaf.suffix}`, what: '"to_out" without its index' };
		}
		if (!split.module.endsWith('_')) return undefined;
		const flat = split.module.slice(prefix.length + 1).replace(/_+$/, '');
		return isModule(prefix, flat) ? { to: `${prefix}_${flat}${split.leaf.suffix}`, what: 'module name with a torn-off end' } : undefined;
	}
	const found = cutFlatLeaf(flattenPath(key.slice(prefix.length + 1)), (flat) => isModule(prefix, flat));
	if (found !== undefined)
		return { to: `${prefix}_${found.module}${kohyaSuffix(found.leaf)}`, what: "another layout's name flattened under kohya's prefix" };
	// Leaves of other families (hada, lokr, ...) are never flattened; only their modules are.
	if (split === undefined || split.leaf.style === 'processor') return undefined;
	const flat = flattenPath(split.module.slice(prefix.length + 1));
	return isModule(prefix, flat)
		? { to: `${prefix}_${flat}${split.leaf.suffix}`, what: "dots left in a name under kohya's prefix" }
		: undefined;
}

/**
 * A path whose `.` became `_` behind a dotted prefix (`unet.down_blocks_0_..._attn1_to_q.lora_A.weight`), or whose `_`
 * all became `.` (`unet.down.blocks.0....attn1.to.q`): flattened, it is a module of some model; as it stands, of none.
 */
function unflattenDotted(key: string): NameRepair | undefined {
	if (key.startsWith('lora_')) return undefined;
	const prefix = DOTTED_PREFIXES.find((p) => key.startsWith(p) && key.charCodeAt(p.length) === 46);
	if (prefix === undefined) return undefined;
	const flattened = FLAT_INDEX.test(key);
	// Names of models that we have no table of are sound: only a flattened index is proof there.
	if (!flattened && (prefix === 'diffusion_model' || prefix === 'base_model.model' || !(SPLIT_WORDS.test(key) || key.includes('.to_out.'))))
		return undefined;
	const split = splitLeaf(key);
	if (split !== undefined && split.leaf.style !== 'processor') {
		const module = split.module.slice(prefix.length + 1);
		if (isDottedModule(prefix, module)) return undefined;
		const flat = flattenPath(module).replace('_processor_', '_');
		const path = dottedOf(prefix, flat) ?? (module.endsWith('.to_out') ? dottedOf(prefix, `${flat}_0`) : undefined);
		if (path === undefined || path === module) return undefined;
		const indexOnly = path === `${module}.0`;
		const what = indexOnly ? '"to_out" without its index' : 'module path with "_" and "." mixed up';
		return { to: `${prefix}.${path}${split.leaf.suffix}`, what, certain: !indexOnly };
	}
	if (!flattened) return undefined;
	const found = cutFlatLeaf(flattenPath(key.slice(prefix.length + 1)), (flat) => dottedOf(prefix, flat) !== undefined);
	const path = found === undefined ? undefined : dottedOf(prefix, found.module);
	if (found === undefined || path === undefined) return undefined;
	return { to: `${prefix}.${path}${dottedSuffix(found.leaf)}`, what: 'module path and leaf flattened behind a dotted prefix' };
}

/** An index between underscores: no dotted path of any model has one. */
const FLAT_INDEX = /_\d+_/;

/** Two segments that are one word in every model: worth a closer look. */
const SPLIT_WORDS =
	/\.(?:down|up|mid|transformer|single|time|add|conv|self|cross|text|to|proj)\.(?:blocks?|transformer|embedding|in|out|shortcut|attn|model|[qkv])\./;

/** Whether a dotted path is a module as it stands. */
function isDottedModule(prefix: string, module: string): boolean {
	if (prefix.startsWith('text_encoder')) return canonicalTextEncoderPath(module) !== undefined;
	if (isUnetPath(module) || sgmToDiffusers(module) !== undefined) return true;
	return prefix !== 'unet' && (transformerDialect([module]) !== undefined || canonicalTextEncoderPath(module) !== undefined);
}

/** `unet_down_blocks_0_..._to_q_lora.down.weight`, or the same without any prefix: a whole name flattened. */
function fromBare(key: string): NameRepair | undefined {
	if (flatPrefixOf(key) !== undefined) return undefined;
	if (!(FLAT_INDEX.test(key) || /^(?:down|up)\.blocks\.\d|^mid\.block\./.test(key)) || DOTTED_PREFIXES.some((p) => key.startsWith(`${p}.`)))
		return undefined;
	if (key.startsWith('lycoris_') || key.startsWith('bundle_emb.')) return undefined;
	const flat = flattenPath(key);
	const named: readonly (readonly [string, string])[] = [
		['unet_', 'lora_unet'],
		['text_encoder_2_', 'lora_te2'],
		['text_encoder_', 'lora_te'],
		['', 'lora_unet'],
	];
	for (const [start, prefix] of named) {
		if (!flat.startsWith(start)) continue;
		const found = cutFlatLeaf(flat.slice(start.length), (module) =>
			prefix === 'lora_unet' ? unflattenUnet(module) !== undefined : unflattenTextEncoder(module) !== undefined,
		);
		if (found !== undefined) return { to: `${prefix}_${found.module}${kohyaSuffix(found.leaf)}`, what: 'dotted name flattened as a whole' };
	}
	return undefined;
}

function flatPrefixOf(key: string): string | undefined {
	if (!key.startsWith('lora_')) return undefined;
	return FLAT_PREFIXES.find((p) => key.startsWith(p) && key.charCodeAt(p.length) === 95);
}

function cutFlatLeaf(flat: string, known: (module: string) => boolean): { readonly module: string; readonly leaf: Leaf } | undefined {
	const match = FLAT_LEAF.exec(flat);
	if (match === null) return undefined;
	const [, linear, kohya, peft, magnitude] = match;
	const leaf: Leaf =
		magnitude !== undefined
			? 'magnitude'
			: peft === 'A'
				? 'down'
				: peft === 'B'
					? 'up'
					: linear === 'up' || kohya === 'up'
						? 'up'
						: kohya === 'mid'
							? 'mid'
							: (linear ?? kohya)
								? 'down'
								: 'alpha';
	const module = flat.slice(0, match.index).replace('_processor_', '_').replace(/_+$/, '');
	// Attention processors call the module to_out.0 "to_out".
	for (const candidate of [module, `${module}_0`]) if (known(candidate)) return { module: candidate, leaf };
	return undefined;
}

function isModule(prefix: string, flat: string): boolean {
	if (prefix.startsWith('lora_te')) return unflattenTextEncoder(flat) !== undefined;
	return unflattenUnet(flat) !== undefined || unflattenTransformer(flat) !== undefined;
}

function dottedOf(prefix: string, flat: string): string | undefined {
	if (prefix.startsWith('text_encoder')) return unflattenTextEncoder(flat)?.path;
	if (prefix === 'unet') {
		const found = unflattenUnet(flat);
		return found !== undefined && isUnetPath(found.path) ? found.path : undefined;
	}
	return unflattenTransformer(flat)?.path ?? unflattenUnet(flat)?.path ?? unflattenTextEncoder(flat)?.path;
}

function kohyaSuffix(leaf: Leaf): string {
	return leafSuffix(leaf, 'kohya') ?? '';
}

function dottedSuffix(leaf: Leaf): string {
	if (leaf === 'down' || leaf === 'up' || leaf === 'magnitude') return leafSuffix(leaf, 'peft') ?? '';
	return kohyaSuffix(leaf);
}
