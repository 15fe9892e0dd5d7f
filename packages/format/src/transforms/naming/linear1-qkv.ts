import type { Adapter, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { concatRows, sliceRows } from './fuse-split.js';

/** Form entry: JSON list of `linear1` modules whose rows behind q, k and v were added here as zeros. */
const PADDED = 'naming.linear1_qkv';

const PSEUDO = /^single_blocks\.\d{1,6}\.linear1_qkv$/;

/**
 * Flux' `linear1` is q, k, v and the MLP in one; XLabs' single blocks adapt the first three alone, which ComfyUI calls
 * `linear1_qkv` (LAYOUTS.md §2.12). Readers of kohya's and BFL's names know the whole module only: the MLP's rows
 * (four times the width) are added as zeros. Exact. @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for another family than LoRA.
 */
export function withWholeLinear1(adapter: Adapter): Adapter {
	if (adapter.naming !== 'bfl' || !adapter.modules.some((m) => PSEUDO.test(m.path))) return adapter;
	const padded: string[] = [];
	const modules = adapter.modules.map((module): TargetModule => {
		const { up, down, ...others } = module.factors;
		if (!PSEUDO.test(module.path)) return module;
		const rows = up?.shape[0] ?? 0;
		if (up === undefined || down === undefined || Object.keys(others).length > 0 || rows % 3 !== 0) {
			throw new FormatError(
				'E_UNSUPPORTED_ADAPTER',
				`${quote(module.path)} is no plain LoRA of q, k and v, so it cannot be widened to linear1.`,
				{
					at: module.path,
				},
			);
		}
		const path = module.path.slice(0, -'_qkv'.length);
		padded.push(path);
		return { ...module, path, factors: { down, up: concatRows([up, (rows / 3) * 4]) } };
	});
	return { ...adapter, modules, form: new Map([...adapter.form, [PADDED, JSON.stringify(padded)]]) };
}

/** The way back: only the rows that were there before. */
export function withLinear1Qkv(adapter: Adapter): Adapter {
	const text = adapter.form.get(PADDED);
	if (text === undefined || adapter.naming !== 'bfl') return adapter;
	const form = new Map(adapter.form);
	form.delete(PADDED);
	const padded = new Set(namesIn(text));
	const modules = adapter.modules.map((module): TargetModule => {
		const { up, down } = module.factors;
		if (!padded.has(module.path) || up === undefined || down === undefined) return module;
		// Seven parts of equal height: q, k, v and four of the MLP.
		const rows = ((up.shape[0] ?? 0) / 7) * 3;
		return { ...module, path: `${module.path}_qkv`, factors: { ...module.factors, up: sliceRows(up, 0, rows) } };
	});
	return { ...adapter, modules, form };
}

function namesIn(text: string): string[] {
	try {
		const value: unknown = JSON.parse(text);
		return Array.isArray(value) ? value.filter((v) => typeof v === 'string') : [];
	} catch {
		return [];
	}
}
