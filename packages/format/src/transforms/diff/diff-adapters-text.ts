import type { DiffReport, DiffSummary } from './diff-adapters-types.js';

/** A comparison for people: the verdict, then a line for each block. */
export function diffText(report: DiffReport): string {
	const { a, b, total } = report;
	const lines = [
		`A  ${a.name}  (${a.base}, ${a.layout}, ${a.modules} modules)`,
		`B  ${b.name}  (${b.base}, ${b.layout}, ${b.modules} modules)`,
		report.verdict,
		'',
	];
	const rows = [
		['block', 'both', 'only A', 'only B', 'norm A', 'norm B', 'cosine', 'difference'],
		...report.blocks.map((block) => [`${block.component} ${block.block}`, ...cells(block)]),
		['everything', ...cells(total)],
	];
	const widths = (rows[0] ?? []).map((_, i) => rows.reduce((w, row) => Math.max(w, (row[i] ?? '').length), 0));
	for (const row of rows)
		lines.push(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '));
	if (report.embeddings.length > 0) {
		lines.push('', 'embeddings');
		for (const e of report.embeddings) {
			const what =
				e.in === 'a' ? 'only A' : e.in === 'b' ? 'only B' : e.difference === null ? 'other size' : `difference ${figure(e.difference)}`;
			lines.push(`  ${e.token} (${e.component}): ${what}`);
		}
	}
	return `${lines.join('\n')}\n`;
}

function cells(s: DiffSummary): readonly string[] {
	return [
		String(s.both),
		String(s.onlyA),
		String(s.onlyB),
		figure(s.normA),
		figure(s.normB),
		s.cosine === null ? '-' : s.cosine.toFixed(4),
		figure(s.difference),
	];
}

function figure(x: number): string {
	return x === 0 ? '0' : x.toPrecision(3);
}
