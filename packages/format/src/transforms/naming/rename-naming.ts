import type { Adapter, Naming, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { CHROMA_NAMES, FLUX_NAMES } from '../../modules/flux-names.js';
import { type NamedParts, type NamingTable, namingTable, partRows, renameRow } from '../../modules/naming-table.js';
import { SD3_NAMES } from '../../modules/sd3-names.js';
import { hiDreamTemplates, qwenImageTemplates } from '../../modules/transformer-templates.js';
import { WAN_NAMES } from '../../modules/wan-names.js';
import { Z_IMAGE_NAMES } from '../../modules/z-image-names.js';
import { type NamingForm, readNamingForm, writeNamingForm } from './rename-naming-form.js';
import { fuseParts, type PartSlot } from './rename-naming-fuse.js';
import { factorEntries, factorKind, factorSize, splitModule, swapModule } from './rename-naming-split.js';

/** End of the pseudo module's name. */
const QKV_ALONE = '_qkv';

/** The model of a naming that is not diffusers'. */
const BFL: NamingTable = namingTable([
	...FLUX_NAMES.rows,
	...CHROMA_NAMES.rows,
	// XLabs' and ComfyUI's pseudo module: the attention rows of linear1 alone. Behind linear1, so that parts are fused into that.
	{
		native: `single_blocks.#.linear1${QKV_ALONE}`,
		parts: ['to_q', 'to_k', 'to_v'].map((leaf) => `single_transformer_blocks.#.attn.${leaf}`),
		rule: 'equal',
	},
]);
/** Qwen-Image's and HiDream's own names are diffusers'. */
const SAME: readonly NamingTable[] = [qwenImageTemplates(), hiDreamTemplates()].map((names) =>
	namingTable(names.map((t) => renameRow(t, t))),
);
const NATIVE: readonly NamingTable[] = [WAN_NAMES, Z_IMAGE_NAMES, ...SAME];

/**
 * The same adapter in another naming: Flux `bfl` <-> `diffusers`, SD3 `sai` <-> `diffusers`, Wan `native` <->
 * `diffusers` (Z-Image and Qwen-Image likewise). Fused projections are cut by rows (exact) or set on a block diagonal (exact; the rank is the sum);
 * parts that came from one fused module give it back bit for bit. Modules of text encoders keep their names.
 * How it was done is kept in `form` (`naming.split`, `naming.fused`), so that the way back is exact.
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` where a family cannot be cut or fused, `E_MODULE_UNRESOLVED` for a
 * module that has no name in the target, `E_LORA_SHAPE` where rows do not fit.
 */
export function renameNaming(adapter: Adapter, to: Naming): Adapter {
	if (adapter.naming === to) return adapter;
	const ours = adapter.modules.filter(isTransformer);
	// UNets have diffusers' names only; a file of text encoders alone fits every naming.
	if (ours.length === 0) return adapter.modules.some((m) => m.component === 'unet') ? adapter : { ...adapter, naming: to };
	if (adapter.naming === 'diffusers') return fuseAll(adapter, to, tableFor(to, adapter, 'diffusers'));
	if (to === 'diffusers') return splitAll(adapter, tableFor(adapter.naming, adapter, 'native'));
	const middle = splitAll(adapter, tableFor(adapter.naming, adapter, 'native'));
	return fuseAll(middle, to, tableFor(to, middle, 'diffusers'));
}

function isTransformer(module: TargetModule): boolean {
	return module.component.startsWith('transformer');
}

function tableFor(naming: Naming, adapter: Adapter, side: 'native' | 'diffusers'): NamingTable {
	const ours = adapter.modules.filter(isTransformer);
	const knows = (table: NamingTable, { path }: TargetModule): boolean =>
		(side === 'native' ? table.byNative(path) : table.byDiffusers(path)) !== undefined;
	const tables = naming === 'bfl' ? [BFL] : naming === 'sai' ? [SD3_NAMES] : NATIVE;
	let stranger: TargetModule | undefined;
	for (const table of tables) {
		const unknown = ours.find((m) => !m.resolved || !knows(table, m));
		if (unknown === undefined) return table;
		stranger ??= unknown;
	}
	throw noName(stranger, adapter.naming, side === 'native' ? 'diffusers' : naming);
}

function noName(module: TargetModule | undefined, from: Naming, to: Naming): FormatError {
	const [path, component] = [module?.path ?? '', module?.component ?? ''];
	return new FormatError(
		'E_MODULE_UNRESOLVED',
		`Module ${quote(path)} of ${component} has no known name in ${to} naming (it is written in ${from} naming); convert to a layout that keeps ${from} names.`,
		{ at: path },
	);
}

function splitAll(adapter: Adapter, table: NamingTable): Adapter {
	const form = readNamingForm(adapter.form);
	const split: string[] = [];
	const modules: TargetModule[] = [];
	for (const module of adapter.modules) {
		const named = isTransformer(module) ? table.byNative(module.path) : undefined;
		if (named === undefined) {
			modules.push(module);
			continue;
		}
		if (named.parts.length > 1) {
			const compact = form.fused.get(module.path);
			modules.push(...splitModule(module, named, compact));
			if (compact === undefined) split.push(module.path);
		} else modules.push(renamed(module, named, named.parts[0] ?? module.path));
	}
	return { ...adapter, naming: 'diffusers', modules, form: writeNamingForm(adapter.form, { split: new Set(split), fused: new Map() }) };
}

function fuseAll(adapter: Adapter, to: Naming, table: NamingTable): Adapter {
	const form = readNamingForm(adapter.form);
	const groups = new Map<string, { readonly named: NamedParts; readonly slots: Map<number, TargetModule> }>();
	for (const module of adapter.modules) {
		const named = isTransformer(module) ? table.byDiffusers(module.path) : undefined;
		if (named === undefined) continue;
		const key = groupKey(module, named);
		const group = groups.get(key);
		if (group === undefined) groups.set(key, { named, slots: new Map([[named.part, module]]) });
		else group.slots.set(named.part, module);
	}
	for (const [key, group] of groups) {
		const alone = `${group.named.native}${QKV_ALONE}`;
		if (!form.split.has(alone) || group.slots.has(3)) continue;
		groups.set(key, { ...group, named: { native: alone, parts: group.named.parts.slice(0, 3), rule: 'equal', part: 0 } });
	}
	const done = new Set<string>();
	const fused: Map<string, readonly PartSlot[]> = new Map();
	const modules: TargetModule[] = [];
	for (const module of adapter.modules) {
		const named = isTransformer(module) ? table.byDiffusers(module.path) : undefined;
		const key = named === undefined ? undefined : groupKey(module, named);
		const group = key === undefined ? undefined : groups.get(key);
		if (named === undefined || group === undefined || key === undefined) {
			modules.push(module);
			continue;
		}
		if (done.has(key)) continue;
		done.add(key);
		if (named.parts.length === 1) {
			modules.push(renamed(module, named, named.native));
			continue;
		}
		for (const part of group.slots.values()) for (const [role] of factorEntries(part)) factorKind(part, role, 'fused');
		const heights = partHeights(adapter, group.named, group.slots);
		const result = fuseParts(group.named, group.slots, heights, form.split.has(group.named.native));
		modules.push(result.module);
		if (result.slots !== undefined) fused.set(group.named.native, result.slots);
	}
	const next: NamingForm = { split: new Set(), fused };
	return { ...adapter, naming: to, modules, form: writeNamingForm(adapter.form, next) };
}

function groupKey(module: TargetModule, named: NamedParts): string {
	return `${module.component}\u0000${named.native}`;
}

function renamed(module: TargetModule, named: NamedParts, path: string): TargetModule {
	const moved = { ...module, path };
	if (named.rule === 'swap') return swapModule(moved);
	if (named.rule !== 'swap-if-two') return moved;
	const { rows, columns } = factorSize(module);
	return rows !== undefined && columns !== undefined && rows === 2 * columns ? swapModule(moved) : moved;
}

/** Rows of every part; a part that the adapter lacks has those of its siblings (q, k, v) or of the same part elsewhere (the MLP). */
function partHeights(adapter: Adapter, named: NamedParts, slots: ReadonlyMap<number, TargetModule>): readonly number[] {
	const known = named.parts.map((_, n) => {
		const slot = slots.get(n);
		return slot === undefined ? undefined : factorSize(slot).rows;
	});
	const columns = Array.from(slots.values(), (m) => factorSize(m).columns).find((c) => c !== undefined);
	const hidden =
		named.rule === 'hidden-mlp' ? (known.slice(0, 3).find((r) => r !== undefined) ?? columns) : known.find((r) => r !== undefined);
	const heights = named.parts.map((_, n) => known[n] ?? (named.rule === 'hidden-mlp' && n === 3 ? mlpRows(adapter, hidden) : hidden));
	const sure = heights.filter((h) => h !== undefined);
	const total = sure.reduce((sum, h) => sum + h, 0);
	const expected = sure.length === heights.length ? partRows(named.rule, named.parts.length, total, hidden) : undefined;
	if (expected === undefined || expected.some((h, n) => h !== heights[n])) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`The parts of ${quote(named.native)} have ${heights.map((h) => h ?? 'unknown').join(', ')} output rows, which do not make one ${named.rule === 'equal' ? 'weight of equal parts' : 'q, k, v, mlp weight'}.`,
			{ at: named.native },
		);
	}
	return expected;
}

/** Rows of `proj_mlp` when it is missing: as in another block, else four times the width, as Flux has it. */
function mlpRows(adapter: Adapter, hidden: number | undefined): number | undefined {
	for (const module of adapter.modules) {
		if (!isTransformer(module)) continue;
		const { rows, columns } = factorSize(module);
		if (rows !== undefined && /(\.proj_mlp|\.ff\.net\.0\.proj|\.ff_context\.net\.0\.proj)$/.test(module.path)) return rows;
		if (rows !== undefined && columns !== undefined && columns > rows && /^single_.*\.proj_out$/.test(module.path)) return columns - rows;
	}
	return hidden === undefined ? undefined : 4 * hidden;
}
