import type { CaseResult, Status } from '../run/result.js';
import type { RunOutcome } from '../run/run-suite.js';
import { LEVELS, type Level, type Profile } from '../suite/case.js';
import type { KnownFailing } from '../suite/select-cases.js';
import type { Counts, LevelSummary, Report, RunDiagnosis } from './report.js';

/** Failures on the list are known, passes on the list are unexpected. @returns also the patterns that fit no case */
export function applyKnownFailing(
	results: readonly CaseResult[],
	known: readonly KnownFailing[],
): { readonly results: readonly CaseResult[]; readonly stale: readonly string[] } {
	const stale = known.filter((k) => !results.some((r) => k.fits(r.id))).map((k) => `${k.pattern} (line ${k.line})`);
	const marked = results.map((r): CaseResult => {
		const entry = known.find((k) => k.fits(r.id));
		if (entry === undefined) return r;
		const url = entry.url ?? r.url;
		if (r.status === 'failed') return { ...r, status: 'known', url };
		const message = `it is on the known-failing list (${entry.pattern}, line ${entry.line}) and passes: take it off`;
		return r.status === 'passed' ? { ...r, status: 'unexpected', message, url } : r;
	});
	return { results: marked, stale };
}

export interface ReportInput {
	readonly suite: string;
	readonly profile: Profile | undefined;
	readonly outcome: RunOutcome;
	readonly results: readonly CaseResult[];
	readonly diagnoses: readonly RunDiagnosis[];
	readonly stale: readonly string[];
	readonly seconds: number;
	readonly jobs: number;
}

export function makeReport(input: ReportInput): Report {
	const { outcome, results, stale } = input;
	const { started } = outcome;
	const counts = countsOf(results);
	return {
		schema: 'lora.conformance/1',
		suite: input.suite,
		profile: input.profile ?? null,
		subject: {
			name: started.name,
			version: started.version,
			language: started.language ?? null,
			homepage: started.homepage ?? null,
			issues: started.issues ?? null,
			device: started.device ?? null,
			precision: started.precision,
			features: started.features === undefined ? null : [...started.features].sort(),
		},
		isolation: outcome.isolation,
		ok: counts.failed + counts.unexpected + stale.length + outcome.outside.length === 0,
		counts,
		levels: LEVELS.filter((level) => results.some((r) => r.level === level)).map((level) => summarise(level, results)),
		diagnoses: input.diagnoses,
		stalePatterns: stale,
		outside: outcome.outside,
		results,
		run: { seconds: Number(input.seconds.toFixed(1)), jobs: input.jobs, restarts: outcome.restarts, node: process.version },
	};
}

export function countsOf(results: readonly CaseResult[]): Counts {
	const count = (status: Status): number => results.filter((r) => r.status === status).length;
	return {
		passed: count('passed'),
		failed: count('failed'),
		known: count('known'),
		unexpected: count('unexpected'),
		inconclusive: count('inconclusive'),
		skipped: count('skipped'),
	};
}

function summarise(level: Level, all: readonly CaseResult[]): LevelSummary {
	const results = all.filter((r) => r.level === level);
	const passed = results.filter((r) => r.status === 'passed');
	const measured = passed.flatMap((r) => (r.measure === null ? [] : [r.measure]));
	const counts = countsOf(results);
	const grades = measured.flatMap((m) => (m.grade === null ? [] : [m.grade])).sort();
	const wrong = counts.failed + counts.known + counts.unexpected + counts.inconclusive;
	return {
		level,
		counts,
		largestShare: measured.length === 0 ? null : Math.max(...measured.map((m) => m.share)),
		largestUlps: level !== 'L4' || measured.length === 0 ? null : Math.max(...measured.map((m) => m.ulps)),
		grade: grades.at(-1) ?? null,
		derivations: [...new Set(passed.flatMap((r) => (r.derivation === null ? [] : [r.derivation])))],
		earned: wrong === 0 && counts.passed > 0 && (level !== 'L6' || earnsImage(all)),
	};
}

/** Pictures alone prove little: L6 counts only on top of weights or single forwards that passed. */
function earnsImage(all: readonly CaseResult[]): boolean {
	return all.some((r) => (r.level === 'L4' || r.level === 'L5') && r.status === 'passed');
}

/** The last line of every run. Inconclusive counts as skipped, known failures do not count as failed. */
export function closingLine({ passed, failed, unexpected, skipped, inconclusive }: Counts): string {
	return `${passed} passed, ${failed + unexpected} failed, ${skipped + inconclusive} skipped`;
}
