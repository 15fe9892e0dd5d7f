import path from 'node:path';
import {
	type ByteSource,
	bytesTensor,
	codeWidth,
	encodeResidual,
	guessBase,
	rangeTensor,
	SIDECAR_NAME,
	SIDECAR_SUFFIX,
	type SidecarAdapter,
	type SidecarAdapterFile,
	type SidecarFile,
	type SidecarHash,
	type SidecarTensor,
	sidecarMetadata,
	type Tensor,
	type TouchedTensor,
	writePlannedFile,
} from '@lorakit/format';
import { createSpill, type FileSink } from '@lorakit/format/node';
import type { OpenedAdapter } from '../adapter-specs.js';
import type { FuseRequest } from './fuse-request.js';

/** Collects what a sidecar needs while a model is being fused. */
export interface SidecarBuilder {
	/** Told each touched tensor of a file as it was and as it is. */
	tensor(file: string, touched: TouchedTensor, before: Uint8Array, after: Uint8Array): Promise<void>;
	/** A file is written and its hashes are known. @param source the base's file */
	file(path: string, source: ByteSource, headerBytes: number, base: SidecarHash, fused: SidecarHash): Promise<void>;
	/** @returns bytes of the sidecar */
	write(sink: FileSink): Promise<number>;
	close(): void;
}

/** Where the sidecar of OUT lies. */
export function sidecarPath(out: string, kind: 'folder' | 'file'): string {
	return kind === 'folder' ? path.join(out, SIDECAR_NAME) : `${out}${SIDECAR_SUFFIX}`;
}

/**
 * A builder whose residuals wait in a nameless file beside `near`: of a large model they are hundreds of megabytes.
 * @throws {FormatError} `E_NO_SPACE`, `E_IO`.
 */
export function createSidecarBuilder(
	kind: 'folder' | 'file',
	adapters: readonly OpenedAdapter[],
	request: Pick<FuseRequest, 'order' | 'repair' | 'version'>,
	near: string,
): SidecarBuilder {
	const spill = createSpill(near);
	const residuals: { readonly name: string; readonly at: number; readonly length: number }[] = [];
	const byFile = new Map<string, SidecarTensor[]>();
	const files: SidecarFile[] = [];
	const headers = new Map<string, Tensor>();
	let anyDelta = false;

	return {
		async tensor(file, touched, before, after) {
			const guess = after.slice();
			await guessBase(touched, guess);
			const residual = await encodeResidual(before, guess, codeWidth(touched));
			const name = residual.byteLength === 0 ? null : `residual.${residuals.length}`;
			if (name !== null) residuals.push({ name, at: await spill.append(residual), length: residual.byteLength });
			if (!touched.needsBase) anyDelta = true;
			const own = byFile.get(file) ?? [];
			own.push({ name: touched.name, mode: touched.needsBase ? 'codes' : 'delta', residual: name });
			byFile.set(file, own);
		},
		async file(file, source, headerBytes, base, fused) {
			const header = `header.${files.length}`;
			headers.set(header, bytesTensor('U8', [headerBytes], await source.read(0, headerBytes)));
			files.push({ path: file, base, fused, header, tensors: byFile.get(file) ?? [] });
		},
		async write(sink) {
			const tensors = new Map<string, Tensor>(headers);
			// Where every delta is a function of the base the residuals say it all.
			const kept = anyDelta ? adapters.map((adapter, i) => adapterEntry(adapter, i, request, tensors)) : [];
			const source = spill.source();
			for (const { name, at, length } of residuals) tensors.set(name, rangeTensor('U8', [length], source, at));
			const { version } = request;
			const metadata = sidecarMetadata({ kind: 'lorakit.unfuse', unfuse: 1, tool: 'lorakit', version, base: kind, adapters: kept, files });
			return writePlannedFile({ container: 'safetensors', tensors, metadata, suffix: '', top: 'dict', beside: false }, sink);
		},
		close: () => spill.close(),
	};
}

function adapterEntry(
	{ use, opened, config, blocks }: OpenedAdapter,
	index: number,
	{ order, repair }: Pick<FuseRequest, 'order' | 'repair'>,
	tensors: Map<string, Tensor>,
): SidecarAdapter {
	const keep = (what: string, source: ByteSource): SidecarAdapterFile => {
		const bytes = `adapter.${index}.${what}`;
		tensors.set(bytes, rangeTensor('U8', [source.size], source, 0));
		return { name: path.basename(source.name), bytes };
	};
	const [main, second] = opened.sources;
	if (main === undefined) throw new TypeError('an input without a file');
	return {
		name: use.name,
		scale: use.strength.scale,
		components: Object.fromEntries(use.strength.components),
		blocks: blocks ?? null,
		layout: use.adapter.source.layout,
		order: order ?? null,
		repair: repair === true,
		main: keep('main', main),
		textEncoder: opened.input.textEncoder === undefined || second === undefined ? null : keep('text_encoder', second),
		config: config ?? null,
	};
}
