import path from 'node:path';
import type { RunDiagnosis } from '../report/report.js';
import type { CaseResult } from '../run/result.js';
import type { Case, Precision } from '../suite/case.js';
import type { Suite } from '../suite/load-suite.js';
import { contradicts } from './contradicts.js';
import { type Code, sentenceOf } from './diagnoses.js';
import type { Diagnosis } from './diagnosis.js';

/** Passed cases of weights, and as many of outputs, that are looked at for each candidate. */
const WITNESSES = 40;

/**
 * Faults that explain the failures of a run, the one that explains most first. Each failed case allows one or several
 * codes; a code that should have made a passed case fail is contradicted by it.
 */
export async function diagnoseRun(suite: Suite, results: readonly CaseResult[], precision: Precision): Promise<readonly RunDiagnosis[]> {
	let open = results.filter((r) => (r.status === 'failed' || r.status === 'known') && r.diagnosis !== null);
	const witnesses = witnessesOf(suite, results);
	const refuted = new Map<Code, boolean>();
	const out: RunDiagnosis[] = [];
	while (open.length > 0 && out.length < 8) {
		const votes = new Map<Code, number>();
		const firsts = new Map<Code, number>();
		for (const { diagnosis } of open) {
			// What outputs or pictures leave open speaks for no fault and against none.
			if (diagnosis === null || isOpen(diagnosis)) continue;
			firsts.set(diagnosis.code, (firsts.get(diagnosis.code) ?? 0) + 1);
			for (const code of [diagnosis.code, ...diagnosis.runnersUp]) votes.set(code, (votes.get(code) ?? 0) + 1);
		}
		if (votes.size === 0) votes.set('unexplained', open.length);
		const most = Math.max(...votes.values());
		const tied = [...votes].filter(([, n]) => n === most).map(([code]) => code);
		const ranked = tied.sort((a, b) => (firsts.get(b) ?? 0) - (firsts.get(a) ?? 0));
		const standing: Code[] = [];
		for (const code of ranked) {
			if (ranked.length > 1 && !refuted.has(code)) refuted.set(code, await isContradicted(suite, witnesses, code, precision));
			if (refuted.get(code) !== true) standing.push(code);
		}
		const [code = ranked[0] ?? 'unexplained', ...others] = standing;
		const explained = open.filter((r) => r.diagnosis?.code === code || r.diagnosis?.runnersUp.includes(code) === true);
		// Alternatives are what explains the same cases, not other faults beside it.
		const alternatives = others.filter((other) =>
			explained.every((r) => r.diagnosis?.code === other || r.diagnosis?.runnersUp.includes(other) === true),
		);
		const detail = explained.find((r) => r.diagnosis?.code === code)?.diagnosis?.detail ?? null;
		out.push({ code, sentence: sentenceOf(code), detail, cases: explained.length, runnersUp: alternatives });
		open = open.filter((r) => !explained.includes(r));
	}
	return out;
}

function witnessesOf(suite: Suite, results: readonly CaseResult[]): readonly Case[] {
	const passed = new Set(results.filter((r) => r.status === 'passed').map((r) => r.id));
	const cases = suite.cases.filter((c) => passed.has(c.id));
	const some = (levels: string, more: (c: Case) => boolean = () => true): readonly Case[] => {
		const mine = cases.filter((c) => levels.includes(c.level) && more(c));
		const step = Math.max(1, Math.ceil(mine.length / WITNESSES));
		return mine.filter((_, index) => index % step === 0);
	};
	// Recorded outputs are few, and whole models show every fault.
	return [...some('L5 L6', (c) => c.expect.faults !== undefined), ...some('L2 L3 L4'), ...some('L5', (c) => c.expect.faults === undefined)];
}

function isOpen({ code, evidenceLevel }: Diagnosis): boolean {
	return code === 'unexplained' && (evidenceLevel === 'outputs' || evidenceLevel === 'image');
}

async function isContradicted(suite: Suite, witnesses: readonly Case[], code: Code, precision: Precision): Promise<boolean> {
	for (const entry of witnesses) if (await contradicts(entry, code, precision, (ref) => path.join(suite.dir, ref))) return true;
	return false;
}
