import path from 'node:path';
import {
	type BaseTensorFile,
	type ByteSource,
	embeddingFiles,
	FormatError,
	type FusePlan,
	fusedTensor,
	makeRecipe,
	type OutputContainer,
	quote,
	type Recipe,
	recipeMetadata,
	type Tensor,
	type TouchedTensor,
	type Warning,
	writeFusedFile,
	writePlannedFile,
} from '@lorakit/format';
import { type AtomicOutput, createNodeSha256, type FileSink } from '@lorakit/format/node';
import type { OpenedAdapter } from '../adapter-specs.js';
import { containerOf, stemOf } from '../output-names.js';
import type { FuseRequest } from './fuse-request.js';
import type { SidecarBuilder } from './fuse-sidecar.js';
import { createHashing, type FileHashing } from './hash-files.js';
import type { OpenedBase } from './open-base.js';

/** A fuse that is planned, with what its writers share. */
export interface FuseJob {
	readonly base: OpenedBase;
	readonly adapters: readonly OpenedAdapter[];
	readonly plan: FusePlan;
	readonly request: FuseRequest;
	readonly hashing: FileHashing;
	/** SHA-256 of every base file that is written, by path; under way, or to come while the file is written. */
	readonly baseHashes: ReadonlyMap<string, Promise<string>>;
	/** For files whose hash is taken while they go by: where it is told. */
	readonly tellHash: ReadonlyMap<string, (sha256: string) => void>;
	readonly warnings: Warning[];
	/** Bytes of all files that change. */
	readonly total: number;
}

const UNKNOWN_HASH = '0'.repeat(64);

/**
 * Begin. Where every file goes through in its own order its hash is taken on the way, and stands in a header that is
 * patched at the end; else files are hashed first. The caller closes `hashing`.
 * @param files base files that are written by `writeFile`: a single file also where nothing in it changes
 * @param out what a base file is written as
 */
export function beginFuse(
	base: OpenedBase,
	adapters: readonly OpenedAdapter[],
	plan: FusePlan,
	request: FuseRequest,
	files: readonly BaseTensorFile[],
	out: (file: BaseTensorFile) => string,
): FuseJob {
	const hashing = createHashing();
	const baseHashes = new Map<string, Promise<string>>();
	const tellHash = new Map<string, (sha256: string) => void>();
	const onTheWay = files.every((file) => goesThrough(file, out(file)));
	let total = 0;
	for (const file of files) {
		const source = sourceFor(base, file);
		total += source.size;
		if (onTheWay) baseHashes.set(file.path, new Promise((resolve) => tellHash.set(file.path, resolve)));
		else baseHashes.set(file.path, hashing.source(source));
	}
	return { base, adapters, plan, request, hashing, baseHashes, tellHash, warnings: [], total };
}

/** Whether a base file keeps its data order: safetensors to safetensors. */
function goesThrough(file: BaseTensorFile, out: string): boolean {
	return file.state.container === 'safetensors' && containerOf(out) === 'safetensors';
}

/** The source that a base file is read from. */
export function sourceFor(base: OpenedBase, file: BaseTensorFile): ByteSource {
	const source = base.sources.get(file.path);
	if (source === undefined) throw new TypeError(`${file.path} is not open`);
	return source;
}

/** The recipe; waits for the hashes of the base. */
export async function finalRecipe(job: FuseJob): Promise<Recipe> {
	const hashes = new Map<string, string>();
	for (const [file, hash] of job.baseHashes) hashes.set(file, await hash);
	return recipeOf(job, hashes);
}

function recipeOf({ plan, adapters, request }: FuseJob, baseHashes: ReadonlyMap<string, string>): Recipe {
	return makeRecipe({
		plan,
		uses: adapters.map(({ use }) => use),
		adapterHashes: adapters.map(({ sha256 }) => sha256),
		baseHashes,
		tool: 'lorakit',
		version: request.version,
	});
}

/** A file whose data is written and whose header waits for the hashes. */
export interface WrittenFile {
	readonly bytes: number;
	/** Put the true header in place. */
	finish(recipe: Recipe): Promise<void>;
}

/**
 * Write one base file fused. From safetensors to safetensors the data goes through in its own order; what is, or becomes,
 * a torch file is laid out anew.
 *
 * @param out names the output: its extension picks the container
 */
