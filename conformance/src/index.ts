/**
 * The runner as a library: load a suite, run a subject, make a report. The program is `bin/lora-conformance.js`.
 *
 * @packageDocumentation
 */

export { diagnoseRun } from './diagnose/diagnose-run.js';
export { CODES, type Code, sentenceOf } from './diagnose/diagnoses.js';
export type { Diagnosis, EvidenceLevel } from './diagnose/diagnosis.js';
export { main } from './main.js';
export { applyKnownFailing, closingLine, makeReport } from './report/make-report.js';
export type { Report } from './report/report.js';
export { LostFilesError } from './run/lost-files-error.js';
export type { CaseResult, Status } from './run/result.js';
export { type RunOptions, type RunOutcome, runSuite, SubjectError } from './run/run-suite.js';
export type { Case, Level, Precision, Profile } from './suite/case.js';
export { loadSuite, type Suite } from './suite/load-suite.js';
export { parseKnownFailing, selectCases } from './suite/select-cases.js';
export { UsageError } from './usage-error.js';
