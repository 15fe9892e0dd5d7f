import type { Warning } from '../../errors.js';
import type { ResizeOutput } from '../resize/resize-report.js';
import type { ExtractedModule, Extraction } from './extract-types.js';

/** What an extraction did. Schema: schema/extract.schema.json. */
export interface ExtractDocument {
	readonly schema: 'lora.extract/1';
	readonly dryRun: boolean;
	readonly tuned: string;
	readonly base: string;
	readonly outputs: readonly ResizeOutput[];
	readonly to: string;
	/** |stored - difference| / |difference| over all modules of the adapter, laid end to end. */
	readonly error: number;
	readonly counts: { readonly lowRank: number; readonly full: number; readonly unchanged: number; readonly notCarried: number };
	readonly modules: readonly ExtractedModule[];
	/** Tensors that differ and are not in the adapter. */
	readonly notCarried: readonly string[];
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
}

export interface ExtractReportInput {
	readonly tuned: string;
	readonly base: string;
	readonly outputs: readonly ResizeOutput[];
	readonly to: string;
	readonly dryRun: boolean;
	readonly extraction: Extraction;
	readonly warnings: readonly Warning[];
}

/** An extraction as data. */
export function extractDocument(report: ExtractReportInput): ExtractDocument {
	const { modules, notCarried, unchanged } = report.extraction;
	let [lost, whole] = [0, 0];
	for (const { norm, error } of modules) {
		lost += (error * norm) ** 2;
		whole += norm ** 2;
	}
	const lowRank = modules.filter((m) => m.how === 'low-rank').length;
	return {
		schema: 'lora.extract/1',
		dryRun: report.dryRun,
		tuned: report.tuned,
		base: report.base,
		outputs: report.outputs,
		to: report.to,
		error: whole > 0 ? Math.sqrt(lost / whole) : 0,
		counts: { lowRank, full: modules.length - lowRank, unchanged, notCarried: notCarried.length },
		modules,
		notCarried,
		warnings: report.warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
	};
}

/** An extraction in a few lines for people; a dry run with every module. `size` writes bytes for people. */
export function extractText(doc: ExtractDocument, size: (bytes: number) => string): string {
	const [first] = doc.outputs;
	const bytes = doc.outputs.reduce((sum, o) => sum + (o.bytes ?? 0), 0);
	const { counts } = doc;
	const worst = doc.modules.reduce<ExtractedModule | undefined>((most, m) => (m.error > (most?.error ?? -1) ? m : most), undefined);
	const lines = [
		`${doc.tuned} - ${doc.base} -> ${first?.path ?? ''}  (${doc.to}, ${size(bytes)})`,
		`  modules  ${counts.lowRank} as factors, ${counts.full} as full differences, ${counts.unchanged} equal, ${counts.notCarried} tensors not carried`,
		`  error    ${figure(doc.error)} of the whole${worst === undefined ? '' : `; largest ${figure(worst.error)} (${worst.component} ${worst.path})`}`,
	];
	if (doc.dryRun) {
		lines.push('  nothing was written (--dry-run)');
		for (const m of doc.modules)
			lines.push(
				`    ${m.component} ${m.path}  ${m.rank === null ? 'full' : `rank ${m.rank}`}, norm ${figure(m.norm)}, error ${figure(m.error)}`,
			);
		for (const name of doc.notCarried) lines.push(`    ${name}  not carried`);
	}
	return `${lines.join('\n')}\n`;
}

function figure(x: number): string {
	return x === 0 ? '0' : x.toPrecision(3);
}
