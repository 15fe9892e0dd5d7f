import type { Action, AdapterRef, Strength } from '../suite/case.js';
import type { Code } from './diagnoses.js';

/** One adapter that acts, and how strongly. */
export interface Use {
	readonly adapter: AdapterRef;
	readonly strength: Strength;
}

/** Which adapters act at each export, under the protocol's rules or with one of them broken. */
export interface Lifecycle {
	/** Undefined: the right one. */
	readonly code: Code | undefined;
	readonly exports: ReadonlyMap<string, readonly Use[]>;
}

interface Loaded extends Use {
	readonly name: string;
}

type Broken = 'unload-ignored' | 'strength-not-updated' | 'strength-added' | 'swap-keeps-old' | 'last-adapter-only' | 'first-adapter-only';

const BROKEN: readonly Broken[] = [
	'unload-ignored',
	'strength-not-updated',
	'strength-added',
	'swap-keeps-old',
	'last-adapter-only',
	'first-adapter-only',
];

/** The right lifecycle first, then each broken one that comes to something else. */
export function lifecycles(actions: readonly Action[]): readonly Lifecycle[] {
	const right = replay(actions, undefined);
	const text = (exports: ReadonlyMap<string, readonly Use[]>): string => JSON.stringify([...exports]);
	const out: Lifecycle[] = [{ code: undefined, exports: right }];
	for (const code of BROKEN) {
		const exports = replay(actions, code);
		if (text(exports) !== text(right)) out.push({ code, exports });
	}
	return out;
}

function replay(actions: readonly Action[], broken: Broken | undefined): ReadonlyMap<string, readonly Use[]> {
	let loaded: Loaded[] = [];
	const exports = new Map<string, readonly Use[]>();
	for (const action of actions) {
		if (action.do === 'load') {
			loaded.push({ name: action.name, adapter: action.adapter, strength: action.adapter.strength ?? 1 });
		} else if (action.do === 'swap') {
			const old = loaded.find((l) => l.name === action.name);
			const entry = { name: action.name, adapter: action.adapter, strength: action.adapter.strength ?? old?.strength ?? 1 };
			if (broken !== 'swap-keeps-old') loaded = loaded.filter((l) => l.name !== action.name);
			loaded.push(entry);
		} else if (action.do === 'strength') {
			const { name, value } = action;
			if (broken === 'strength-added') {
				const old = loaded.find((l) => l.name === name);
				if (old !== undefined) loaded.push({ name, adapter: old.adapter, strength: value });
			} else if (broken !== 'strength-not-updated') loaded = loaded.map((l) => (l.name === name ? { ...l, strength: value } : l));
		} else if (action.do === 'unload') {
			if (broken !== 'unload-ignored') loaded = loaded.filter((l) => l.name !== action.name);
		} else if (action.do === 'export') {
			const acting = broken === 'last-adapter-only' ? loaded.slice(-1) : broken === 'first-adapter-only' ? loaded.slice(0, 1) : loaded;
			exports.set(
				action.as,
				acting.map(({ adapter, strength }) => ({ adapter, strength })),
			);
		}
	}
	return exports;
}

/** What a strength comes to for a component; a component that is not named has 1. */
export function strengthFor(strength: Strength, component: string): number {
	return typeof strength === 'number' ? strength : (new Map(Object.entries(strength)).get(component) ?? 1);
}
