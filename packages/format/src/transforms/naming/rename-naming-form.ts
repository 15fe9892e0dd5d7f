import type { PartSlot } from './rename-naming-fuse.js';

/** What renaming left in `Adapter.form`, so that the way back gives the very factors it began with. */
export interface NamingForm {
	/** Fused modules that were cut: their parts share one down factor. */
	readonly split: ReadonlySet<string>;
	/** Parts that were set on a block diagonal: which blocks, and with which alpha. */
	readonly fused: ReadonlyMap<string, readonly PartSlot[]>;
}

/** Keys in `Adapter.form`. */
const SPLIT = 'naming.split';
const FUSED = 'naming.fused';

/** Reads both entries; what is not as we write it counts as absent, so that a foreign entry can only cost compactness. */
export function readNamingForm(form: ReadonlyMap<string, string>): NamingForm {
	const split = new Set<string>();
	const fused = new Map<string, readonly PartSlot[]>();
	for (const name of arrayOf(form.get(SPLIT))) if (typeof name === 'string') split.add(name);
	for (const entry of arrayOf(form.get(FUSED))) {
		if (!Array.isArray(entry)) continue;
		const [name, ...slots] = entry as readonly unknown[];
		const read = slots.map(slotOf);
		if (typeof name === 'string' && read.length > 0 && read.every((s) => s !== undefined)) fused.set(name, read);
	}
	return { split, fused };
}

/** The form with both entries replaced. */
export function writeNamingForm(form: ReadonlyMap<string, string>, naming: NamingForm): ReadonlyMap<string, string> {
	const next = new Map(form);
	next.delete(SPLIT);
	next.delete(FUSED);
	if (naming.split.size > 0) next.set(SPLIT, JSON.stringify([...naming.split]));
	if (naming.fused.size > 0) {
		next.set(FUSED, JSON.stringify(Array.from(naming.fused, ([name, slots]) => [name, ...slots.map((s) => [s.rank, s.alpha, s.rule])])));
	}
	return next;
}

function arrayOf(text: string | undefined): readonly unknown[] {
	if (text === undefined) return [];
	try {
		const value: unknown = JSON.parse(text);
		return Array.isArray(value) ? value : [];
	} catch {
		return [];
	}
}

function slotOf(value: unknown): PartSlot | undefined {
	if (!Array.isArray(value)) return undefined;
	const [rank, alpha, rule] = value as readonly unknown[];
	if (typeof rank !== 'number' || !Number.isSafeInteger(rank) || rank < 0) return undefined;
	if (alpha !== null && typeof alpha !== 'number') return undefined;
	if (rule !== 'alpha/rank' && rule !== 'one') return undefined;
	return { rank, alpha, rule };
}
