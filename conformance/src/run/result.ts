import type { Diagnosis } from '../diagnose/diagnosis.js';
import type { CaseMeasure } from '../judge/measure.js';
import type { ImageMeasure } from '../judge/verdict.js';
import type { Level, SourceLink } from '../suite/case.js';

/**
 * passed · failed · known: failed as the known-failing list says · unexpected: passed although it is on that list ·
 * inconclusive: the precision hides what the case asks · skipped.
 */
export type Status = 'passed' | 'failed' | 'known' | 'unexpected' | 'inconclusive' | 'skipped';

/** What came of one case. Holds no time and no path, so that two runs give the same text. */
export interface CaseResult {
	readonly id: string;
	readonly title: string;
	readonly level: Level;
	readonly tags: readonly string[];
	/** What the case asks a subject to be able to do: rows of the matrix. */
	readonly features: readonly string[];
	readonly optional: string | null;
	readonly hostile: boolean;
	readonly status: Status;
	/** Why; empty when passed. */
	readonly message: string;
	/** An issue's address: of the known-failing list, or of the subject's `skipped`. */
	readonly url: string | null;
	readonly measure: CaseMeasure | null;
	readonly image: ImageMeasure | null;
	readonly diagnosis: Diagnosis | null;
	/** Derivation of the tolerance that was used. */
	readonly derivation: string | null;
	readonly source: readonly SourceLink[];
	/** Names of wrong modules, at most 8. */
	readonly wrong: readonly string[];
	/** Last lines of standard error after a crash or time-out. */
	readonly stderr: string | null;
}
