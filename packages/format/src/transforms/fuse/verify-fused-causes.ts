import { quote } from '../../errors.js';
import { gainOf, totalProducts } from '../gain-cosine.js';
import type { FuseLedgerEntry } from './plan-fuse-types.js';
import type { FuseSums } from './verify-fused-sums.js';
import type { FuseCause } from './verify-fused-types.js';

/** One touched tensor with what was measured on it. */
export interface Measured {
	readonly tensor: string;
	readonly modules: readonly string[];
	readonly shape: readonly number[];
	/** Modules that should change it. */
	readonly entries: readonly FuseLedgerEntry[];
	readonly sums: FuseSums;
	/** True when FUSED has no such tensor. */
	readonly missing: boolean;
	/** Found by comparing with the deltas of other modules. */
	readonly other: { readonly cause: 'wrong-module' | 'transposed'; readonly why: string } | undefined;
}

export interface Diagnosis {
	readonly cause: FuseCause;
	readonly why: string | undefined;
}

/** Steps, at the larger of base and delta, that arithmetic in the stored type may be off. */
const COARSE_STEPS = 8;

/** A mistake that multiplies a module's delta with a number that can be told from the module. */
interface Mistake {
	readonly cause: FuseCause;
	gain(entry: FuseLedgerEntry): number | undefined;
	readonly why: string;
}

const MISTAKES: readonly Mistake[] = [
	{
		cause: 'alpha-ignored',
		gain: ({ scaling }) => (scaling === 1 || scaling === 0 ? undefined : 1 / scaling),
		why: 'alpha was ignored: the factors were applied with scaling 1 instead of alpha / rank',
	},
	{
		cause: 'strength-squared',
		gain: ({ strength }) => (strength === 1 ? undefined : strength),
		why: "the strength was squared: it was multiplied into both factors, as kohya's and cloneofsimo's merge scripts do",
	},
	{
		cause: 'strength-ignored',
		gain: ({ strength }) => (strength === 1 ? undefined : 1 / strength),
		why: 'the strength was ignored: the adapter was applied with strength 1',
	},
	{
		cause: 'alpha-twice',
		gain: ({ scaling }) => (scaling === 1 ? undefined : scaling),
		why: 'alpha / rank was applied twice',
	},
	{
		cause: 'sqrt-rule',
		gain: ({ rank, dora, scaling }) => (rank === undefined || rank === 1 || dora || scaling === 0 ? undefined : Math.sqrt(rank)),
		why: 'the square-root rule was used: alpha / sqrt(rank), which is for rsLoRA alone',
	},
	{
		cause: 'sqrt-rule',
		gain: ({ rank, dora }) => (rank === undefined || rank === 1 || dora ? undefined : 1 / Math.sqrt(rank)),
		why: 'the square-root rule was left out: alpha / rank instead of alpha / sqrt(rank)',
	},
	{
		cause: 'alpha-not-divided',
		gain: ({ rank }) => (rank === undefined || rank === 1 ? undefined : rank),
		why: 'alpha was not divided by the rank',
	},
	{
		cause: 'alpha-not-divided',
		gain: ({ rank }) => (rank === undefined || rank === 1 ? undefined : 1 / rank),
		why: 'alpha was divided by the rank twice',
	},
	{
		cause: 'alpha-inverted',
		gain: ({ scaling }) => (scaling === 1 || scaling === 0 ? undefined : 1 / (scaling * scaling)),
		why: 'the scaling was inverted: rank / alpha instead of alpha / rank',
	},
	{ cause: 'applied-twice', gain: () => 2, why: 'the adapter was applied twice' },
	{ cause: 'subtracted', gain: () => -1, why: 'the adapter was subtracted instead of added' },
];

/** What one tensor alone says; undefined where the others must be asked. */
function alone({ sums, missing, other }: Measured): Diagnosis | undefined {
	if (missing) return { cause: 'missing', why: 'the fused model has no such tensor, or one of another shape' };
	if (sums.nonFinite > 0) return { cause: 'not-finite', why: `${sums.nonFinite} elements are NaN or Inf` };
	if (sums.steps <= 1) return { cause: 'right', why: undefined };
	if (sums.aa === 0) return { cause: 'not-applied', why: 'it is the base, unchanged' };
	if (sums.looseSteps <= COARSE_STEPS && Math.abs(sums.gain - 1) < 0.1) {
		return {
			cause: 'rounded-twice',
			why: `it is the right sum in coarser arithmetic: rounded more than once, off by up to ${sums.error.toExponential(1)}`,
		};
	}
	if (sums.baseSteps <= 1 && Math.abs(sums.gain - 1) < 0.1) {
		return { cause: 'rounded-twice', why: "it is the right sum, but rounded to the base's type before it was stored in a wider one" };
	}
	return other;
}

/** Whether a tensor's delta is `gain` times the expected one, as far as rounding lets one tell. */
function isGain(sums: FuseSums, gain: number): boolean {
	if (!Number.isFinite(gain)) return false;
	return (
		Math.abs(sums.gain - gain) <= 0.01 * Math.abs(gain) + 6 * sums.gainNoise && Math.abs(sums.cosine) >= 0.98 * sums.roundedCosine(gain)
	);
}

