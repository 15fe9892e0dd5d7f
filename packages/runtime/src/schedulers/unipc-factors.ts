import type { Mix } from './solver-sigmas.js';

/** What stays the same over a run. */
export interface UniPcForm {
	/** Of every call, and the end's. */
	readonly mixes: readonly Mix[];
	/** Do the outputs mean finished samples (else noise)? */
	readonly byOriginal: boolean;
	/** B(h) = h, else e^h - 1 (`bh2`). */
	readonly bh1: boolean;
}

/** One update as a sum over the sample it starts from and the model outputs, latest first, `order` of them. */
export interface UniPcFactors {
	readonly kept: number;
	readonly outputs: readonly number[];
}

/**
 * Factors of UniP (the predictor) or UniC (the corrector) of an order, from the level of a call to the next:
 * `multistep_uni_p_bh_update` and `multistep_uni_c_bh_update` of diffusers' scheduling_unipc_multistep.py, formulas
 * (3) to (9) of arXiv 2302.04867.
 *
 * @param corrector the output at the level gone to is known too: its factor is one more, after those of the kept
 */
export function unipcFactors(form: UniPcForm, order: number, call: number, corrector: boolean): UniPcFactors {
	const [from, to] = [form.mixes[call] as Mix, form.mixes[call + 1] as Mix];
	const h = to.lambda - from.lambda;
	const x = form.byOriginal ? -h : h;
	const phi1 = Math.expm1(x);
	const bh = form.bh1 ? x : phi1;
	/** Distances of the kept levels, in units of h; then the level gone to. */
	const ratios = Array.from({ length: order - 1 }, (_, i) => ((form.mixes[call - i - 1] as Mix).lambda - from.lambda) / h);
	const rhos = corrector ? correctorRhos(ratios, x, phi1, bh) : predictorRhos(ratios, x, phi1, bh);

	const scale = form.byOriginal ? -to.alpha : -to.sigma;
	const differences = ratios.map((r, i) => (rhos[i] as number) / r);
	if (corrector) differences.push(rhos[order - 1] as number);
	const first = scale * phi1 - scale * bh * differences.reduce((a, b) => a + b, 0);
	return {
		kept: form.byOriginal ? to.sigma / from.sigma : to.alpha / from.alpha,
		outputs: [first, ...differences.map((d) => scale * bh * d)],
	};
}

/** Order 2 has the simple weight 1/2 (its own system would do too, but this is the published choice). */
function predictorRhos(ratios: readonly number[], x: number, phi1: number, bh: number): readonly number[] {
	if (ratios.length < 2) return ratios.map(() => 0.5);
	return solve(powers(ratios), conditions(ratios.length, x, phi1, bh));
}

function correctorRhos(ratios: readonly number[], x: number, phi1: number, bh: number): readonly number[] {
	if (ratios.length === 0) return [0.5];
	return solve(powers([...ratios, 1]), conditions(ratios.length + 1, x, phi1, bh));
}

/** Rows r^0, r^1, ... */
function powers(ratios: readonly number[]): number[][] {
	return ratios.map((_, power) => ratios.map((r) => r ** power));
}

/** Right-hand sides k! phi_(k+1)(x) x / B(h), k from 1. */
function conditions(count: number, x: number, phi1: number, bh: number): number[] {
	const values: number[] = [];
	let factorial = 1;
	let phi = phi1 / x - 1;
	for (let k = 1; k <= count; k++) {
		values.push((phi * factorial) / bh);
		factorial *= k + 1;
		phi = phi / x - 1 / factorial;
	}
	return values;
}

/** A small linear system, by elimination with the largest pivot. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
	const rows = matrix.map((row, i) => [...row, right[i] as number]);
	const n = rows.length;
	const at = (i: number, j: number) => (rows[i] as number[])[j] as number;
	for (let column = 0; column < n; column++) {
		let pivot = column;
		for (let i = column + 1; i < n; i++) if (Math.abs(at(i, column)) > Math.abs(at(pivot, column))) pivot = i;
		[rows[column], rows[pivot]] = [rows[pivot] as number[], rows[column] as number[]];
		for (let i = column + 1; i < n; i++) {
			const factor = at(i, column) / at(column, column);
			for (let j = column; j <= n; j++) (rows[i] as number[])[j] = at(i, j) - factor * at(column, j);
		}
	}
	const solution = new Array<number>(n).fill(0);
	for (let i = n - 1; i >= 0; i--) {
		let rest = at(i, n);
		for (let j = i + 1; j < n; j++) rest -= at(i, j) * (solution[j] as number);
		solution[i] = rest / at(i, i);
	}
	return solution;
}
