import type { FusePlan, Recipe } from '@lorakit/format';
import { type AtomicOutput, checkTarget, type InputRef, writeFilesAtomic } from '@lorakit/format/node';
import type { OpenedAdapter } from '../adapter-specs.js';
import { containerOf } from '../output-names.js';
import { beginFuse, checkReversible, embeddingOutputs, finalRecipe, headerBytes, sourceFor, writeFile } from './fuse-job.js';
import type { FuseRequest, FuseResult } from './fuse-request.js';
import { createSidecarBuilder, sidecarPath } from './fuse-sidecar.js';
import type { OpenedBase } from './open-base.js';

/** Fuse into one file: OUT, its sidecar and the embeddings beside it, all or none. @throws {FormatError} of every step. */
export async function fuseFile(
	base: OpenedBase,
	adapters: readonly OpenedAdapter[],
	plan: FusePlan,
	request: FuseRequest,
): Promise<Omit<FuseResult, 'plan' | 'adapters'>> {
	const { out, force, reversible } = request;
	const file = base.model.files[0];
	if (file === undefined) throw new TypeError('a base without a file');
	containerOf(out);
	if (reversible) checkReversible([file], () => out);
	const inputs: InputRef[] = [...base.sources.values(), ...adapters.flatMap(({ opened }) => [...opened.sources, ...opened.companions])];
	const embeddings = embeddingOutputs(adapters, out);
	const sidecar = reversible ? sidecarPath(out, 'file') : undefined;
	const tensors = plan.touched.length;
	const source = sourceFor(base, file);
	const result = { copied: 0, leftOut: [], beside: embeddings.map(({ target }) => target), baseBytes: source.size };
	if (request.dryRun) {
		for (const target of [out, ...result.beside, ...(sidecar === undefined ? [] : [sidecar])]) checkTarget(target, force, inputs);
		return {
			...result,
			outputs: [{ path: out, bytes: null, tensors }],
			sidecar: sidecar === undefined ? undefined : { path: sidecar, bytes: null },
			recipe: undefined,
			warnings: [],
		};
	}
	const job = beginFuse(base, adapters, plan, request, [file], () => out);
	const builder = sidecar === undefined ? undefined : createSidecarBuilder('file', adapters, request, out);
	let recipe: Recipe | undefined;
	let bytes = 0;
	let sidecarBytes = 0;
	try {
		const outputs: AtomicOutput[] = [
			{
				target: out,
				ahead: true,
				async write(sink) {
					const written = await writeFile(job, file, out, sink, 0, builder);
					recipe = await finalRecipe(job);
					await written.finish(recipe);
					bytes = written.bytes;
					if (builder === undefined) return;
					const fused = { sha256: await job.hashing.descriptor(sink.fd, bytes, out), bytes };
					const was = { sha256: (await job.baseHashes.get(file.path)) ?? '', bytes: source.size };
					await builder.file(file.path, source, headerBytes(file), was, fused);
				},
			},
			...embeddings,
		];
		if (builder !== undefined && sidecar !== undefined) {
			outputs.push({
				target: sidecar,
				async write(sink) {
					sidecarBytes = await builder.write(sink);
				},
			});
		}
		await writeFilesAtomic(outputs, { force, inputs });
	} finally {
		builder?.close();
		await job.hashing.close();
	}
	return {
		...result,
		outputs: [{ path: out, bytes, tensors }],
		sidecar: sidecar === undefined ? undefined : { path: sidecar, bytes: sidecarBytes },
		recipe,
		warnings: job.warnings,
	};
}
