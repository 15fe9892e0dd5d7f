import { ofNames } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import { reshaped, type Tensor } from '../tensor.js';
import { splitNamesOf } from './key-table.js';
import { type NameRepair, repairName } from './repair-names.js';
import { wronglySplitQkv } from './repair-qkv.js';

/** One name that was damaged by another tool. */
export interface Repair {
	/** Name in the file. */
	readonly from: string;
	/** What it is read as; the same as `from` where only the rows were wrong. */
	readonly to: string;
	/** A phrase: "prefix written twice". */
	readonly what: string;
}

/** A damaged name as detection sees it. */
export interface DamagedKey extends Repair {
	/** True when no sound file has such a name or shape, so that it is damage even where a layout could read it. */
	readonly certain: boolean;
}

/**
 * Undo known damage: prefixes written twice, names of one layout flattened under another's prefix, kohya-renamed
 * `lora_magnitude_vector` (ComfyUI #3494), `sformer_blocks`, q, k, v that each hold all rows of the fused
 * projection. Bytes are never changed; rows are cut by offset. A name whose repair is already taken stays.
 */
export function repairKeys(file: StateDict): { readonly file: StateDict; readonly repairs: readonly Repair[] } {
	const { renames, ...found } = findRenames(file);
	const repairs = [...found.repairs];
	const renamed = renames.size === 0 ? file : rename(file, renames);
	const rows = wronglySplitQkv(renamed);
	if (rows.length === 0) return { file: renamed, repairs };
	const cut = new Map(renamed.tensors);
	const cutSmall = new Map(renamed.small);
	for (const { from, to, tensor, what } of rows) {
		cut.set(to, tensor);
		const values = renamed.small.get(from);
		if (values !== undefined) cutSmall.set(to, values);
		repairs.push({ from, to, what });
	}
	return { file: { ...renamed, tensors: cut, small: cutSmall }, repairs };
}

interface Renames {
	readonly repairs: readonly Repair[];
	readonly renames: ReadonlyMap<string, NameRepair>;
}

/** Names alone say it. */
const findRenames: (file: StateDict) => Renames = ofNames((list) => {
	const repairs: Repair[] = [];
	const renames = new Map<string, NameRepair>();
	const made = new Set<string>();
	const { splits, allFlat } = splitNamesOf(list);
	// A flat name without dots is judged by its module alone: once for all of its tensors.
	let sound = '';
	for (const [i, from] of list.names.entries()) {
		const split = splits[i];
		if (allFlat && split !== undefined && split.module === sound) continue;
		const repair = repairName(from);
		if (repair === undefined && split !== undefined && split.leaf.style !== 'processor') sound = split.module;
		if (repair === undefined || list.has(repair.to) || made.has(repair.to)) continue;
		made.add(repair.to);
		renames.set(from, repair);
		repairs.push({ from, to: repair.to, what: repair.what });
	}
	return { repairs, renames };
});

function rename(file: StateDict, renames: ReadonlyMap<string, NameRepair>): StateDict {
	const tensors = new Map<string, Tensor>();
	const small = new Map<string, readonly number[]>();
	for (const [from, tensor] of file.tensors) {
		const to = renames.get(from)?.to ?? from;
		tensors.set(to, to === from ? tensor : asNamed(to, from, tensor));
		const values = file.small.get(from);
		if (values !== undefined) small.set(to, values);
	}
	return { ...file, tensors, small };
}

/** The damaged names of a file, without changing anything. Reads names and shapes only. */
export function damagedKeys(file: StateDict): readonly DamagedKey[] {
	return repairKeys(file).repairs.map((repair) => ({
		...repair,
		certain: repair.from === repair.to || repairName(repair.from)?.certain !== false,
	}));
}

/** PEFT's convolution magnitude (1, o, 1, 1) means the output axis; as `dora_scale` that is (o, 1, 1, 1) (LAYOUTS.md §5.6). */
function asNamed(to: string, from: string, tensor: Tensor): Tensor {
	const { shape } = tensor;
	if (!to.endsWith('.dora_scale') || !from.includes('magnitude') || shape.length < 3 || shape[0] !== 1) return tensor;
	return reshaped(tensor, [shape[1] ?? 1, 1, ...shape.slice(2)]);
}
