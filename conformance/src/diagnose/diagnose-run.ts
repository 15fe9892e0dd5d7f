import path from 'node:path';
import type { RunDiagnosis } from '../report/report.js';
import type { CaseResult } from '../run/result.js';
import type { Case, Precision } from '../suite/case.js';
import type { Suite } from '../suite/load-suite.js';
import { contradicts } from './contradicts.js';
import { type Code, sentenceOf } from './diagnoses.js';

/** Passed cases that are looked at for each candidate. */
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
			if (diagnosis === null) continue;
			firsts.set(diagnosis.code, (firsts.get(diagnosis.code) ?? 0) + 1);
			for (const code of [diagnosis.code, ...diagnosis.runnersUp]) votes.set(code, (votes.get(code) ?? 0) + 1);
		}
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
	const passed = new Set(
		results.filter((r) => r.status === 'passed' && (r.level === 'L3' || r.level === 'L4' || r.level === 'L2')).map((r) => r.id),
	);
	const cases = suite.cases.filter((c) => passed.has(c.id));
	const step = Math.max(1, Math.ceil(cases.length / WITNESSES));
	return cases.filter((_, index) => index % step === 0);
}

async function isContradicted(suite: Suite, witnesses: readonly Case[], code: Code, precision: Precision): Promise<boolean> {
	for (const entry of witnesses) if (await contradicts(entry, code, precision, (ref) => path.join(suite.dir, ref))) return true;
	return false;
}
