import { figure } from '../judge/measure.js';
import type { JudgeInput, Verdict } from '../judge/verdict.js';
import { classifyDropped } from './classify-dropped.js';
import { diagnoseOutputs } from './diagnose-outputs.js';
import { diagnoseScaling } from './diagnose-scaling.js';
import { diagnoseWeights } from './diagnose-weights.js';
import { type Code, codeOfHint, sentenceOf } from './diagnoses.js';
import type { Diagnosis, EvidenceLevel } from './diagnosis.js';

/** A code, and the ones that the same evidence allows. */
export interface Finding {
	readonly code: Code;
	readonly detail?: string | undefined;
	readonly runnersUp: readonly Code[];
	readonly evidenceLevel: EvidenceLevel;
	readonly modules?: readonly string[] | undefined;
	readonly gain?: number | null | undefined;
	readonly cosine?: number | null | undefined;
}

/** Hints after which numbers can say more than names. */
const MEASURABLE: ReadonlySet<string | undefined> = new Set([undefined, 'modules-dropped', 'not-restored', 'untouched-changed']);

/** Name the fault of one failed case. @param input left out: there was no answer to look at */
export async function diagnoseCase(verdict: Verdict, input: JudgeInput | undefined): Promise<Diagnosis> {
	const finding = (await findingOf(verdict, input).catch(() => undefined)) ?? fallback(verdict);
	const { measure } = verdict;
	const names = verdict.wrong?.map((w) => w.name.replace(/\.weight$/, '')) ?? verdict.names ?? [];
	return {
		code: finding.code,
		sentence: sentenceOf(finding.code),
		modules: (finding.modules ?? names).slice(0, 8),
		gain: finding.gain ?? measure?.gain ?? null,
		cosine: finding.cosine ?? measure?.cosine ?? null,
		evidenceLevel: finding.evidenceLevel,
		runnersUp: finding.runnersUp.filter((code) => code !== finding.code),
		...(finding.detail === undefined ? {} : { detail: finding.detail }),
	};
}

async function findingOf(verdict: Verdict, input: JudgeInput | undefined): Promise<Finding | undefined> {
	if (input === undefined || !MEASURABLE.has(verdict.hint)) return undefined;
	switch (input.case.request.op) {
		case 'describe':
			return verdict.hint === 'modules-dropped' ? droppedNames(input) : undefined;
		case 'scaling':
			return await diagnoseScaling(input);
		case 'delta':
		case 'weights':
			return await diagnoseWeights(verdict, input);
		case 'forward':
			return await diagnoseOutputs(verdict, input);
		case 'image':
			return await diagnoseOutputs(verdict, input);
		default:
			return undefined;
	}
}

function droppedNames({ expect, answer }: JudgeInput): Finding | undefined {
	const all = Object.keys(expect.modules ?? {});
	const gone = new Set(all.filter((key) => answer.modules?.has(key) !== true));
	const [first, ...rest] = classifyDropped(all, gone);
	return first === undefined ? undefined : { ...first, runnersUp: rest.map((r) => r.code), evidenceLevel: 'names', modules: [...gone] };
}

function fallback(verdict: Verdict): Finding {
	const measured = (verdict.wrong?.length ?? 0) > 0;
	return {
		code: measured && verdict.hint === undefined ? 'unexplained' : codeOfHint(verdict.hint),
		runnersUp: [],
		evidenceLevel: verdict.image !== undefined ? 'image' : measured ? 'weights' : 'names',
		gain: figure(Number.NaN),
	};
}
