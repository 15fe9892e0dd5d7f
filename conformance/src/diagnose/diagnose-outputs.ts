import type { JudgeInput, Verdict } from '../judge/verdict.js';
import type { Finding } from './diagnose-case.js';
import { diagnoseModuleOutput } from './diagnose-module-output.js';
import { unique } from './diagnose-scaling.js';
import type { Code } from './diagnoses.js';
import { recordedOutputs, valuesIn } from './recorded-outputs.js';

/**
 * A recorded wrong output is met when it is this near, relative to the difference that the adapter or the fault makes. At
 * f32, two runs of one fault differ by up to 1e-4 there (the recording against generate/record_faults.py).
 */
const MET = { f32: 2e-3, f16: 1e-2, bf16: 5e-2 } as const;

/** Below f32 an output is noisy: the nearest one is met too when every other, and the right one, is twice as far and more. */
const NEAREST = { f32: 0, f16: 0.1, bf16: 0.3 } as const;

/** A gain below this is that of rounding alone: no part of the difference came. */
const NOTHING = { f32: 1e-3, f16: 1e-2, bf16: 5e-2 } as const;

/** L5, L6: recorded outputs of wrong implementations, else what gain and cosine alone can say. */
export async function diagnoseOutputs(verdict: Verdict, input: JudgeInput): Promise<Finding> {
	const image = input.case.request.op === 'image';
	const evidenceLevel = image ? 'image' : 'outputs';
	if (image && verdict.hint === 'picture') return { code: 'picture', runnersUp: [], evidenceLevel };
	const met = await metOutputs(input);
	const [first] = met;
	if (first !== undefined) {
		const codes = unique(met.map((m) => m.code));
		// A part of the model that got nothing, where nothing else was due.
		const dropped = first.code === 'adapter-not-applied' ? droppedComponent(input) : [];
		return { code: first.code, detail: first.detail, runnersUp: unique([...codes, ...dropped]), evidenceLevel };
	}
	const formula = image ? undefined : await diagnoseModuleOutput(input);
	if (formula !== undefined) return formula;
	const gain = verdict.measure?.gain ?? Number.NaN;
	const cosine = verdict.measure?.cosine ?? Number.NaN;
	if (Math.abs(gain) < NOTHING[input.precision]) return { code: 'adapter-not-applied', runnersUp: droppedComponent(input), evidenceLevel };
	if (cosine < -0.9) return { code: 'sign-flipped', runnersUp: ['factor-wrong'], evidenceLevel };
	if (!image && cosine > 0.9999 && Math.abs(gain - 1) > 1e-3) return { code: 'factor-wrong', runnersUp: [], evidenceLevel };
	return { code: 'unexplained', runnersUp: [], evidenceLevel };
}

function droppedComponent({ case: { request } }: JudgeInput): readonly Code[] {
	const component = request.op === 'forward' ? request.component : '';
	return component === 'unet' ? ['unet-dropped'] : component.startsWith('text') ? ['text-encoder-dropped'] : [];
}

interface Met {
	readonly code: Code;
	readonly detail: string | undefined;
	readonly off: number;
}

/** Recorded outputs that the subject gave, the nearest first. A module's are left to formulas. */
async function metOutputs({ case: entry, expect, file, output, precision }: JudgeInput): Promise<readonly Met[]> {
	if ('module' in entry.request) return [];
	const recorded = await recordedOutputs(entry, expect, file);
	if (recorded.length === 0) return [];
	const got = await valuesIn(output('out'));
	const near: Met[] = [];
	let right = Number.POSITIVE_INFINITY;
	for (const { code, detail, name, wrong, exact, plain, part } of recorded) {
		const whole = got.get(name);
		const mine = whole === undefined ? undefined : part(whole);
		if (mine === undefined) continue;
		const size = Math.sqrt(Math.max(squares(exact, plain), squares(wrong, plain)));
		if (size === 0) continue;
		near.push({ code, detail, off: Math.sqrt(squares(mine, wrong)) / size });
		right = Math.min(right, Math.sqrt(squares(mine, exact)) / size);
	}
	near.sort((a, b) => a.off - b.off);
	const met = near.filter((n) => n.off <= MET[precision]);
	const [first] = near;
	if (met.length > 0 || first === undefined || !(first.off <= NEAREST[precision])) return met;
	const others = near.filter((n) => n.off > first.off * 1.01).map((n) => n.off);
	return Math.min(right, ...others) > 2 * first.off ? near.filter((n) => n.off <= first.off * 1.01) : [];
}

function squares(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
	return sum;
}