function explains({ gain }: Mistake, { entries, sums }: Measured): boolean {
	const [first] = entries;
	const expected = first === undefined ? undefined : gain(first);
	// Several modules in one tensor: only where they agree.
	return expected !== undefined && entries.every((e) => gain(e) === expected) && isGain(sums, expected);
}

/**
 * The likely cause for every tensor, and for the whole. A mistake that explains more of the wrong tensors wins, since
 * one tensor alone cannot tell "applied twice" from "alpha ignored" at alpha = rank / 2.
 */
export function diagnose(measured: readonly Measured[]): { readonly each: readonly Diagnosis[]; readonly all: Diagnosis } {
	const each: (Diagnosis | undefined)[] = measured.map(alone);
	const open = measured.filter((_, n) => each[n] === undefined);
	const scores = MISTAKES.map((mistake) => ({ mistake, count: open.filter((m) => explains(mistake, m)).length }))
		.filter((s) => s.count > 0)
		.sort((a, b) => b.count - a.count);
	const constant = constantGain(open);
	const [best, second] = scores;
	if (constant !== undefined && (best === undefined || best.count < open.length)) {
		for (const [n] of measured.entries()) each[n] ??= constant;
	}
	for (const [n, m] of measured.entries()) {
		if (each[n] !== undefined) continue;
		const hit = scores.find(({ mistake }) => explains(mistake, m))?.mistake;
		each[n] = hit === undefined ? unknown(m) : { cause: hit.cause, why: hit.why };
	}
	const found = each.map((d) => d ?? { cause: 'unknown' as const, why: undefined });
	const all = overall(measured, found);
	if (
		best !== undefined &&
		second !== undefined &&
		second.count === best.count &&
		all.cause === best.mistake.cause &&
		all.why !== undefined
	) {
		return { each: found, all: { ...all, why: `${all.why.replace(/\.$/, '')}; or ${second.mistake.why}: the numbers are the same.` } };
	}
	return { each: found, all };
}

/** The same gain in every tensor that is wrong, and in no known way. */
function constantGain(open: readonly Measured[]): Diagnosis | undefined {
	const gain = gainOf(totalProducts(open.map(({ sums }) => sums)));
	if (open.length === 0 || !open.every(({ sums }) => isGain(sums, gain))) return undefined;
	const strengths = new Set(open.flatMap((m) => m.entries.map((e) => e.strength)));
	const [strength] = strengths;
	const used =
		strengths.size === 1 && strength !== undefined ? `, which is strength ${round(strength * gain)} instead of ${round(strength)}` : '';
	return { cause: 'other-strength', why: `another strength was used: every delta is ${round(gain)} times as large as it should be${used}` };
}

function round(x: number): string {
	return String(Number(x.toPrecision(4)));
}

function unknown({ sums }: Measured): Diagnosis {
	return { cause: 'unknown', why: `its delta has gain ${round(sums.gain)} and cosine ${round(sums.cosine)} to what it should be` };
}

/** One sentence for the whole model. */
function overall(measured: readonly Measured[], each: readonly Diagnosis[]): Diagnosis {
	const wrong = measured
		.map((m, n) => ({ m, d: each[n] ?? { cause: 'unknown' as const, why: undefined } }))
		.filter(({ d }) => d.cause !== 'right');
	if (wrong.length === 0) return { cause: 'right', why: undefined };
	const counts = new Map<FuseCause, number>();
	for (const { d } of wrong) counts.set(d.cause, (counts.get(d.cause) ?? 0) + 1);
	let [cause, most] = ['unknown' as FuseCause, 0];
	for (const [name, count] of counts) if (count > most) [cause, most] = [name, count];
	const of = `${most} of ${measured.length} tensors`;
	if (cause === 'not-applied')
		return notApplied(
			measured,
			wrong.filter(({ d }) => d.cause === cause).map(({ m }) => m),
			of,
		);
	const first = wrong.find(({ d }) => d.cause === cause);
	return {
		cause,
		why: `${of}: ${first?.d.why ?? 'no known mistake fits'} (first: ${quote(first?.m.modules[0] ?? first?.m.tensor ?? '')}).`,
	};
}

/** What the tensors that were left alone have in common. */
function notApplied(measured: readonly Measured[], left: readonly Measured[], of: string): Diagnosis {
	if (left.length === measured.length)
		return { cause: 'not-applied', why: `The adapter was not applied: all ${left.length} tensors are those of the base.` };
	const set = new Set(left);
	const is = (same: (m: Measured) => boolean): boolean => measured.every((m) => set.has(m) === same(m));
	const components = [...new Set(left.flatMap((m) => m.entries.map((e) => e.component)))];
	if (is((m) => m.entries.some((e) => components.includes(e.component)))) {
		return { cause: 'component-left-out', why: `${of} are those of the base: nothing was applied to ${components.join(', ')}.` };
	}
	if (is((m) => m.shape.length > 2)) {
		return { cause: 'convolution-left-out', why: `${of} are those of the base: the convolutions were left out.` };
	}
	if (is((m) => m.shape.slice(2).some((k) => k > 1))) {
		return { cause: 'convolution-left-out', why: `${of} are those of the base: the 3 x 3 convolutions were left out.` };
	}
	return { cause: 'not-applied', why: `${of} are those of the base, unchanged (first: ${quote(left[0]?.modules[0] ?? '')}).` };
}
