import { FormatError, quote } from '../../errors.js';
import { MAX_SIDECAR_ADAPTERS, MAX_SIDECAR_RECORD_CHARS } from '../../limits.js';
import type { StateDict } from '../../state-dict.js';
import type { Tensor } from '../../tensor.js';
import { parseSidecarRecord } from './sidecar-record.js';

/** Header entry of a sidecar that holds its record. */
export const SIDECAR_KEY: string = 'lorakit.unfuse';
/** The sidecar's name inside a fused folder. */
export const SIDECAR_NAME: string = 'lorakit.unfuse.safetensors';
/** What a fused file's name is continued with to name its sidecar. */
export const SIDECAR_SUFFIX: string = '.unfuse';

/** A file and what it was. */
export interface SidecarHash {
	/** Hex, lower case. */
	readonly sha256: string;
	/** Bytes of the whole file. */
	readonly bytes: number;
}

/**
 * How one tensor comes back. `delta`: subtract the delta, then the residual; `codes`: the residual is against the fused
 * tensor itself (its delta is a function of the base).
 */
export interface SidecarTensor {
	readonly name: string;
	readonly mode: 'delta' | 'codes';
	/** Name of the residual among the sidecar's tensors; null where the guess is the base. */
	readonly residual: string | null;
}

export interface SidecarFile {
	/** Relative to the model's folder, or the base file's name. */
	readonly path: string;
	readonly base: SidecarHash;
	readonly fused: SidecarHash;
	/** Name of the tensor with the base file's header, byte for byte. */
	readonly header: string;
	/** Every tensor that was fused. */
	readonly tensors: readonly SidecarTensor[];
}

/** A file of an adapter, whole, so that it is decoded again as it was. */
export interface SidecarAdapterFile {
	/** File name without folders: some layouts look at it. */
	readonly name: string;
	/** Name of the tensor with its bytes. */
	readonly bytes: string;
}

/** An adapter, its strength, and how it was read. */
export interface SidecarAdapter {
	readonly name: string;
	readonly scale: number;
	readonly components: Readonly<Record<string, number>>;
	/** Text of the block weights; null for none. */
	readonly blocks: string | null;
	/** Layout id. */
	readonly layout: string;
	readonly order: 'old' | 'new' | null;
	readonly repair: boolean;
	readonly main: SidecarAdapterFile;
	readonly textEncoder: SidecarAdapterFile | null;
	/** Text of adapter_config.json. */
	readonly config: string | null;
}

/** The record of a sidecar: JSON under `SIDECAR_KEY`. */
export interface SidecarRecord {
	readonly kind: 'lorakit.unfuse';
	readonly unfuse: 1;
	readonly tool: string;
	readonly version: string;
	/** What the base was: a folder of files, or one file. */
	readonly base: 'folder' | 'file';
	/** Empty where no tensor needs its delta computed again. */
	readonly adapters: readonly SidecarAdapter[];
	readonly files: readonly SidecarFile[];
}

/** A sidecar that was read and checked. */
export interface Sidecar {
	readonly record: SidecarRecord;
	/** The tensors it names, all of them there, all U8 and one-dimensional. */
	readonly tensors: ReadonlyMap<string, Tensor>;
}

/** The header entries of a sidecar. */
export function sidecarMetadata(record: SidecarRecord): ReadonlyMap<string, string> {
	return new Map([[SIDECAR_KEY, JSON.stringify(record)]]);
}

/**
 * Read a sidecar: a safetensors file with a record that names nothing but what is in it. Whether it belongs to a fused
 * file, the hashes say.
 * @throws {FormatError} `E_SIDECAR`.
 */
export function readSidecar(state: StateDict): Sidecar {
	const where = quote(state.name);
	const text = state.metadata.get(SIDECAR_KEY);
	if (text === undefined)
		throw new FormatError('E_SIDECAR', `${where} is no sidecar of "lora fuse --reversible": it has no entry ${quote(SIDECAR_KEY)}.`);
	if (text.length > MAX_SIDECAR_RECORD_CHARS) {
		throw new FormatError('E_SIDECAR', `The record in ${where} has ${text.length} characters; the limit is ${MAX_SIDECAR_RECORD_CHARS}.`);
	}
	const record = parseSidecarRecord(text, where);
	if (record.adapters.length > MAX_SIDECAR_ADAPTERS) {
		throw new FormatError(
			'E_SIDECAR',
			`The record in ${where} names ${record.adapters.length} adapters; the limit is ${MAX_SIDECAR_ADAPTERS}.`,
		);
	}
	for (const name of namesIn(record)) {
		const tensor = state.tensors.get(name);
		if (tensor === undefined || tensor.dtype !== 'U8' || tensor.shape.length !== 1) {
			throw new FormatError(
				'E_SIDECAR',
				`The record in ${where} names ${quote(name)}, which is ${tensor === undefined ? 'not there' : 'no list of bytes'}; the sidecar is damaged, fuse again from the original base.`,
				{ at: name },
			);
		}
	}
	return { record, tensors: state.tensors };
}

/** Every tensor that a record names. */
function* namesIn({ adapters, files }: SidecarRecord): Generator<string, void, undefined> {
	for (const { main, textEncoder } of adapters) {
		yield main.bytes;
		if (textEncoder !== null) yield textEncoder.bytes;
	}
	for (const { header, tensors } of files) {
		yield header;
		for (const { residual } of tensors) if (residual !== null) yield residual;
	}
}
