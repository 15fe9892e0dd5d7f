import { sizeText } from '../progress.js';
import type { FuseRequest, FuseResult } from './fuse-request.js';

/** Schema: schema/fuse.schema.json. */
export interface FuseDocument {
	readonly schema: 'lora.fuse/1';
	readonly dryRun: boolean;
	readonly base: string;
	readonly output: string;
	readonly adapters: readonly {
		readonly name: string;
		readonly layout: string;
		readonly sha256: string;
		readonly scale: number;
		readonly components: Readonly<Record<string, number>>;
		readonly blocks: string | null;
	}[];
	/** Modules that change, stored tensors that change, elements of these. */
	readonly modules: number;
	readonly tensors: number;
	readonly elements: number;
	readonly files: FuseResult['outputs'];
	readonly copied: number;
	readonly leftOut: readonly string[];
	readonly embeddings: readonly string[];
	readonly sidecar: { readonly path: string; readonly bytes: number | null; readonly shareOfBase: number | null } | null;
	/** What each adapter does to each module. */
	readonly ledger: readonly (Omit<FuseResult['plan']['ledger'][number], 'use' | 'rank'> & { readonly rank: number | null })[];
	readonly recipe: FuseResult['recipe'] | null;
	readonly warnings: readonly { readonly code: string; readonly message: string; readonly at: string | null }[];
}

/** Undefined before it is written, and in a folder where no file changes. */
function shareOfBase(bytes: number | null, baseBytes: number): number | undefined {
	return bytes === null || baseBytes === 0 ? undefined : bytes / baseBytes;
}

/** A fuse as data. */
export function fuseDocument(result: FuseResult, request: FuseRequest): FuseDocument {
	const { plan, sidecar } = result;
	return {
		schema: 'lora.fuse/1',
		dryRun: request.dryRun,
		base: request.base,
		output: request.out,
		adapters: result.adapters.map(({ use, sha256, blocks }) => ({
			name: use.name,
			layout: use.adapter.source.layout,
			sha256,
			scale: use.strength.scale,
			components: Object.fromEntries(use.strength.components),
			blocks: blocks ?? null,
		})),
		modules: plan.modules,
		tensors: plan.touched.length,
		elements: plan.elements,
		files: result.outputs,
		copied: result.copied,
		leftOut: result.leftOut,
		embeddings: result.beside,
		sidecar:
			sidecar === undefined
				? null
				: { path: sidecar.path, bytes: sidecar.bytes, shareOfBase: shareOfBase(sidecar.bytes, result.baseBytes) ?? null },
		ledger: plan.ledger.map(({ adapter, component, path, family, dora, rank, scaling, strength, tensors }) => ({
			adapter,
			component,
			path,
			family,
			dora,
			rank: rank ?? null,
			scaling,
			strength,
			tensors,
		})),
		recipe: result.recipe ?? null,
		warnings: result.warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
	};
}

/** A fuse in a few lines for people; a dry run with every tensor that would change. */
export function fuseText(result: FuseResult, request: FuseRequest): string {
	const { plan, outputs, sidecar } = result;
	const written = outputs.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
	const lines = [
		`${request.base} -> ${request.out}  (${sizeText(request.dryRun ? result.baseBytes : written)})`,
		`  fused    ${plan.modules} modules, ${plan.touched.length} tensors, ${(plan.elements / 1e6).toFixed(1)} million weights, rounded once`,
	];
	for (const { use, blocks } of result.adapters) {
		const parts = [...use.strength.components].map(([component, factor]) => `${component} ${factor}`);
		if (blocks !== undefined) parts.push(`blocks ${blocks}`);
		lines.push(
			`  with     ${use.name} at ${use.strength.scale}${parts.length > 0 ? ` (${parts.join(', ')})` : ''}, ${use.adapter.source.layout}`,
		);
	}
	if (outputs.length > 1) for (const { path, tensors } of outputs) lines.push(`  file     ${path}: ${tensors} tensors`);
	if (result.copied > 0) lines.push(`  copied   ${result.copied} other files as they are`);
	for (const file of result.beside) lines.push(`  beside   ${file}`);
	if (sidecar !== undefined) {
		const share = shareOfBase(sidecar.bytes, result.baseBytes);
		const percent = share === undefined ? '' : `, ${(100 * share).toFixed(2)} % of the base`;
		const size = sidecar.bytes === null ? '' : ` (${sizeText(sidecar.bytes)}${percent})`;
		lines.push(`  way back ${sidecar.path}${size}`);
	}
	if (request.dryRun) {
		lines.push('  nothing was written (--dry-run)');
		for (const { file, name, tensor, modules } of plan.touched)
			lines.push(`    ${file.path}:${name}  ${tensor.dtype} (${tensor.shape.join(', ')})  ${modules.join(', ')}`);
	}
	return `${lines.join('\n')}\n`;
}
