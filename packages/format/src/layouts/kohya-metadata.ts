import type { TargetModule } from '../adapter.js';
import { quote, type WarningSink } from '../errors.js';

/** `ss_*` entries that hold JSON (LAYOUTS.md §7.1). */
const JSON_FIELDS: readonly string[] = [
	'ss_network_args',
	'ss_dataset_dirs',
	'ss_reg_dataset_dirs',
	'ss_tag_frequency',
	'ss_bucket_info',
	'ss_datasets',
];

/** What Python's `str()` or a merge writes where there is no value. */
const NO_VALUE: ReadonlySet<string> = new Set(['', 'None', 'null', 'Dynamic', '[]', '{}']);

/** Arguments of `ss_network_args` that give modules other ranks or alphas than `ss_network_dim` and `ss_network_alpha`. */
const EXPLAINS =
	/block_dims|block_alphas|conv_|_dims?"|_alphas?"|split_qkv|rs_?lora|dim_from_weights|factor|preset|module_dropout_dim|reg_/;

/** Families whose rank is `ss_network_dim`. */
const RANKED: ReadonlySet<string> = new Set(['lora', 'locon', 'loha', 'glora']);

/**
 * Compare what kohya's metadata says with what the tensors are. Tensors always win; this only warns, and only when
 * no module at all has the rank (or alpha) that the metadata states and nothing in `ss_network_args` explains it:
 * per-block ranks, other ranks for convolutions and text encoders are normal.
 */
export function checkKohyaMetadata(metadata: ReadonlyMap<string, string>, modules: readonly TargetModule[], warn: WarningSink): void {
	for (const field of JSON_FIELDS) {
		const text = metadata.get(field);
		if (text === undefined || NO_VALUE.has(text) || isJson(text)) continue;
		warn({
			code: 'W_METADATA_PARSE',
			message: `metadata entry ${field} should be JSON but is ${quote(text)}; it is kept as it is.`,
			at: field,
		});
	}
	if (EXPLAINS.test(metadata.get('ss_network_args') ?? '')) return;
	const ranked = modules.filter((m) => RANKED.has(m.family) && m.rank !== undefined);
	if (ranked.length === 0) return;
	const dim = numberOf(metadata.get('ss_network_dim'));
	if (dim !== undefined && Number.isInteger(dim) && ranked.every((m) => m.rank !== dim)) {
		warn({
			code: 'W_METADATA_CONTRADICTS',
			message: `metadata says rank ${dim} (ss_network_dim), but the tensors have rank ${listOf(ranked.map((m) => m.rank ?? 0))}; the tensors count.`,
			at: 'ss_network_dim',
		});
	}
	const alpha = numberOf(metadata.get('ss_network_alpha'));
	const withAlpha = ranked.filter((m) => m.alphaSource === 'tensor' && m.alpha !== null);
	// sd-scripts stores rank where alpha is 0 or None.
	if (alpha === undefined || alpha === 0 || withAlpha.length === 0) return;
	if (withAlpha.every((m) => !agrees(m.alpha ?? 0, alpha))) {
		warn({
			code: 'W_METADATA_CONTRADICTS',
			message: `metadata says alpha ${alpha} (ss_network_alpha), but the alpha tensors say ${listOf(withAlpha.map((m) => m.alpha ?? 0))}; the tensors count.`,
			at: 'ss_network_alpha',
		});
	}
}

/** Equal up to the rounding of a bfloat16 alpha. */
function agrees(a: number, b: number): boolean {
	return Math.abs(a - b) <= Math.abs(b) * 2 ** -8;
}

function numberOf(text: string | undefined): number | undefined {
	if (text === undefined || NO_VALUE.has(text)) return undefined;
	const value = Number(text);
	return Number.isFinite(value) ? value : undefined;
}

function listOf(values: readonly number[]): string {
	const distinct = [...new Set(values)].sort((a, b) => a - b);
	return distinct.length > 4 ? `${distinct.slice(0, 4).join(', ')}, ...` : distinct.join(', ');
}

function isJson(text: string): boolean {
	try {
		JSON.parse(text);
		return true;
	} catch {
		return false;
	}
}
