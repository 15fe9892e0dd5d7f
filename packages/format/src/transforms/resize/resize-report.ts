import type { ConversionPlan } from '../../convert.js';
import type { Warning } from '../../errors.js';
import type { ResizedModule } from './resize-types.js';

/** A file that was written, or would be. */
export interface ResizeOutput {
	readonly path: string;
	readonly container: string;
	/** null where it is not known before writing. */
	readonly bytes: number | null;
}

/** What a resize (or expansion) did. Schema: schema/resize.schema.json. */
export interface ResizeDocument {
	readonly schema: 'lora.resize/1';
	readonly dryRun: boolean;
	readonly input: string;
	readonly inputBytes: number;
	readonly outputs: readonly ResizeOutput[];
	readonly from: string;
	readonly to: string;
	/** `rank 16`, `sv-fro 0.9`, `size 3290000`, `expand`. */
	readonly rule: string;
	readonly counts: { readonly modules: number; readonly resized: number; readonly carried: number };
	/** |stored - input| / |input| over all modules that were measured, laid end to end; null where none was. */
	readonly error: number | null;
	/** The module with the largest relative error. */
	readonly worst: { readonly component: string; readonly path: string; readonly error: number } | null;
	/** Share of the energy of the resized modules that was kept. */
	readonly energyKept: number;
	readonly modules: readonly ResizedModule[];
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
}

export interface ResizeReportInput {
	readonly input: string;
	readonly inputBytes: number;
	readonly outputs: readonly ResizeOutput[];
	readonly plan: Pick<ConversionPlan, 'from' | 'to'>;
	readonly rule: string;
	readonly dryRun: boolean;
	readonly modules: readonly ResizedModule[];
	readonly warnings: readonly Warning[];
}

/** A resize as data. */
export function resizeDocument(report: ResizeReportInput): ResizeDocument {
	const { modules } = report;
	let [squaredError, squaredNorm, kept] = [0, 0, 0];
	let worst: ResizeDocument['worst'] = null;
	let measured = 0;
	for (const { component, path, how, error, norm, energyKept } of modules) {
		if (how !== 'resized' || norm === null) continue;
		squaredNorm += norm ** 2;
		kept += energyKept * norm ** 2;
		if (error === null) continue;
		measured++;
		squaredError += (error * norm) ** 2;
		if (worst === null || error > worst.error) worst = { component, path, error };
	}
	const resized = modules.filter((m) => m.how === 'resized').length;
	return {
		schema: 'lora.resize/1',
		dryRun: report.dryRun,
		input: report.input,
		inputBytes: report.inputBytes,
		outputs: report.outputs,
		from: report.plan.from,
		to: report.plan.to,
		rule: report.rule,
		counts: { modules: modules.length, resized, carried: modules.length - resized },
		error: measured === 0 ? null : squaredNorm > 0 ? Math.sqrt(squaredError / squaredNorm) : 0,
		worst,
		energyKept: squaredNorm > 0 ? kept / squaredNorm : 1,
		modules,
		warnings: report.warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
	};
}

/** A resize in a few lines for people; a dry run with every module. `size` writes bytes for people. */
export function resizeText(doc: ResizeDocument, size: (bytes: number) => string): string {
	const [first] = doc.outputs;
	const written = doc.outputs.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
	const { counts, worst, error } = doc;
	const lines = [
		`${doc.input} -> ${first?.path ?? ''}  (${doc.from === doc.to ? doc.to : `${doc.from} -> ${doc.to}`}, ${size(doc.inputBytes)} -> ${size(written)})`,
		`  modules  ${counts.modules}: ${counts.resized} resized, ${counts.carried} carried`,
		`  rank     ${ranksText(doc.modules.map((m) => m.oldRank))} -> ${ranksText(doc.modules.map((m) => m.newRank))}`,
	];
	if (counts.resized > 0) {
		lines.push(`  energy   ${percent(doc.energyKept)} kept`);
		if (error !== null)
			lines.push(
				`  error    ${figure(error)} of the whole${worst === null ? '' : `; largest ${figure(worst.error)} (${worst.component} ${worst.path})`}`,
			);
	}
	if (doc.dryRun) {
		lines.push('  nothing was written (--dry-run)');
		for (const m of doc.modules) {
			const rank = m.oldRank === null ? '' : `  rank ${m.oldRank} -> ${m.newRank}`;
			const result =
				m.how === 'carried'
					? `  carried: ${m.why}`
					: `  energy ${percent(m.energyKept)}${m.error === null ? '' : `, error ${figure(m.error)}`}`;
			lines.push(`    ${m.component} ${m.path}${rank}${result}`);
		}
	}
	return `${lines.join('\n')}\n`;
}

function ranksText(ranks: readonly (number | null)[]): string {
	let [min, max] = [Number.POSITIVE_INFINITY, 0];
	for (const rank of ranks) {
		if (rank === null) continue;
		if (rank < min) min = rank;
		if (rank > max) max = rank;
	}
	if (max === 0) return 'none';
	return min === max ? String(min) : `${min} to ${max}`;
}

function percent(share: number): string {
	// Never 100 % where something was cut.
	const text = (share * 100).toFixed(2);
	return share < 1 && text === '100.00' ? '>99.99 %' : `${text} %`;
}

function figure(x: number): string {
	return x === 0 ? '0' : x.toPrecision(3);
}
