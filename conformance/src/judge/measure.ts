import { cosineOf, gainOf } from '@lorakit/format';
import type { Allowance, Precision } from '../suite/case.js';
import { ulpOf, unitRoundoff } from './number-format.js';

/** Grades of rounding: the fewest roundings that explain the error (CONFORMANCE.md 5.4). */
export type Grade = 'A' | 'B' | 'C' | '-';

/** What was measured on one tensor. */
export interface TensorMeasure {
	readonly name: string;
	readonly elements: number;
	/** <got, expected> / |expected|^2, on the difference to the base where there is one. NaN when nothing was expected. */
	readonly gain: number;
	readonly cosine: number;
	/** Largest absolute error. */
	readonly error: number;
	/** The same in units in the last place of the larger operand. */
	readonly ulps: number;
	/** The largest share of its allowance that an element uses; above 1 it is wrong. */
	readonly share: number;
	/** Elements over their allowance. */
	readonly over: number;
	readonly nonFinite: number;
}

export interface MeasureInput {
	readonly name: string;
	/** Values of the subject. */
	readonly got: Float64Array;
	/** Exact values. */
	readonly expected: Float64Array;
	/** Where both started from: the base's values, the outputs without adapter. Left out: zero. */
	readonly start?: Float64Array | undefined;
	/** max of |scaling| (|B| |A|), for `gamma`. */
	readonly magnitude?: number | undefined;
	readonly precision: Precision;
	readonly allowance: Allowance;
}

/** Compare one tensor, element by element and as a whole. */
export function measure(input: MeasureInput): TensorMeasure {
	const { got, expected, start, precision, allowance } = input;
	const fixed = fixedAllowance(input);
	const perUlp = allowance.ulp ?? 0;
	let [ae, aa, ee, error, ulps, share, over, nonFinite] = [0, 0, 0, 0, 0, 0, 0, 0];
	for (let i = 0; i < expected.length; i++) {
		const e = expected[i] ?? 0;
		const g = got[i] ?? Number.NaN;
		const s = start?.[i] ?? 0;
		if (!Number.isFinite(g)) {
			if (!Object.is(g, e)) {
				nonFinite++;
				over++;
			}
			continue;
		}
		const wanted = e - s;
		const actual = g - s;
		ae += actual * wanted;
		aa += actual * actual;
		ee += wanted * wanted;
		const off = Math.abs(g - e);
		if (off === 0) continue;
		const unit = ulpOf(precision, Math.max(Math.abs(e), Math.abs(s), Math.abs(wanted)));
		const used = off / (fixed + perUlp * unit);
		if (off > error) error = off;
		if (off / unit > ulps) ulps = off / unit;
		if (used > share) share = used;
		if (used > 1) over++;
	}
	// Formulas only: no expectation comes from the library.
	const gain = gainOf({ ee, ae });
	if (allowance.gain !== undefined && ee > 0) share = Math.max(share, Math.abs(gain - 1) / allowance.gain);
	return {
		name: input.name,
		elements: expected.length,
		gain,
		cosine: cosineOf({ ee, aa, ae }),
		error,
		ulps,
		share: nonFinite > 0 ? Number.POSITIVE_INFINITY : share,
		over,
		nonFinite,
	};
}

/** The part of the allowance that is the same for all elements of a tensor. */
function fixedAllowance({ expected, magnitude, precision, allowance }: MeasureInput): number {
	let fixed = allowance.abs ?? 0;
	if (allowance.rel !== undefined) {
		let largest = 0;
		for (const e of expected) if (Math.abs(e) > largest) largest = Math.abs(e);
		fixed += allowance.rel * largest;
	}
	if (allowance.gamma !== undefined && magnitude !== undefined) {
		const nu = allowance.gamma * unitRoundoff(precision);
		fixed += (nu / (1 - nu)) * magnitude;
	}
	return fixed;
}

/** A: one rounding; B: the delta rounded, then the sum; C: three roundings. */
export function gradeOf(ulps: number): Grade {
	return ulps <= 0.51 ? 'A' : ulps <= 1.02 ? 'B' : ulps <= 2 ? 'C' : '-';
}

/** What the tensors of one case come to. */
export interface CaseMeasure {
	readonly tensors: number;
	/** Over all tensors together. */
	readonly gain: number | null;
	readonly cosine: number | null;
	readonly error: number;
	readonly ulps: number;
	/** Only where weights are compared. */
	readonly grade: Grade | null;
	readonly share: number;
}

/** Round to figures that a report prints, so that reports of two runs are the same text. */
export function figure(x: number): number | null {
	return Number.isFinite(x) ? Number(x.toPrecision(5)) : null;
}
