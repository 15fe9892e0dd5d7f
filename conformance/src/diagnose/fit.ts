import type { Precision } from '../suite/case.js';
import type { Hypothesis } from './hypotheses.js';
import { rightEffect } from './hypotheses.js';
import type { AdapterFacts } from './module-facts.js';
import type { Observation, Observed } from './observe.js';
import type { Use } from './uses.js';

/** How far a formula may be from what was observed and still explain it: rounding of factors, products and sums. */
const RELATIVE: Readonly<Record<Precision, number>> = { f32: 2e-6, f16: 2 ** -9, bf16: 2 ** -6 };
/** Root mean square of the roundings, in ulps: three of them stay below. */
const ULPS = 1.2;

/** An adapter that acts, as hypotheses see it. */
export interface ReadUse extends Use {
	readonly facts: AdapterFacts;
}

/** What a hypothesis adds to one module. @param hypothesis undefined: the right rule */
export function predict(
	key: string,
	length: number,
	uses: readonly ReadUse[],
	hypothesis: Pick<Hypothesis, 'effect'> | undefined,
): Float64Array {
	const out = new Float64Array(length);
	for (const { facts, strength } of uses) {
		const module = facts.byKey.get(key);
		if (module === undefined) continue;
		const { factor, delta } = hypothesis === undefined ? rightEffect(module, facts, strength) : hypothesis.effect(module, facts, strength);
		for (let i = 0; i < length; i++) out[i] = (out[i] ?? 0) + factor * (delta[i] ?? 0);
	}
	return out;
}

/** True when the prediction is what was seen, up to the precision. */
export function fits(seen: Float64Array, predicted: Float64Array, noise: number, precision: Precision): boolean {
	return shareOf(seen, predicted, noise, precision) <= 1;
}

/** Distance over what rounding may do. */
function shareOf(seen: Float64Array, predicted: Float64Array, noise: number, precision: Precision): number {
	let [off, size] = [0, 0];
	for (let i = 0; i < seen.length; i++) {
		const p = predicted[i] ?? 0;
		off += ((seen[i] ?? 0) - p) ** 2;
		size += p * p;
	}
	return Math.sqrt(off) / (ULPS * noise + RELATIVE[precision] * Math.sqrt(size) + 1e-30);
}

/**
 * How far the hypothesis is from what was seen, as a share of what is allowed, squared and summed over modules;
 * undefined when it does not explain every module of every observation.
 */
export function misfit(
	observations: readonly Observation[],
	usesOf: (export_: string) => readonly ReadUse[],
	hypothesis: Pick<Hypothesis, 'effect'> | undefined,
	precision: Precision,
): number | undefined {
	let sum = 0;
	for (const { name, modules } of observations) {
		const uses = usesOf(name);
		for (const m of modules) {
			const share = shareOf(m.got, predict(m.key, m.got.length, uses, hypothesis), m.noise(precision), precision);
			if (!(share <= 1)) return undefined;
			sum += share * share;
		}
	}
	return sum;
}

/** True when the hypothesis explains every module of every observation. */
export function explains(...args: Parameters<typeof misfit>): boolean {
	return misfit(...args) !== undefined;
}

/** Modules of which nothing was added although something was due, and the others. */
export function goneModules(
	modules: readonly Observed[],
	precision: Precision,
): { readonly gone: readonly string[]; readonly right: readonly string[] } {
	const gone: string[] = [];
	const right: string[] = [];
	for (const m of modules) {
		const noise = m.noise(precision);
		if (m.expected.every((x) => x === 0)) continue;
		if (fits(m.got, m.expected, noise, precision)) right.push(m.key);
		else if (fits(m.got, new Float64Array(m.got.length), noise, precision)) gone.push(m.key);
	}
	return { gone, right };
}
