import type { Report } from './report.js';

/**
 * Shields endpoint JSON (https://shields.io/badges/endpoint-badge): the highest level that was earned with every
 * level below it, and the count of passed cases of those that were asked.
 */
export function badgeJson(report: Report): string {
	let level: string | undefined;
	for (const summary of report.levels) {
		const asked =
			summary.counts.passed + summary.counts.failed + summary.counts.known + summary.counts.unexpected + summary.counts.inconclusive;
		// A level that was wholly skipped neither earns nor breaks the row.
		if (asked === 0) continue;
		if (!summary.earned) break;
		level = summary.level;
	}
	const { passed, failed, known, unexpected } = report.counts;
	const all = passed + failed + known + unexpected;
	const message = all === 0 ? 'nothing asked' : level === undefined ? `${passed}/${all}` : `${level} ${passed}/${all}`;
	const color = !report.ok ? 'red' : level === undefined ? 'lightgrey' : known > 0 ? 'yellowgreen' : 'brightgreen';
	return `${JSON.stringify({ schemaVersion: 1, label: 'LoRA conformance', message, color })}\n`;
}
