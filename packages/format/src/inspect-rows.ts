import { countBytes, groupDigits } from './group-digits.js';
import type { Count, InspectBlock, InspectReport, StrengthRange } from './inspect-types.js';

/** One line of a report: what, and what is said of it. */
export type Row = readonly [label: string, value: string];

/** The plain words of a report, most asked first; empty ones are left out. Text of the file is not yet escaped. */
export function plainRows(report: InspectReport): Row[] {
	const rows: Row[] = [];
	const put = (label: string, value: string | undefined): void => {
		if (value !== undefined && value !== '') rows.push([label, value]);
	};
	const { file } = report;
	put('file', `${file.name}${file.bytes === null ? '' : `, ${countBytes(file.bytes)}`}, ${file.container}`);
	if (file.companions.length > 0) put('with', file.companions.join(', '));
	put('what', report.what);
	if (report.base !== null) put('base model', `${report.base.label} (${percent(report.base.confidence)} sure)`);
	for (const sentence of report.base?.evidence ?? []) put('  because', sentence);
	if (report.layout !== null) put('layout', `${report.layout.layout}: ${report.layout.title}`);
	for (const sentence of report.layout?.evidence ?? []) put('  because', sentence);
	if (report.kind === 'ambiguous')
		for (const r of report.readings) put('  could be', `${r.layout}: ${r.names} names, ${r.evidence.join('; ')}`);
	put('modules', report.components.map((c) => `${c.component} ${c.modules}`).join(', '));
	put(
		'families',
		list(report.families, (v) => FAMILIES.get(v) ?? v),
	);
	if (report.dora > 0) put('DoRA', `${report.dora} modules carry a magnitude`);
	put('rank', list(report.ranks, String));
	put(
		'alpha',
		report.alphas.length === 0
			? ''
			: report.alphas.every((a) => a.value === null)
				? 'said nowhere'
				: `${list(report.alphas, (v) => (v === null ? 'none' : number(v)))} (${list(report.alphaSources, alphaSource)})`,
	);
	put('strength', strengthLine(report));
	for (const runtime of report.runtimes) put('  but', runtime.message);
	put('trigger words', report.triggerWords.map((w) => w.word).join(', '));
	put('top tags', report.tags.map((t) => `${t.tag} (${t.count})`).join(', '));
	put('embeddings', report.embeddings.map((e) => `${e.token}: ${e.vectors} x ${e.width} for ${e.component}`).join(', '));
	if (report.resolution !== null) put('resolution', `${report.resolution.width} x ${report.resolution.height}`);
	put(
		'tensors',
		`${groupDigits(file.tensors)}, ${groupDigits(file.parameters)} numbers, ${file.dtypes.map((d) => `${d.dtype} ${countBytes(d.bytes)}`).join(', ')}`,
	);
	for (const { fact, value } of report.training) put(fact, value);
	for (const { kind, value, from } of report.hashes) put(kind, from === 'metadata' ? `${value} (as the header says)` : value);
	if (report.metadata.length > 0) put('header entries', `${report.metadata.length}: ${report.metadata.map((m) => m.key).join(', ')}`);
	if (report.dead > 0) put('without effect', `${report.dead} tensors that no reader ever used`);
	if (report.unknown.length > 0)
		put('unknown tensors', `${report.unknown.length}: ${some(report.unknown, report.kind === 'not-lora' ? 3 : 10)}`);
	return rows;
}

/** Header and cells of the per-block table. */
export function blockRows(blocks: readonly InspectBlock[]): readonly (readonly string[])[] {
	return [
		['component', 'block', 'modules', 'rank', 'strength'],
		...blocks.map((b) => [
			b.component,
			b.block,
			String(b.modules),
			b.rank === null ? '' : range(b.rank),
			b.strength === null ? '' : range(b.strength),
		]),
	];
}

/** At most six significant digits. */
export function number(value: number): string {
	return String(Number(value.toPrecision(6)));
}

function range({ min, max }: StrengthRange): string {
	return min === max ? number(min) : `${number(min)} to ${number(max)}`;
}

function strengthLine(report: InspectReport): string {
	const rules = report.rules.map((r) => RULES.get(r.value) ?? r.value);
	if (report.strength === null) return report.modules === 0 ? '' : `not read (${rules.join(', ')})`;
	return `${range(report.strength)} (${rules.join(', ')})`;
}

/** Families for people who do not know their ids. */
export const FAMILIES: ReadonlyMap<string, string> = new Map([
	['lora', 'LoRA'],
	['locon', 'LoCon (Tucker)'],
	['loha', 'LoHa'],
	['lokr', 'LoKr'],
	['full', 'full differences, no low rank'],
	['norm', 'differences of norms'],
	['ia3', 'IA3'],
	['peft-ia3', 'IA3 (PEFT)'],
	['oft', 'OFT'],
	['boft', 'BOFT'],
	['peft-oft', 'OFT (PEFT)'],
	['peft-boft', 'BOFT (PEFT)'],
	['glora', 'GLoRA'],
	['embedding', 'embedding LoRA'],
	['whole', "whole weights in place of the base's"],
]);

const RULES: ReadonlyMap<string, string> = new Map([
	['one', 'no alpha, so 1'],
	['none', 'no scaling in this family'],
	['scale-tensor', '.scale tensors'],
	['constraint', 'alpha is a constraint'],
	['unread', 'alpha not fetched'],
]);

function alphaSource(source: string): string {
	return (
		new Map([
			['tensor', 'in tensors'],
			['metadata', 'in lora_adapter_metadata'],
			['config', 'in adapter_config.json'],
			['none', 'nowhere'],
		]).get(source) ?? source
	);
}

/** `4` when all modules agree; otherwise `4 (100 modules), 8 (20)`; at most six values. */
function list<T>(counts: readonly Count<T>[], show: (value: T) => string): string {
	const [only] = counts;
	if (only !== undefined && counts.length === 1) return show(only.value);
	const shown = counts.slice(0, 6).map((c, i) => `${show(c.value)} (${c.modules}${i === 0 ? ' modules' : ''})`);
	return counts.length > 6 ? `${shown.join(', ')} and ${counts.length - 6} more values` : shown.join(', ');
}

function some(names: readonly string[], limit: number): string {
	return names.length > limit ? `${names.slice(0, limit).join(', ')}, ...` : names.join(', ');
}

function percent(value: number): string {
	return `${Math.round(value * 100)} %`;
}
