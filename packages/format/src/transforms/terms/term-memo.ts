import type { Adapter, TargetModule } from '../../adapter.js';
import type { Values } from '../../families/index.js';
import type { LowRank } from '../../linalg/low-rank.js';
import type { AdapterUse } from '../strength/adapter-use.js';

/** One number for each row or each column of a weight. */
export interface AxisValues {
	readonly axis: 'out' | 'in';
	readonly values: Float64Array;
}

/** What a DoRA has read: its magnitude, and of the base the norms of W + share * product. */
export interface DoraMemo {
	readonly magnitude: Values;
	readonly norms: AxisValues;
	readonly share: number;
}

/** What was found out about one module of an adapter and holds at every strength. */
export interface ModuleMemo {
	/** The factors were checked for NaN and Inf. */
	checked: boolean;
	/** Its product at strength 1. */
	unit: LowRank | undefined;
	dora: DoraMemo | undefined;
	/** IA3: what it adds to 1 at strength 1. */
	scale: AxisValues | undefined;
}

/** What a plan has read of its adapters and, for DoRA, of the base. */
export interface TermMemo {
	/** Adapters in diffusers' names, by what was given. */
	readonly renamed: Map<Adapter, Adapter>;
	readonly modules: Map<TargetModule, ModuleMemo>;
}

/** A memo for these adapters, with what an earlier one knows of them. */
export function termMemo(uses: readonly AdapterUse[], previous: TermMemo | undefined): TermMemo {
	const memo: TermMemo = { renamed: new Map(), modules: new Map() };
	if (previous === undefined) return memo;
	for (const { adapter } of uses) {
		const renamed = previous.renamed.get(adapter);
		if (renamed === undefined) continue;
		memo.renamed.set(adapter, renamed);
		for (const module of renamed.modules) {
			const known = previous.modules.get(module);
			if (known !== undefined) memo.modules.set(module, known);
		}
	}
	return memo;
}

/** The entry of a module, made when there is none. */
export function moduleMemo(memo: TermMemo, module: TargetModule): ModuleMemo {
	let known = memo.modules.get(module);
	if (known === undefined) {
		known = { checked: false, unit: undefined, dora: undefined, scale: undefined };
		memo.modules.set(module, known);
	}
	return known;
}
