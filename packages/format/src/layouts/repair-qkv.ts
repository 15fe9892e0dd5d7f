import { ofNames } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { keyTable, splitNamesOf } from './key-table.js';

/** A tensor of a wrongly split projection, and what it should be. */
export interface QkvRepair {
	readonly from: string;
	readonly to: string;
	readonly tensor: Tensor;
	readonly what: string;
}

/** Names of the three parts, in the order of the rows of a fused projection. */
const TRIPLES: readonly (readonly [string, string, string])[] = [
	['to_q', 'to_k', 'to_v'],
	['add_q_proj', 'add_k_proj', 'add_v_proj'],
	['q_proj', 'k_proj', 'v_proj'],
];

interface Half {
	readonly key: string;
	readonly tensor: Tensor;
	readonly suffix: string;
}

interface Part {
	down: Half | undefined;
	up: Half | undefined;
	readonly others: Half[];
}

/**
 * Find q, k, v that a converter named without cutting the rows of the fused projection they came from: each still
 * has 3 x as many rows as it has columns, where a self-attention's q, k and v are square (LAYOUTS.md §4: fused to
 * split is exact with part p = rows p, the down factor shared). Either all three hold all rows, or only q is there
 * and holds them.
 *
 * Judged by shapes alone, so nothing is read; a projection whose parts already have their own rows is left alone.
 */
export function wronglySplitQkv(file: StateDict): readonly QkvRepair[] {
	if (!mayHoldAllRows(file)) return [];
	const groups = new Map<string, { parts: Map<string, Part>; names: readonly [string, string, string] }>();
	for (const { key, tensor, split } of keyTable(file)) {
		if (split === undefined) continue;
		for (const names of TRIPLES) {
			const name = names.find((n) => split.module.endsWith(`.${n}`) || split.module.endsWith(`_${n}`));
			if (name === undefined) continue;
			// `add_q_proj` also ends with `q_proj`.
			if (names[0] === 'q_proj' && split.module.endsWith(`add_${name}`)) continue;
			const id = `${split.module.slice(0, -name.length)}\u0000${names[0]}`;
			const group = groups.get(id) ?? { parts: new Map<string, Part>(), names };
			groups.set(id, group);
			const part = group.parts.get(name) ?? { down: undefined, up: undefined, others: [] };
			group.parts.set(name, part);
			const half = { key, tensor, suffix: split.leaf.suffix };
			if (split.leaf.role === 'down') part.down = half;
			else if (split.leaf.role === 'up') part.up = half;
			else part.others.push(half);
		}
	}
	const repairs: QkvRepair[] = [];
	for (const [id, { parts, names }] of groups) repairGroup(id.slice(0, id.indexOf('\u0000')), parts, names, file, repairs);
	return repairs;
}

/** Names of down factors, and of up factors of a q. */
const pairNames = ofNames((list) => {
	const downs: string[] = [];
	const ups: string[] = [];
	const { splits } = splitNamesOf(list);
	for (const [i, name] of list.names.entries()) {
		const split = splits[i];
		if (split?.leaf.role === 'down') downs.push(name);
		else if (split?.leaf.role === 'up' && /to_q$|q_proj$/.test(split.module)) ups.push(name);
	}
	return { downs, ups };
});

/** Quick look: whether the up factor of any q has 3 x as many rows as any down factor has columns. */
function mayHoldAllRows(file: StateDict): boolean {
	const { downs, ups } = pairNames(file);
	if (ups.length === 0) return false;
	const columns = new Set<number>();
	let last = -1;
	for (const name of downs) {
		const n = file.tensors.get(name)?.shape[1] ?? 0;
		if (n !== last) columns.add(n);
		last = n;
	}
	return ups.some((name) => columns.has((file.tensors.get(name)?.shape[0] ?? -1) / 3));
}

function repairGroup(
	stem: string,
	parts: ReadonlyMap<string, Part>,
	names: readonly [string, string, string],
	file: StateDict,
	repairs: QkvRepair[],
): void {
	const [q, k, v] = names.map((n) => parts.get(n));
	if (q === undefined || !holdsAllRows(q)) return;
	if (k !== undefined && v !== undefined) {
		if (!holdsAllRows(k) || !holdsAllRows(v) || !sameShapes([q, k, v])) return;
		for (const [n, part] of [q, k, v].entries()) {
			for (const half of [part.up, ...part.others]) {
				if (half === undefined) continue;
				const cut = rowsOf(half.tensor, n, part.up?.tensor.shape[0] ?? 0);
				if (cut !== undefined)
					repairs.push({ from: half.key, to: half.key, tensor: cut, what: 'all rows of the fused q, k, v in each part' });
			}
		}
		return;
	}
	if (k !== undefined || v !== undefined) return;
	for (const [n, name] of names.entries()) {
		for (const half of [q.down, q.up, ...q.others]) {
			if (half === undefined) continue;
			const to = `${stem}${name}${half.suffix}`;
			if (n > 0 && file.tensors.has(to)) return;
			const cut = half === q.down ? undefined : rowsOf(half.tensor, n, q.up?.tensor.shape[0] ?? 0);
			// The down factor and alpha are the same for all three parts.
			if (n > 0 || cut !== undefined)
				repairs.push({ from: half.key, to, tensor: cut ?? half.tensor, what: 'the fused q, k, v under the name of q alone' });
		}
	}
}

function holdsAllRows(part: Part): boolean {
	const rows = part.up?.tensor.shape[0];
	const columns = part.down?.tensor.shape[1];
	return rows !== undefined && columns !== undefined && columns > 0 && rows === 3 * columns;
}

function sameShapes(parts: readonly Part[]): boolean {
	const [first] = parts;
	return parts.every(
		(p) => p.up?.tensor.shape.join() === first?.up?.tensor.shape.join() && p.down?.tensor.shape.join() === first?.down?.tensor.shape.join(),
	);
}

/** Third `n` of the rows; undefined for tensors that do not have a row per output (alpha). */
function rowsOf(tensor: Tensor, n: number, rows: number): Tensor | undefined {
	if (tensor.shape[0] !== rows || rows % 3 !== 0) return undefined;
	const height = rows / 3;
	const bytes = tensor.nbytes / 3;
	const { range } = tensor;
	return {
		dtype: tensor.dtype,
		shape: [height, ...tensor.shape.slice(1)],
		nbytes: bytes,
		range: range === undefined ? undefined : { source: range.source, offset: range.offset + n * bytes },
		origin: undefined,
		derivation: { from: [tensor], how: `rows ${n * height} to ${(n + 1) * height - 1} of the fused projection`, errorBound: 0 },
		read: async () =>
			range === undefined ? (await tensor.read()).slice(n * bytes, (n + 1) * bytes) : range.source.read(range.offset + n * bytes, bytes),
	};
}
