import { describe, expect, it } from 'vitest';
import { mergeAdapters } from '../../../src/transforms/merge/merge-adapters.js';
import { f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, distance, moduleAt, useOf, weightOf } from './merge-helpers.js';

/** A dense matrix, for the rivals' own formulas: nothing of ours is used for them. */
type Dense = readonly (readonly number[])[];

const times = (a: Dense, b: Dense): Dense =>
	a.map((row) => (b[0] ?? []).map((_, j) => row.reduce((s, x, k) => s + x * (b[k]?.[j] ?? 0), 0)));
const plus = (a: Dense, b: Dense): Dense => a.map((row, i) => row.map((x, j) => x + (b[i]?.[j] ?? 0)));
const by = (a: Dense, s: number): Dense => a.map((row) => row.map((x) => x * s));
const flat = (a: Dense): number[] => a.flatMap((row) => [...row]);
const norm = (a: readonly number[]): number => Math.sqrt(a.reduce((s, x) => s + x * x, 0));

interface Lora {
	readonly up: Dense;
	readonly down: Dense;
	readonly alpha: number;
	readonly rank: number;
}

const A: Lora = {
	up: [
		[1, 2],
		[0, -1],
		[3, 1],
	],
	down: [
		[1, 0, 2, -1],
		[0, 1, 1, 1],
	],
	alpha: 2,
	rank: 2,
};
const B: Lora = {
	up: [
		[2, 0],
		[1, 1],
		[-1, 2],
	],
	down: [
		[0, 1, -1, 2],
		[2, 0, 1, 0],
	],
	alpha: 1,
	rank: 2,
};

/** s1 D1 + s2 D2: what using both adapters at once does in every reader. */
const truth = (parts: readonly (readonly [Lora, number])[]): Dense =>
	parts.map(([l, s]) => by(times(l.up, l.down), (s * l.alpha) / l.rank)).reduce((a, b) => plus(a, b));

/**
 * sd-scripts networks/merge_lora.py merge_lora_models (without --concat): each factor times sqrt(alpha / first alpha) * ratio, the
 * ratio thus on both; factors of all adapters added; the first adapter's alpha for all.
 */
function kohya(parts: readonly (readonly [Lora, number])[]): Dense {
	const first = parts[0]?.[0] ?? A;
	const scaled = parts.map(([l, ratio]) => {
		const scale = Math.sqrt(l.alpha / first.alpha) * ratio;
		return { up: by(l.up, Math.abs(scale)), down: by(l.down, scale) };
	});
	const up = scaled.map((l) => l.up).reduce((a, b) => plus(a, b));
	const down = scaled.map((l) => l.down).reduce((a, b) => plus(a, b));
	return by(times(up, down), first.alpha / first.rank);
}

/** The same with --concat: factors side by side, the ratio still on both, the first alpha over the whole rank. */
function kohyaConcat(parts: readonly (readonly [Lora, number])[]): Dense {
	const first = parts[0]?.[0] ?? A;
	const rank = parts.reduce((n, [l]) => n + l.rank, 0);
	const terms = parts.map(([l, ratio]) => {
		const scale = Math.sqrt(l.alpha / first.alpha) * ratio;
		return by(times(by(l.up, Math.abs(scale)), by(l.down, scale)), first.alpha / rank);
	});
	return terms.reduce((a, b) => plus(a, b));
}

/** cloneofsimo/lora lora_diffusion/cli_lora_add.py, mode lpl: both factors alpha_1 x1 + alpha_2 x2. There is no alpha in its files. */
function cloneofsimo(parts: readonly (readonly [Lora, number])[]): Dense {
	const up = parts.map(([l, a]) => by(l.up, a)).reduce((a, b) => plus(a, b));
	const down = parts.map(([l, a]) => by(l.down, a)).reduce((a, b) => plus(a, b));
	return times(up, down);
}

