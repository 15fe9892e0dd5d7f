import type { Width } from './unet-structure.js';

/** Named widths found so far, and equations that still have more than one unknown. */
export interface Unknowns {
	readonly known: Map<string, number>;
	readonly open: { readonly width: Width; readonly value: number }[];
}

export function unknowns(given: ReadonlyMap<string, number> = new Map()): Unknowns {
	return { known: new Map(given), open: [] };
}

/**
 * State that a width is `value`: an unknown name gets its number on first sight, later sights must agree.
 * False on a conflict. With several unknown names the equation is kept for later.
 */
export function unifyWidth(width: Width, value: number, state: Unknowns): boolean {
	const missing = width.of.filter((name) => !state.known.has(name));
	const [name] = missing;
	if (name === undefined) return widthValue(width, state.known) === value;
	if (missing.some((other) => other !== name)) {
		state.open.push({ width, value });
		return true;
	}
	const sum = width.of.reduce((total, n) => total + (state.known.get(n) ?? 0), 0);
	const found = (value / width.times - sum) / missing.length;
	if (!Number.isSafeInteger(found) || found <= 0) return false;
	state.known.set(name, found);
	return true;
}

/** Settle the equations that were kept; false on a conflict. Those that stay open contradict nothing. */
export function settle(state: Unknowns): boolean {
	for (let before = -1; before !== state.open.length; ) {
		before = state.open.length;
		for (const { width, value } of state.open.splice(0)) if (!unifyWidth(width, value, state)) return false;
	}
	return true;
}

/** The number of a width, undefined while a name is unknown. */
export function widthValue(width: Width, known: ReadonlyMap<string, number>): number | undefined {
	let sum = 0;
	for (const name of width.of) {
		const value = known.get(name);
		if (value === undefined) return undefined;
		sum += value;
	}
	return width.times * sum;
}
