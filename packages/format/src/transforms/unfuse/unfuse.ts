import type { BaseModel, BaseTensorFile } from '../../bases/base-model.js';
import { FormatError, quote } from '../../errors.js';
import { MAX_HEADER_BYTES } from '../../limits.js';
import type { Tensor } from '../../tensor.js';
import type { PatchableSink } from '../../write.js';
import type { TouchedTensor } from '../fuse/touched-tensor.js';
import { sourceOf } from '../fuse/write-fused.js';
import { planVariants } from '../fuse/write-fused-variants.js';
import { dataWindows, type StreamOptions, streamWindows } from '../fuse/write-fused-windows.js';
import { applyResidual } from './residual.js';
import type { Sidecar, SidecarFile, SidecarTensor } from './sidecar.js';
import { sidecarUses } from './unfuse-adapters.js';
import { codeWidth, guessBase, widthOf } from './unfuse-guess.js';

/** A fused file, and how it becomes the base's again. */
export interface UnfuseFile {
	readonly file: BaseTensorFile;
	readonly record: SidecarFile;
	/** Write the base's file: its own header, then the data. Streams. @throws {FormatError} `E_SIDECAR`, and what reading and the sink throw. */
	write(sink: PatchableSink, options?: Pick<StreamOptions, 'onWritten'>): Promise<void>;
}

/** A way back, decided; of the data only the adapters were looked at. */
export interface UnfusePlan {
	readonly files: readonly UnfuseFile[];
	/** Tensors that change back. */
	readonly tensors: number;
}

/**
 * Decide how a fused model becomes its base again. The caller checks `record.fused.sha256` of each file before it
 * trusts this, and `record.base.sha256` of what was written before it takes anything's place.
 *
 * @throws {FormatError} `E_FUSED_CHANGED` when a file of the record is not in FUSED; `E_SIDECAR` when the record does not
 *   fit it; what `planFuse` throws.
 */
export async function planUnfuse(fused: BaseModel, sidecar: Sidecar): Promise<UnfusePlan> {
	const { record } = sidecar;
	const uses = await sidecarUses(sidecar, fused);
	const plan = uses.length === 0 ? undefined : await planVariants(fused, uses, { allowUnknown: true, trustValues: true });
	const files: UnfuseFile[] = [];
	for (const entry of record.files) {
		const file = fileOf(fused, entry, record.base);
		files.push(planFile(file, entry, plan?.byFile.get(file) ?? new Map(), sidecar.tensors));
	}
	return { files, tensors: record.files.reduce((sum, { tensors }) => sum + tensors.length, 0) };
}

function fileOf(fused: BaseModel, { path }: SidecarFile, kind: 'folder' | 'file'): BaseTensorFile {
	const [only] = fused.files;
	const file = kind === 'file' && fused.kind === 'file' ? only : fused.files.find((f) => f.path === path);
	if (file === undefined || kind !== fused.kind) {
		throw new FormatError(
			'E_FUSED_CHANGED',
			`The sidecar was written for ${kind === 'file' ? 'one file' : `a folder with ${quote(path)}`}, which ${quote(fused.name)} is not.`,
		);
	}
	if (file.state.container !== 'safetensors') {
		throw new FormatError('E_FUSED_CHANGED', `${quote(file.path)} is a torch file; the sidecar was written for a safetensors file.`);
	}
	return file;
}

function planFile(
	file: BaseTensorFile,
	record: SidecarFile,
	touched: ReadonlyMap<string, TouchedTensor>,
	tensors: ReadonlyMap<string, Tensor>,
): UnfuseFile {
	const changes = new Map<string, SidecarTensor>();
	for (const entry of record.tensors) {
		const target = touched.get(entry.name);
		if (!file.state.tensors.has(entry.name) || (entry.mode === 'delta' && (target === undefined || target.needsBase))) {
			throw mismatch(entry.name, file);
		}
		changes.set(entry.name, entry);
	}
	for (const name of touched.keys()) if (!changes.has(name)) throw mismatch(name, file);
	const header = tensors.get(record.header);
	if (header === undefined || header.nbytes > MAX_HEADER_BYTES + 8)
		throw new FormatError('E_SIDECAR', `The header of ${quote(record.path)} in the sidecar is no header.`);
	return {
		file,
		record,
		async write(sink, options = {}) {
			const windows = dataWindows(file.state, changes);
			const total = header.nbytes + windows.reduce((sum, { length }) => sum + length, 0);
			if (total !== record.base.bytes) {
				throw new FormatError(
					'E_SIDECAR',
					`The sidecar says ${quote(record.path)} had ${record.base.bytes} bytes, but ${total} come back.`,
				);
			}
			await sink.write(await header.read());
			await streamWindows(
				sourceOf(file),
				windows,
				sink,
				async (window, bytes) => {
					for (const { name, at, nbytes } of window.changed) {
						const entry = changes.get(name);
						if (entry !== undefined) await restore(entry, bytes.subarray(at, at + nbytes), file, touched, tensors);
					}
				},
				options,
			);
		},
	};
}

async function restore(
	{ name, mode, residual }: SidecarTensor,
	bytes: Uint8Array,
	file: BaseTensorFile,
	touched: ReadonlyMap<string, TouchedTensor>,
	tensors: ReadonlyMap<string, Tensor>,
): Promise<void> {
	const target = touched.get(name);
	const dtype = file.state.tensors.get(name)?.dtype;
	if (dtype === undefined) throw mismatch(name, file);
	if (mode === 'delta' && target !== undefined) await guessBase(target, bytes);
	if (residual === null) return;
	const packed = await tensors.get(residual)?.read();
	const width = target === undefined ? widthOf(dtype) : codeWidth(target);
	if (packed === undefined || width === undefined) throw mismatch(name, file);
	await applyResidual(bytes, packed, width, quote(name));
}

function mismatch(name: string, file: BaseTensorFile): FormatError {
	return new FormatError(
		'E_SIDECAR',
		`The sidecar and ${quote(file.path)} do not agree about ${quote(name)}; the sidecar is of another model.`,
		{ at: name },
	);
}
