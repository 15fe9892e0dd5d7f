import type { Command } from 'commander';
import type { Report } from '../report/report.js';
import type { CaseResult } from '../run/result.js';
import { EXIT } from './exit-codes.js';
import type { Io } from './io.js';
import { readReport } from './read-report.js';

/** What changed from one report to another. */
export interface Comparison {
	/** Right before, wrong now. */
	readonly worse: readonly Change[];
	/** Wrong before, right now. */
	readonly better: readonly Change[];
	/** Another status otherwise: skipped, inconclusive. */
	readonly other: readonly Change[];
	readonly added: readonly string[];
	readonly removed: readonly string[];
}

export interface Change {
	readonly id: string;
	readonly before: CaseResult['status'];
	readonly after: CaseResult['status'];
	readonly message: string;
}

const RIGHT: ReadonlySet<CaseResult['status']> = new Set(['passed', 'unexpected']);
const WRONG: ReadonlySet<CaseResult['status']> = new Set(['failed', 'known']);

export function compareReports(a: Report, b: Report): Comparison {
	const before = new Map(a.results.map((r) => [r.id, r]));
	const after = new Set(b.results.map((r) => r.id));
	const [worse, better, other, added]: [Change[], Change[], Change[], string[]] = [[], [], [], []];
	for (const { id, status, message } of b.results) {
		const old = before.get(id);
		if (old === undefined) added.push(id);
		else if (old.status !== status) {
			const change = { id, before: old.status, after: status, message };
			if (RIGHT.has(old.status) && WRONG.has(status)) worse.push(change);
			else if (WRONG.has(old.status) && RIGHT.has(status)) better.push(change);
			else other.push(change);
		}
	}
	return { worse, better, other, added, removed: [...before.keys()].filter((id) => !after.has(id)) };
}

/** `lora-conformance compare A.json B.json` */
export function defineCompare(command: Command, io: Io): void {
	command
		.description('what changed from report A to report B; exit code 1 when a case got worse')
		.argument('<a>', 'report of "run --json"')
		.argument('<b>', 'a later one')
		.option('--json', 'as JSON')
		.action((a: string, b: string, flags: { readonly json?: boolean }) => {
			const comparison = compareReports(readReport(a), readReport(b));
			if (flags.json === true) io.out(`${JSON.stringify(comparison, null, '\t')}\n`);
			else io.out(comparisonText(comparison));
			io.exit(comparison.worse.length > 0 ? EXIT.failed : EXIT.ok);
		});
}

function comparisonText({ worse, better, other, added, removed }: Comparison): string {
	const lines: string[] = [];
	for (const c of worse) lines.push(`✗ ${c.id}: ${c.before} -> ${c.after}: ${c.message}`);
	for (const c of better) lines.push(`✓ ${c.id}: ${c.before} -> ${c.after}`);
	for (const c of other) lines.push(`· ${c.id}: ${c.before} -> ${c.after}`);
	lines.push(`${worse.length} worse, ${better.length} better, ${other.length} otherwise, ${added.length} new, ${removed.length} gone`);
	return `${lines.join('\n')}\n`;
}
