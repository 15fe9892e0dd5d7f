import { FormatError, loadKernel, planVariants, quote } from '@lorakit/format';
import { closeAdapters, openAdapterSpecs } from '../adapter-specs.js';
import { fuseFile } from './fuse-file.js';
import { fuseFolder } from './fuse-folder.js';
import type { FuseRequest, FuseResult } from './fuse-request.js';
import { openBase } from './open-base.js';

/**
 * Fuse adapters into a base: read, plan, write everything of the output or nothing.
 * @throws {FormatError} of every step; nothing is left behind then.
 */
export async function runFuse(request: FuseRequest): Promise<FuseResult> {
	if (request.out === '-') throw new FormatError('E_USAGE', 'fuse writes a file or a folder, not standard output; name it with --out.');
	const base = await openBase(request.base);
	try {
		const adapters = await openAdapterSpecs(request.adapters, {
			from: request.from,
			order: request.order,
			repair: request.repair,
			base: base.model.inventory,
			note: request.note,
		});
		try {
			if (base.model.kind === 'folder' && /\.(safetensors|ckpt|pt|pth|bin)$/i.test(request.out)) {
				throw new FormatError('E_USAGE', `${quote(request.base)} is a folder, so OUT is a folder too; ${quote(request.out)} names a file.`);
			}
			await loadKernel();
			const plan = await planVariants(
				base.model,
				adapters.map(({ use }) => use),
				{ doraStrength: request.doraStrength },
			);
			const write = base.model.kind === 'folder' ? fuseFolder : fuseFile;
			const result = await write(base, adapters, plan, request);
			const warnings = [
				...base.model.files.flatMap(({ state }) => state.warnings),
				...adapters.flatMap(({ use }) => use.adapter.warnings),
				...plan.warnings,
				...result.warnings,
			];
			return { ...result, plan, adapters, warnings };
		} finally {
			await closeAdapters(adapters);
		}
	} finally {
		await base.close();
	}
}
