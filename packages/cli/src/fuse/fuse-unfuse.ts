import fs from 'node:fs';
import path from 'node:path';
import {
	type ByteSource,
	FormatError,
	loadKernel,
	openStateDict,
	planUnfuse,
	quote,
	readSidecar,
	SIDECAR_NAME,
	type Sidecar,
	type UnfuseFile,
	type UnfusePlan,
} from '@lorakit/format';
import {
	assertUnchanged,
	checkFolderTarget,
	checkTarget,
	type FileSink,
	type FolderFile,
	openSource,
	writeFilesAtomic,
	writeFolder,
} from '@lorakit/format/node';
import type { Progress } from '../progress.js';
import { sourceFor } from './fuse-job.js';
import { sidecarPath } from './fuse-sidecar.js';
import { createHashing, type FileHashing } from './hash-files.js';
import { type OpenedBase, openBase } from './open-base.js';

/** One way back as the command line asks for it. */
export interface UnfuseRequest {
	readonly fused: string;
	readonly out: string;
	/** Default: where fuse put it. */
	readonly sidecar?: string | undefined;
	readonly force: boolean;
	readonly dryRun: boolean;
	readonly onProgress?: Progress | undefined;
}

/** What came back. */
export interface UnfuseResult {
	readonly sidecar: string;
	readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string; readonly tensors: number }[];
	/** Files copied as they are. */
	readonly copied: number;
}

/**
 * Bring the base back from a fused model and its sidecar. FUSED must be the recorded file, and what comes back must
 * have the base's SHA-256 before it takes anything's place.
 *
 * @throws {FormatError} `E_FUSED_CHANGED`, `E_SIDECAR`, and those of reading and writing; nothing is left behind then.
 */
export async function runUnfuse(request: UnfuseRequest): Promise<UnfuseResult> {
	if (request.out === '-') throw new FormatError('E_USAGE', 'unfuse writes a file or a folder, not standard output; name it with --out.');
	const fused = await openBase(request.fused);
	const hashing = createHashing();
	let sidecarSource: ByteSource | undefined;
	try {
		const file = request.sidecar ?? sidecarPath(fused.model.kind === 'folder' ? fused.path : request.fused, fused.model.kind);
		if (!file.includes('://') && !fs.existsSync(file)) {
			throw new FormatError('E_SIDECAR', `${quote(file)} is not there; pass --sidecar FILE, the file that "lora fuse --reversible" wrote.`);
		}
		sidecarSource = await openSource(file);
		const sidecar = await openSidecar(sidecarSource);
		const same = checkFused(fused, sidecar, hashing);
		// Seen where it is awaited.
		same.catch(() => {});
		try {
			await loadKernel();
			const plan = await planUnfuse(fused.model, sidecar);
			const files = plan.files.map(({ file: { path: name }, record }) => ({
				path: fused.model.kind === 'folder' ? path.join(request.out, name) : request.out,
				bytes: record.base.bytes,
				sha256: record.base.sha256,
				tensors: record.tensors.length,
			}));
			const work = { request, fused, plan, hashing, same, sidecarSource };
			const copied = fused.model.kind === 'folder' ? await writeBackFolder(work) : await writeBackFile(work);
			await same;
			return { sidecar: file, files, copied };
		} catch (error) {
			// Whatever else went wrong: that it is another file says most.
			await same;
			throw error;
		}
	} finally {
		await hashing.close();
		await sidecarSource?.close();
		await fused.close();
	}
}

interface Work {
	readonly request: UnfuseRequest;
	readonly fused: OpenedBase;
	readonly plan: UnfusePlan;
	readonly hashing: FileHashing;
	/** Settles when FUSED is known to be the recorded file. */
	readonly same: Promise<void>;
	readonly sidecarSource: ByteSource;
}

/** Whatever a sidecar is damaged by, it is the sidecar. */
async function openSidecar(source: ByteSource): Promise<Sidecar> {
	try {
		return readSidecar(await openStateDict(source, { values: false }));
	} catch (error) {
		if (!(error instanceof FormatError) || error.code === 'E_SIDECAR' || error.code === 'E_IO') throw error;
		throw new FormatError('E_SIDECAR', `${quote(source.name)} is no sidecar, or a damaged one: ${error.message}`, { cause: error });
	}
}

