import { CHROMA_NAMES, FLUX_NAMES } from '../modules/flux-names.js';
import { type NamedParts, type NamingTable, namingTable, partRows } from '../modules/naming-table.js';
import { SD3_NAMES } from '../modules/sd3-names.js';
import { transformerDialect } from '../modules/transformer-names.js';
import { WAN_NAMES } from '../modules/wan-names.js';
import { Z_IMAGE_NAMES } from '../modules/z-image-names.js';
import type { TensorLeaf } from './place-base-tensor.js';
import { rowsOfPart, type StoredPart, stackParts } from './stored-part.js';

type Parts = ReadonlyMap<TensorLeaf, StoredPart>;

const FLUX: NamingTable = namingTable([...FLUX_NAMES.rows, ...CHROMA_NAMES.rows]);
const TABLES: ReadonlyMap<string, NamingTable> = new Map([
	['flux', FLUX],
	['chroma', FLUX],
	['sd3', SD3_NAMES],
	['wan', WAN_NAMES],
	['z-image', Z_IMAGE_NAMES],
]);
/** XLabs' and ComfyUI's pseudo module: the attention rows of `linear1` alone. */
const QKV = '_qkv';

/**
 * The modules of a transformer under its other naming: rows of a fused weight as the parts that diffusers has, parts
 * stacked as the fused weight that the model's own names have. So an adapter in either naming changes the right rows,
 * whatever its family, and nothing has to be converted.
 */
export function otherNaming(modules: ReadonlyMap<string, Parts>): ReadonlyMap<string, Parts> {
	const dialect = transformerDialect(modules.keys());
	const table = dialect === undefined ? undefined : TABLES.get(dialect.family);
	const out = new Map<string, Parts>();
	if (dialect === undefined || table === undefined) return out;
	if (dialect.naming === 'diffusers') {
		const done = new Set<string>();
		for (const path of modules.keys()) {
			const named = table.byDiffusers(path);
			if (named === undefined || done.has(named.native)) continue;
			done.add(named.native);
			addNative(out, named, modules);
		}
	} else {
		for (const [path, parts] of modules) {
			const named = table.byNative(path);
			if (named !== undefined) addDiffusers(out, named, parts);
		}
	}
	for (const path of modules.keys()) out.delete(path);
	return out;
}

function addDiffusers(out: Map<string, Parts>, named: NamedParts, stored: Parts): void {
	const weight = stored.get('weight');
	const columns = weight?.shape[1];
	const cut = named.parts.map(() => new Map<TensorLeaf, StoredPart>());
	for (const [leaf, part] of stored) {
		const rows = part.shape[0] ?? 0;
		if (isSwap(named, weight)) {
			cut[0]?.set(leaf, swapped(part));
			continue;
		}
		const heights = named.parts.length === 1 ? [rows] : partRows(named.rule, named.parts.length, rows, columns);
		if (heights === undefined || heights.reduce((sum, h) => sum + h, 0) !== rows) continue;
		let row = 0;
		for (const [n, height] of heights.entries()) {
			cut[n]?.set(leaf, rowsOfPart(part, row, row + height));
			row += height;
		}
	}
	for (const [n, parts] of cut.entries()) if (parts.size > 0) out.set(named.parts[n] ?? named.native, parts);
	if (named.rule === 'hidden-mlp') addQkv(out, named, cut);
}

function addNative(out: Map<string, Parts>, named: NamedParts, modules: ReadonlyMap<string, Parts>): void {
	const found = named.parts.map((path) => modules.get(path));
	if (named.rule === 'hidden-mlp') addQkv(out, named, found);
	const fused = new Map<TensorLeaf, StoredPart>();
	const first = found[0];
	for (const leaf of first?.keys() ?? []) {
		const parts = found.map((f) => f?.get(leaf)).filter((p) => p !== undefined);
		if (parts.length !== named.parts.length) continue;
		const whole = stackParts(parts);
		fused.set(leaf, isSwap(named, first?.get('weight')) ? swapped(whole) : whole);
	}
	if (fused.size > 0) out.set(named.native, fused);
}

function addQkv(out: Map<string, Parts>, named: NamedParts, cut: readonly (Parts | undefined)[]): void {
	const fused = new Map<TensorLeaf, StoredPart>();
	for (const leaf of cut[0]?.keys() ?? []) {
		const parts = cut
			.slice(0, 3)
			.map((f) => f?.get(leaf))
			.filter((p) => p !== undefined);
		if (parts.length === 3) fused.set(leaf, stackParts(parts));
	}
	if (fused.size > 0) out.set(`${named.native}${QKV}`, fused);
}

function isSwap({ rule }: NamedParts, weight: StoredPart | undefined): boolean {
	if (rule === 'swap') return true;
	return rule === 'swap-if-two' && weight?.shape[1] !== undefined && weight.shape[0] === 2 * weight.shape[1];
}

/** Upper and lower half of the rows change places. */
function swapped(part: StoredPart): StoredPart {
	const rows = part.shape[0] ?? 0;
	const half = Math.floor(rows / 2);
	return stackParts([rowsOfPart(part, half, rows), rowsOfPart(part, 0, half)]);
}
