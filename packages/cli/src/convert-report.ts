import type { ConvertResult } from './convert-one.js';
import { sizeText } from './progress.js';

/** Schema: schema/convert.schema.json. */
export interface ConvertDocument {
	readonly schema: 'lora.convert/1';
	readonly dryRun: boolean;
	readonly input: string;
	readonly inputBytes: number;
	readonly outputs: ConvertResult['outputs'];
	readonly from: string;
	readonly to: string;
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
	readonly receipt: ConvertResult['plan']['receipt'];
}

/** A conversion as data. */
export function convertDocument(result: ConvertResult, dryRun: boolean): ConvertDocument {
	const { input, inputBytes, outputs, plan, warnings } = result;
	return {
		schema: 'lora.convert/1',
		dryRun,
		input,
		inputBytes,
		outputs,
		from: plan.from,
		to: plan.to,
		warnings: warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
		receipt: plan.receipt,
	};
}

/** A conversion in a few lines for people; a dry run with its whole key map. */
export function convertText(result: ConvertResult, dryRun: boolean): string {
	const { plan, outputs, input, inputBytes } = result;
	const { tensors, metadata } = plan.receipt.counts;
	const [first, ...more] = outputs;
	const written = outputs.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
	const size = dryRun ? sizeText(inputBytes) : `${sizeText(inputBytes)} -> ${sizeText(written)}`;
	const lines = [
		`${input === '-' ? 'standard input' : input} -> ${first?.path === '-' ? 'standard output' : (first?.path ?? '')}  (${plan.from === plan.to ? plan.to : `${plan.from} -> ${plan.to}`}, ${size})`,
		`  tensors  ${countsText(tensors)}${plan.receipt.added.length > 0 ? `; ${plan.receipt.added.length} added` : ''}`,
	];
	if (metadata.total > 0) lines.push(`  header   ${countsText(metadata)}`);
	if (more.length > 0) lines.push(`  beside   ${more.map(({ path }) => path).join(', ')}`);
	if (dryRun) {
		lines.push('  nothing was written (--dry-run)');
		for (const { name, to, how } of [...plan.receipt.tensors, ...plan.receipt.metadata])
			lines.push(`    ${name} -> ${to.length === 0 ? '(lost)' : to.join(', ')}${how === '' ? '' : `  (${how})`}`);
		for (const { name, how } of plan.receipt.added) lines.push(`    (added) -> ${name}  (${how})`);
	}
	return `${lines.join('\n')}\n`;
}

interface Counts {
	readonly total: number;
	readonly carried: number;
	readonly renamed: number;
	readonly transformed: number;
	readonly lost: number;
}

function countsText({ total, carried, renamed, transformed, lost }: Counts): string {
	return `${total}: ${carried} carried, ${renamed} renamed, ${transformed} transformed, ${lost} lost`;
}
