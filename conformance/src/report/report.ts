import type { Code } from '../diagnose/diagnoses.js';
import type { CaseResult } from '../run/result.js';
import type { Isolation } from '../subject/sandbox.js';
import type { Level, Precision, Profile } from '../suite/case.js';

/** Counts by status. */
export interface Counts {
	readonly passed: number;
	readonly failed: number;
	readonly known: number;
	readonly unexpected: number;
	readonly inconclusive: number;
	readonly skipped: number;
}

/** One fault that explains failures of the run. */
export interface RunDiagnosis {
	readonly code: Code;
	readonly sentence: string;
	readonly detail: string | null;
	/** Failed cases that it explains. */
	readonly cases: number;
	/** Codes that the whole run cannot part from it. */
	readonly runnersUp: readonly Code[];
}

/** Numbers of one level: what is promised, and what was measured. */
export interface LevelSummary {
	readonly level: Level;
	readonly counts: Counts;
	/** Largest share of the allowance that a passed case used; null where nothing is measured. */
	readonly largestShare: number | null;
	/** Largest error of a passed case in ulps of the precision; weights only. */
	readonly largestUlps: number | null;
	/** Worst grade of the weights that passed. */
	readonly grade: string | null;
	/** Distinct derivations of the tolerances of this level. */
	readonly derivations: readonly string[];
	/** True when every case that was asked passed, and what may not be skipped for the badge was not. */
	readonly earned: boolean;
}

/**
 * What `--json` writes: schema/report.schema.json. `results` and everything else but `run` is the same for the same
 * subject and suite, whatever `--jobs`.
 */
export interface Report {
	readonly schema: 'lora.conformance/1';
	readonly suite: string;
	readonly profile: Profile | null;
	readonly subject: {
		readonly name: string;
		readonly version: string;
		readonly language: string | null;
		readonly homepage: string | null;
		readonly issues: string | null;
		readonly device: string | null;
		readonly precision: Precision;
		readonly features: readonly string[] | null;
	};
	readonly isolation: Isolation;
	/** 0 or 1: what the exit code says. */
	readonly ok: boolean;
	readonly counts: Counts;
	readonly levels: readonly LevelSummary[];
	readonly diagnoses: readonly RunDiagnosis[];
	/** Patterns of the known-failing list that fit no case. */
	readonly stalePatterns: readonly string[];
	/** Files written outside that no single case could be blamed for. */
	readonly outside: readonly string[];
	readonly results: readonly CaseResult[];
	/** What differs from run to run. */
	readonly run: { readonly seconds: number; readonly jobs: number; readonly restarts: number; readonly node: string };
}