const adapter = (l: Lora, withAlpha = true) =>
	adapterOf([
		moduleOf(
			'lora',
			{ up: f64([l.up.length, l.rank], flat(l.up)), down: f64([l.rank, l.down[0]?.length ?? 0], flat(l.down)) },
			withAlpha ? { rank: l.rank, alpha: l.alpha, scaling: l.alpha / l.rank, rule: 'alpha/rank' } : { rank: l.rank },
		),
	]);

const ours = async (parts: readonly (readonly [Lora, number])[], withAlpha = true): Promise<number[]> =>
	weightOf(moduleAt((await mergeAdapters(parts.map(([l, s], i) => useOf(adapter(l, withAlpha), `a${i}`, s)))).adapter, 'x'));

const error = (a: readonly number[], b: readonly number[]): number => norm(a.map((x, i) => x - (b[i] ?? 0))) / norm(b);

describe('rivals', () => {
	it('kohya squares the ratio: one adapter at 0.7 comes out at 0.49', async () => {
		const parts = [[A, 0.7]] as const;
		const exact = flat(truth(parts));
		expect(
			distance(
				flat(kohya(parts)),
				exact.map((x) => x * 0.7),
			),
		).toBeLessThan(1e-15);
		expect(error(flat(kohya(parts)), exact)).toBeCloseTo(0.3, 14);
		expect(distance(await ours(parts), exact)).toBeLessThan(1e-15);
	});

	it('kohya loses the sum to cross terms; ours is the sum', async () => {
		const parts = [
			[A, 0.7],
			[B, -0.4],
		] as const;
		const exact = flat(truth(parts));
		expect(error(flat(kohya(parts)), exact)).toBeGreaterThan(0.3);
		expect(distance(await ours(parts), exact)).toBeLessThan(1e-15);
		// The cross terms up to one, by hand: up_a down_b and up_b down_a, which no adapter ever had.
		const s = Math.sqrt(1 / 2) * 0.4;
		const cross = plus(times(by(A.up, 0.7), by(B.down, -s)), times(by(B.up, s), by(A.down, 0.7)));
		const squared = plus(by(times(A.up, A.down), 0.49), by(times(B.up, B.down), -0.5 * 0.16));
		expect(distance(flat(kohya(parts)), flat(plus(squared, cross)))).toBeLessThan(1e-14);
	});

	it("kohya's --concat squares the ratio and divides by the new rank", async () => {
		const parts = [
			[A, 1],
			[B, 1],
		] as const;
		const exact = flat(truth(parts));
		expect(
			distance(
				flat(kohyaConcat(parts)),
				exact.map((x) => x / 2),
			),
		).toBeLessThan(1e-15);
		expect(error(flat(kohyaConcat(parts)), exact)).toBeCloseTo(0.5, 14);
		expect(distance(await ours(parts), exact)).toBeLessThan(1e-15);
	});

	it('cloneofsimo halves an adapter that is added to itself, and mixes what it adds', async () => {
		const half = [
			[A, 0.5],
			[A, 0.5],
		] as const;
		const plain = { ...A, alpha: A.rank };
		const same = [
			[plain, 0.5],
			[plain, 0.5],
		] as const;
		// (a/2 + a/2)(b/2 + b/2) = ab: right by chance; at 0.25 each the result is a quarter where it should be a half.
		expect(error(flat(cloneofsimo(half)), flat(truth(same)))).toBe(0);
		const quarter = [
			[plain, 0.25],
			[plain, 0.25],
		] as const;
		expect(error(flat(cloneofsimo(quarter)), flat(truth(quarter)))).toBeCloseTo(0.5, 14);
		const mixed = [
			[plain, 0.5],
			[{ ...B, alpha: B.rank }, 0.5],
		] as const;
		expect(error(flat(cloneofsimo(mixed)), flat(truth(mixed)))).toBeGreaterThan(0.4);
		expect(distance(await ours(mixed, false), flat(truth(mixed)))).toBeLessThan(1e-15);
	});
});
