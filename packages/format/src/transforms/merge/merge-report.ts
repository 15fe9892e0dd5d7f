import type { AdapterUse } from '../strength/adapter-use.js';
import type { MergedModule, MergeResult } from './merge-types.js';
import type { MergeVerification } from './merge-verify.js';

/** A file that was written, or would be. */
export interface MergeOutput {
	readonly path: string;
	readonly container: string;
	/** null where it is not known before writing. */
	readonly bytes: number | null;
}

/** One adapter as it went in. */
export interface MergeInput {
	readonly path: string;
	readonly use: AdapterUse;
	readonly sha256: string;
}

/** What a merge did. Schema: schema/merge.schema.json. */
export interface MergeDocument {
	readonly schema: 'lora.merge/1';
	readonly dryRun: boolean;
	readonly inputs: readonly {
		readonly path: string;
		readonly sha256: string;
		readonly layout: string;
		readonly scale: number;
		readonly components: Readonly<Record<string, number>>;
		readonly blocks: string | null;
		readonly modules: number;
	}[];
	readonly outputs: readonly MergeOutput[];
	readonly to: string;
	readonly method: MergeResult['method'];
	readonly dtype: MergeResult['dtype'];
	readonly counts: Readonly<Record<MergedModule['how'] | 'modules' | 'embeddings' | 'switchedOff', number>>;
	/** Largest relative error of a module; null where an exact result is 0 and the stored one is not. */
	readonly error: number | null;
	readonly worst: { readonly component: string; readonly path: string } | null;
	readonly modules: readonly MergedModule[];
	readonly verified: { readonly modules: number; readonly notCompared: number; readonly largest: number | null } | null;
	readonly notes: readonly string[];
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
}

export interface MergeReportInput {
	readonly inputs: readonly MergeInput[];
	readonly outputs: readonly MergeOutput[];
	readonly to: string;
	readonly dryRun: boolean;
	readonly result: MergeResult;
	readonly verified: MergeVerification | undefined;
	/** Of the merge and of writing. */
	readonly warnings: MergeResult['warnings'];
}

/** A merge as data. */
export function mergeDocument({ inputs, outputs, to, dryRun, result, verified, warnings }: MergeReportInput): MergeDocument {
	const { modules } = result;
	let worst: MergedModule | undefined;
	for (const m of modules) if (worst === undefined || errorOf(m) > errorOf(worst)) worst = m;
	const count = (how: MergedModule['how']): number => modules.filter((m) => m.how === how).length;
	return {
		schema: 'lora.merge/1',
		dryRun,
		inputs: inputs.map(({ path, use, sha256 }) => ({
			path,
			sha256,
			layout: use.adapter.source.layout,
			scale: use.strength.scale,
			components: Object.fromEntries(use.strength.components),
			blocks: use.strength.blocks?.text ?? null,
			modules: modules.filter((m) => m.inputs.includes(use.name)).length,
		})),
		outputs,
		to,
		method: result.method,
		dtype: result.dtype,
		counts: {
			modules: modules.length,
			concat: count('concat'),
			svd: count('svd'),
			dense: count('dense'),
			factors: count('factors'),
			carried: count('carried'),
			embeddings: result.adapter.embeddings.length,
			switchedOff: result.switchedOff,
		},
		error: finite(result.largestError),
		worst: worst === undefined || errorOf(worst) === 0 ? null : { component: worst.component, path: worst.path },
		modules,
		verified:
			verified === undefined ? null : { modules: verified.modules, notCompared: verified.notCompared, largest: finite(verified.largest) },
		notes: result.notes,
		warnings: warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
	};
}

/** A merge in a few lines for people; a dry run with every module. `size` writes bytes for people. */
export function mergeText(doc: MergeDocument, size: (bytes: number) => string): string {
	const { counts, outputs } = doc;
	const [first, ...more] = outputs;
	const written = outputs.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
	const lines = [
		`${doc.inputs.map((i) => `${baseName(i.path)}@${i.scale}`).join(' + ')} -> ${first?.path ?? ''}  (${doc.to}, ${doc.dtype}, ${size(written)})`,
		`  modules  ${counts.modules}: ${HOWS.filter((how) => counts[how] > 0)
			.map((how) => `${counts[how]} ${WORDS[how]}`)
			.join(', ')}${counts.switchedOff > 0 ? `; ${counts.switchedOff} switched off` : ''}`,
		`  rank     ${ranksText(doc.modules)}`,
		`  error    ${doc.error === null ? 'not finite' : doc.error === 0 ? '0: exact' : `at most ${doc.error.toPrecision(3)} of a module's norm`}${doc.worst === null ? '' : ` (${doc.worst.component} ${doc.worst.path})`}`,
	];
	if (doc.verified !== null)
		lines.push(
			`  verified ${doc.verified.modules} modules read again from ${baseName(first?.path ?? '')}: largest error ${doc.verified.largest?.toPrecision(3) ?? 'not finite'}${doc.verified.notCompared > 0 ? `; ${doc.verified.notCompared} need the base` : ''}`,
		);
	if (more.length > 0) lines.push(`  beside   ${more.map(({ path }) => path).join(', ')}`);
	if (doc.dryRun) {
		lines.push('  nothing was written (--dry-run)');
		for (const m of doc.modules)
			lines.push(
				`    ${m.component} ${m.path}  ${m.how} of ${m.inputs.join(' + ')}${m.rank === null ? '' : `, rank ${m.rank}`}, error ${m.error === null ? 'not finite' : m.error.toPrecision(3)}`,
			);
	}
	return `${lines.join('\n')}\n`;
}

const HOWS: readonly MergedModule['how'][] = ['concat', 'svd', 'dense', 'factors', 'carried'];
const WORDS: Readonly<Record<MergedModule['how'], string>> = {
	concat: 'exact',
	svd: 'truncated',
	dense: 'whole',
	factors: 'mixed by factors',
	carried: 'carried',
};

function ranksText(modules: readonly MergedModule[]): string {
	let [min, max] = [Number.POSITIVE_INFINITY, 0];
	for (const { rank } of modules) {
		if (rank === null) continue;
		min = Math.min(min, rank);
		max = Math.max(max, rank);
	}
	return max === 0 ? 'none' : min === max ? String(min) : `${min} to ${max}`;
}

function errorOf({ error }: MergedModule): number {
	return error ?? Number.POSITIVE_INFINITY;
}

function finite(x: number): number | null {
	return Number.isFinite(x) ? x : null;
}

function baseName(path: string): string {
	return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}
