import { FormatError } from '../../errors.js';

/**
 * How many singular values to keep. The `sv-*` rules are kohya's, so that a rank chosen here is the rank chosen there:
 *
 * - `sv-ratio` R: values above s[0] / R
 * - `sv-cumulative` C: as many as make up the share C of the sum
 * - `sv-fro` F: as many as make up the share F of the Frobenius norm (F^2 of the energy)
 *
 * and one more, as kohya's tool keeps: clamp(count, 1, n - 1) + 1 with n the shorter side of the weight.
 * Source: kohya-ss/sd-scripts networks/resize_lora.py, `index_sv_*` and `rank_resize` (definitions; LAYOUTS §0).
 * Two things differ: only a delta of zeros has rank 1 (kohya: where s[0] <= 1e-6, whatever the scale), and under a plain
 * rank not even that; and sums are taken in float64.
 */
export type RankRule =
	| { readonly kind: 'rank'; readonly rank: number }
	| { readonly kind: 'sv-ratio' | 'sv-cumulative' | 'sv-fro'; readonly value: number };

/** What bounds a choice. */
export interface RankBounds {
	/** min(out, in * kernel) of the weight. */
	readonly shorter: number;
	/** At most this, whatever the rule says. */
	readonly cap: number;
}

/** @throws {FormatError} `E_RANK` for a rank that is no whole number of at least 1, a ratio below 1, a share outside (0, 1]. */
export function checkRankRule(rule: RankRule): void {
	if (rule.kind === 'rank') {
		checkRank(rule.rank);
		return;
	}
	const ok = rule.kind === 'sv-ratio' ? rule.value >= 1 && rule.value < Number.POSITIVE_INFINITY : rule.value > 0 && rule.value <= 1;
	if (ok) return;
	throw new FormatError(
		'E_RANK',
		rule.kind === 'sv-ratio'
			? `A singular value ratio of ${rule.value} keeps nothing sensible; give a number of at least 1.`
			: `The share ${rule.value} of ${rule.kind} is not in (0, 1]; give 0.9 for nine tenths.`,
	);
}

/** @throws {FormatError} `E_RANK`. */
export function checkRank(rank: number): void {
	if (Number.isInteger(rank) && rank >= 1) return;
	throw new FormatError('E_RANK', `A rank of ${rank} is not possible; give a whole number of at least 1.`);
}

/**
 * The new rank for singular values `s` (descending, at least one). Always from 1 to `s.length`.
 */
export function chooseRank(s: Float64Array, rule: RankRule, bounds: RankBounds): number {
	const most = Math.max(1, Math.min(s.length, bounds.cap));
	if (rule.kind === 'rank') return Math.min(rule.rank, most);
	if (!((s[0] ?? 0) > 0)) return 1;
	const count = countKept(s, rule.kind, rule.value);
	return Math.min(Math.max(1, Math.min(count, bounds.shorter - 1)) + 1, most);
}

function countKept(s: Float64Array, kind: 'sv-ratio' | 'sv-cumulative' | 'sv-fro', value: number): number {
	if (kind === 'sv-ratio') {
		const least = (s[0] ?? 0) / value;
		let n = 0;
		for (const x of s) if (x > least) n++;
		return n;
	}
	const weigh = kind === 'sv-fro' ? (x: number): number => x * x : (x: number): number => x;
	const share = kind === 'sv-fro' ? value * value : value;
	let total = 0;
	for (const x of s) total += weigh(x);
	let sum = 0;
	let n = 0;
	for (const x of s) {
		n++;
		sum += weigh(x);
		if (sum / total >= share) return n;
	}
	return n;
}

/** One module as `ranksForSize` sees it. */
export interface SizedModule {
	/** Singular values of the delta with its scaling, descending. */
	readonly values: Float64Array;
	/** Bytes that one more rank costs. */
	readonly bytesPerRank: number;
	/** At most this rank. */
	readonly cap: number;
}

/**
 * Ranks for all modules at once within `budget` bytes of factors: every module has rank 1, then the largest energy
 * per byte goes first. Singular values fall, so within a module the order is theirs. undefined when not even rank 1
 * everywhere fits.
 *
 * Zeros are never bought. Greedy: what is left over at the end is smaller than any step that is still wanted.
 */
export function ranksForSize(modules: readonly SizedModule[], budget: number): readonly number[] | undefined {
	const steps: { readonly at: number; readonly rank: number; readonly gain: number }[] = [];
	let spent = 0;
	modules.forEach(({ values, bytesPerRank, cap }, at) => {
		spent += bytesPerRank;
		const most = Math.min(values.length, cap);
		for (let rank = 2; rank <= most; rank++) {
			const s = values[rank - 1] ?? 0;
			if (s > 0) steps.push({ at, rank, gain: (s * s) / bytesPerRank });
		}
	});
	if (spent > budget) return undefined;
	// Equal gains in the order of modules and ranks, so that the choice is the same everywhere.
	steps.sort((a, b) => b.gain - a.gain || a.rank - b.rank || a.at - b.at);
	const ranks = modules.map(() => 1);
	for (const { at, rank } of steps) {
		const cost = modules[at]?.bytesPerRank ?? 0;
		if (ranks[at] !== rank - 1 || spent + cost > budget) continue;
		ranks[at] = rank;
		spent += cost;
	}
	return ranks;
}
