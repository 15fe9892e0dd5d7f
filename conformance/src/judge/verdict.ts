import type { Answer } from '../subject/answer.js';
import type { Allowance, Case, Expect, Precision } from '../suite/case.js';
import type { CaseMeasure, TensorMeasure } from './measure.js';

/** What a judge works on. */
export interface JudgeInput {
	readonly case: Case;
	/** The case's expectation, or the profile's. */
	readonly expect: Expect;
	readonly answer: Extract<Answer, { kind: 'ok' }>;
	/** Absolute path of a file of the suite (the original, never the subject's copy). */
	file(ref: string): string;
	/** Absolute path of a file that the subject was to write: `out`, `png`, or the name of an export. */
	output(name: string): string;
	readonly precision: Precision;
	readonly allowance: Allowance;
}

/** What a judge found. */
export interface Verdict {
	readonly status: 'passed' | 'failed' | 'inconclusive';
	/** One sentence; empty when passed. */
	readonly message: string;
	readonly measure?: CaseMeasure | undefined;
	/** Modules or tensors that are wrong, the worst first. */
	readonly wrong?: readonly TensorMeasure[] | undefined;
	/** Names that are wrong where nothing is measured. */
	readonly names?: readonly string[] | undefined;
	/** What kind of difference it is, where the judge knows without hypotheses. */
	readonly hint?: string | undefined;
	/** L6: the numbers of the pictures. */
	readonly image?: ImageMeasure | undefined;
}

/** L6 numbers. */
export interface ImageMeasure {
	/** Relative difference of the latents after each step. */
	readonly steps: readonly number[];
	/** First step over the allowance, from 0; null when none is. */
	readonly firstStep: number | null;
	/** Of a failed run: `component.path` of the first layer that L5 found wrong with these adapters; null when it is not known. */
	readonly layer?: string | null | undefined;
	readonly meanGrey: number | null;
	readonly maxGrey: number | null;
	readonly psnr: number | null;
	readonly ssim: number | null;
	/** PNGs in base64, of pictures that differ: the reference, the subject's, the difference amplified. */
	readonly pictures: { readonly reference: string; readonly candidate: string; readonly difference: string } | null;
}

export const PASSED: Verdict = { status: 'passed', message: '' };

/** A difference with its names; at most 8 of them are kept. */
export function differs(message: string, names: readonly string[] = [], hint?: string): Verdict {
	return { status: 'failed', message, names: names.slice(0, 8), hint };
}

/** `a, b and 3 more`. */
export function some(names: readonly string[], limit = 3): string {
	const shown = names
		.slice(0, limit)
		.map((n) => `"${n}"`)
		.join(', ');
	return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}
