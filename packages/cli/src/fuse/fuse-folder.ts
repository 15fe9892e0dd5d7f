import path from 'node:path';
import { type FusePlan, quote, type Recipe, SIDECAR_NAME, type Warning } from '@lorakit/format';
import {
	assertUnchanged,
	checkFolderTarget,
	checkTarget,
	type FileSink,
	type FolderFile,
	type InputRef,
	writeFilesAtomic,
	writeFolder,
} from '@lorakit/format/node';
import type { OpenedAdapter } from '../adapter-specs.js';
import {
	beginFuse,
	checkReversible,
	embeddingOutputs,
	type FuseJob,
	finalRecipe,
	headerBytes,
	sourceFor,
	type WrittenFile,
	writeFile,
} from './fuse-job.js';
import type { FusedOutput, FuseRequest, FuseResult } from './fuse-request.js';
import { createSidecarBuilder, type SidecarBuilder, sidecarPath } from './fuse-sidecar.js';
import type { OpenedBase } from './open-base.js';

interface Written {
	readonly sink: FileSink;
	readonly written: WrittenFile;
}

/** Fuse a folder into a folder: weights fused, every other file copied, renamed into place as a whole. @throws {FormatError} of every step. */
export async function fuseFolder(
	base: OpenedBase,
	adapters: readonly OpenedAdapter[],
	plan: FusePlan,
	request: FuseRequest,
): Promise<Omit<FuseResult, 'plan' | 'adapters'>> {
	const { out, force, reversible } = request;
	if (reversible) checkReversible(plan.byFile.keys(), (file) => file.path);
	const inputs = [
		base.path,
		...adapters.flatMap(({ opened }) => [opened.main, ...opened.companions]).filter((name) => !name.includes('://')),
	];
	const target = checkFolderTarget(out, force, inputs);
	const embeddings = embeddingOutputs(adapters, out);
	// Beside the folder lies what the user has: the adapter itself may have the name of its embeddings.
	const read: InputRef[] = [...base.sources.values(), ...adapters.flatMap(({ opened }) => [...opened.sources, ...opened.companions])];
	for (const output of embeddings) checkTarget(output.target, force, read);
	const sidecar = reversible ? sidecarPath(out, 'folder') : undefined;
	const { copied, left } = sortOut(base, plan);
	const changed = [...plan.byFile.keys()];
	const leftOut = left.map((file) => file.path);
	const result = {
		leftOut,
		beside: embeddings.map((output) => output.target),
		baseBytes: changed.reduce((sum, file) => sum + sourceFor(base, file).size, 0),
		copied: copied.length,
	};
	const outputs = (bytes: ReadonlyMap<string, number> | undefined): FusedOutput[] =>
		changed.map((file) => ({
			path: path.join(out, file.path),
			bytes: bytes?.get(file.path) ?? null,
			tensors: plan.byFile.get(file)?.size ?? 0,
		}));
	const warnings: Warning[] = left.map((file) => file.warning);
	if (request.dryRun) {
		return {
			...result,
			outputs: outputs(undefined),
			sidecar: sidecar === undefined ? undefined : { path: sidecar, bytes: null },
			recipe: undefined,
			warnings,
		};
	}
	const job = beginFuse(base, adapters, plan, request, changed, (file) => file.path);
	const builder = sidecar === undefined ? undefined : createSidecarBuilder('folder', adapters, request, target.folder);
	const done = new Map<string, Written>();
	let recipe: Recipe | undefined;
	let sidecarBytes = 0;
	/** Headers can be finished when all hashes are known; sinks stay open until then. */
	const finish = async (): Promise<void> => {
		recipe = await finalRecipe(job);
		for (const { written } of done.values()) await written.finish(recipe);
		if (builder !== undefined) await recordFiles(job, builder, done);
	};
	let before = 0;
	const files: FolderFile[] = copied.map((file) => ({ path: file, from: path.join(base.path, file) }));
	for (const file of changed) {
		files.push({
			path: file.path,
			async write(sink) {
				done.set(file.path, { sink, written: await writeFile(job, file, file.path, sink, before, builder) });
				before += sourceFor(base, file).size;
			},
		});
	}
	if (builder !== undefined) {
		files.push({
			path: SIDECAR_NAME,
			async write(sink) {
				await finish();
				sidecarBytes = await builder.write(sink);
			},
		});
	}
	const sources = [...base.sources.values(), ...adapters.flatMap(({ opened }) => opened.sources)];
	try {
		await writeFolder(target, files, {
			finish: builder === undefined ? finish : undefined,
			async check() {
				assertUnchanged(sources);
				await writeFilesAtomic(embeddings, { force, inputs: read });
			},
		});
	} finally {
		builder?.close();
		await job.hashing.close();
	}
	const bytes = new Map(Array.from(done, ([name, { written }]) => [name, written.bytes]));
	return {
		...result,
		outputs: outputs(bytes),
		sidecar: sidecar === undefined ? undefined : { path: sidecar, bytes: sidecarBytes },
		recipe,
		warnings: [...warnings, ...job.warnings],
	};
}

async function recordFiles(job: FuseJob, builder: SidecarBuilder, done: ReadonlyMap<string, Written>): Promise<void> {
	for (const file of job.plan.byFile.keys()) {
		const { sink, written } = done.get(file.path) ?? {};
		if (sink === undefined || written === undefined) throw new TypeError(`${file.path} was not written`);
		const source = sourceFor(job.base, file);
		const fused = { sha256: await job.hashing.descriptor(sink.fd, written.bytes, file.path), bytes: written.bytes };
		const was = { sha256: (await job.baseHashes.get(file.path)) ?? '', bytes: source.size };
		await builder.file(file.path, source, headerBytes(file), was, fused);
	}
}

/** Which of the other files go along, and which would no longer agree with the result. */
function sortOut(
	base: OpenedBase,
	plan: FusePlan,
): { readonly copied: readonly string[]; readonly left: readonly { readonly path: string; readonly warning: Warning }[] } {
	const touched = new Set(Array.from(plan.byFile.keys(), (file) => file.component));
	const copied: string[] = [];
	const left: { path: string; warning: Warning }[] = [];
	const leave = (file: string, why: string): void => {
		left.push({ path: file, warning: { code: 'W_FILE_LEFT_OUT', message: `${quote(file)} ${why} and is not written.`, at: file } });
	};
	for (const file of base.others) {
		const component = base.copies.get(file);
		if (path.posix.basename(file) === SIDECAR_NAME) leave(file, 'is the way back of an earlier fuse');
		else if (base.copies.has(file) && (component === undefined || touched.has(component))) leave(file, 'is a second copy of the weights');
		else copied.push(file);
	}
	for (const file of base.model.files) if (!plan.byFile.has(file)) copied.push(file.path);
	return { copied, left };
}