/** @throws {FormatError} `E_FUSED_CHANGED`. */
async function checkFused(fused: OpenedBase, { record }: Sidecar, hashing: FileHashing): Promise<void> {
	for (const { path: name, fused: wanted } of record.files) {
		const file = fused.model.kind === 'file' ? fused.model.files[0] : fused.model.files.find((f) => f.path === name);
		// That it is not there is for planUnfuse to say.
		if (file === undefined) continue;
		const source = sourceFor(fused, file);
		const changed = (what: string): FormatError =>
			new FormatError('E_FUSED_CHANGED', `${quote(source.name)} has ${what}; give the file that fuse wrote, unchanged.`, { at: name });
		if (source.size !== wanted.bytes) throw changed(`${source.size} bytes, the sidecar was written for ${wanted.bytes}`);
		const sha256 = await hashing.source(source);
		if (sha256 !== wanted.sha256)
			throw changed(`SHA-256 ${sha256.slice(0, 12)}..., the sidecar was written for ${wanted.sha256.slice(0, 12)}...`);
	}
}

async function writeBackFile({ request, fused, plan, hashing, same, sidecarSource }: Work): Promise<number> {
	const { out, force } = request;
	const [file] = plan.files;
	if (file === undefined) throw new FormatError('E_SIDECAR', 'The sidecar names no file.');
	const inputs = [...fused.sources.values(), sidecarSource];
	if (request.dryRun) {
		checkTarget(out, force, inputs);
		return 0;
	}
	const write = async (sink: FileSink): Promise<void> => {
		await file.write(sink, { onWritten: (done) => request.onProgress?.(done, file.record.base.bytes) });
		await same;
		await checkBack(file, sink, hashing);
	};
	await writeFilesAtomic([{ target: out, ahead: true, write }], { force, inputs });
	return 0;
}

async function writeBackFolder({ request, fused, plan, hashing, same, sidecarSource }: Work): Promise<number> {
	const inputs = [fused.path, ...(request.sidecar === undefined ? [] : [request.sidecar])].filter((name) => !name.includes('://'));
	const target = checkFolderTarget(request.out, request.force, inputs);
	const restored = new Map(plan.files.map((file) => [file.file.path, file]));
	const others = [...fused.others, ...fused.model.files.map((file) => file.path)];
	const copied = others.filter((file) => !restored.has(file) && path.posix.basename(file) !== SIDECAR_NAME);
	if (request.dryRun) return copied.length;
	const total = plan.files.reduce((sum, { record }) => sum + record.base.bytes, 0);
	let before = 0;
	const files: FolderFile[] = copied.map((file) => ({ path: file, from: path.join(fused.path, file) }));
	for (const [name, file] of restored) {
		files.push({
			path: name,
			async write(sink) {
				await file.write(sink, { onWritten: (done) => request.onProgress?.(before + done, total) });
				await checkBack(file, sink, hashing);
				before += file.record.base.bytes;
			},
		});
	}
	await writeFolder(target, files, {
		async check() {
			await same;
			assertUnchanged([...fused.sources.values(), sidecarSource]);
		},
	});
	return copied.length;
}

/** @throws {FormatError} `E_SIDECAR` when the file is not the base's, bit for bit. */
async function checkBack({ record }: UnfuseFile, sink: FileSink, hashing: FileHashing): Promise<void> {
	const sha256 = await hashing.descriptor(sink.fd, sink.position, record.path);
	if (sha256 !== record.base.sha256) {
		throw new FormatError(
			'E_SIDECAR',
			`What comes back of ${quote(record.path)} has SHA-256 ${sha256.slice(0, 12)}..., the base had ${record.base.sha256.slice(0, 12)}...; the sidecar is damaged or was written by another version, so nothing was written.`,
			{ at: record.path },
		);
	}
}