export async function writeFile(
	job: FuseJob,
	file: BaseTensorFile,
	out: string,
	sink: FileSink,
	before: number,
	sidecar: SidecarBuilder | undefined,
): Promise<WrittenFile> {
	const { request, total } = job;
	const touched = job.plan.byFile.get(file) ?? new Map<string, TouchedTensor>();
	const onWritten = (done: number): void => request.onProgress?.(Math.min(total, before + done), total);
	if (!goesThrough(file, out)) {
		const bytes = await writeAnew(job, file, touched, out, containerOf(out), sink, onWritten);
		return { bytes, async finish() {} };
	}
	const draft = recipeMetadata(
		file.state.metadata,
		recipeOf(job, new Map(Array.from(job.baseHashes.keys(), (name) => [name, UNKNOWN_HASH]))),
	);
	const source = sourceFor(job.base, file);
	const tell = job.tellHash.get(file.path);
	const hash = tell === undefined ? undefined : job.hashing.stream(source.size, source.name);
	await hash?.update(await source.read(0, headerBytes(file)));
	const written = await writeFusedFile(file, touched, draft, sink, {
		onRead: hash === undefined ? undefined : (bytes) => hash.update(bytes),
		shared: true,
		hasher: createNodeSha256,
		allowOverflow: request.allowNonfinite,
		onTensor: sidecar === undefined ? undefined : (target, was, is) => sidecar.tensor(file.path, target, was, is),
		onWritten,
	});
	if (hash !== undefined) tell?.(await hash.digest());
	job.warnings.push(...written.warnings);
	return {
		bytes: written.bytes,
		finish: (recipe) => sink.patch(0, written.header(recipeMetadata(file.state.metadata, recipe))),
	};
}

async function writeAnew(
	job: FuseJob,
	file: BaseTensorFile,
	touched: ReadonlyMap<string, TouchedTensor>,
	out: string,
	container: OutputContainer,
	sink: FileSink,
	onProgress: (done: number) => void,
): Promise<number> {
	const { allowNonfinite: allowOverflow } = job.request;
	const tensors = new Map<string, Tensor>();
	for (const [name, tensor] of file.state.tensors) {
		const target = touched.get(name);
		tensors.set(
			name,
			target === undefined
				? tensor
				: fusedTensor(target, { allowOverflow }, ({ overflowed }) => {
						if (overflowed > 0) job.warnings.push(overflow(target, overflowed));
					}),
		);
	}
	const recipe = container === 'safetensors' ? await finalRecipe(job) : undefined;
	const metadata = recipe === undefined ? file.state.metadata : recipeMetadata(file.state.metadata, recipe);
	return writePlannedFile({ container, tensors, metadata, suffix: '', top: 'dict', beside: false }, sink, {
		hasher: createNodeSha256,
		rootName: path.basename(stemOf(out)),
		onProgress,
	});
}

function overflow(touched: TouchedTensor, count: number): Warning {
	return {
		code: 'W_OVERFLOW',
		message: `${count} elements of ${quote(touched.name)} (${touched.modules.join(', ')}) are too large for ${touched.tensor.dtype} and became Inf.`,
		at: touched.name,
	};
}

/** Files with the embeddings of the adapters, beside OUT: `OUTSTEM_emb*.safetensors`, as convert writes them. */
export function embeddingOutputs(adapters: readonly OpenedAdapter[], out: string): readonly AtomicOutput[] {
	// An adapter that is named twice has its embeddings once.
	const files = new Map(adapters.map(({ opened, use }) => [opened.main, use.adapter.embeddings]));
	const all = [...files.values()].flat();
	const stem = /\.(safetensors|pt|bin|ckpt|pth)$/i.test(out) ? stemOf(out) : out.replace(/[/\\]+$/, '');
	return embeddingFiles(all).map(({ fileStemSuffix, tensors, metadata }) => ({
		target: `${stem}${fileStemSuffix}.safetensors`,
		async write(sink) {
			await writePlannedFile({ container: 'safetensors', tensors, metadata, suffix: fileStemSuffix, top: 'dict', beside: true }, sink);
		},
	}));
}

/** Only safetensors files can come back bit for bit. @throws {FormatError} `E_SIDECAR`. */
export function checkReversible(files: Iterable<BaseTensorFile>, out: (file: BaseTensorFile) => string): void {
	for (const file of files) {
		if (goesThrough(file, out(file))) continue;
		throw new FormatError(
			'E_SIDECAR',
			`${quote(file.path)} ${file.state.container === 'safetensors' ? 'would become' : 'is'} a torch file, which cannot be brought back bit for bit; leave --reversible out, or convert the base to .safetensors first.`,
			{ at: file.path },
		);
	}
}

/** Bytes before the data of a safetensors file. */
export function headerBytes(file: BaseTensorFile): number {
	for (const { range } of file.state.tensors.values()) if (range !== undefined) return range.offset;
	return 0;
}
