import type { ByteSource } from './byte-source.js';
import { openStateDict } from './containers/index.js';
import type { LayoutInput } from './layouts/layout.js';
import type { BaseInventory } from './modules/inventory.js';
import type { StateDict } from './state-dict.js';
import type { Tensor } from './tensor.js';

/** The files of one adapter: the main one and what was found beside it (`io/companions.ts`, or given by flags). */
export interface InputSources {
	readonly main: ByteSource;
	readonly textEncoder?: ByteSource | undefined;
	readonly embeddings?: readonly ByteSource[] | undefined;
	/** Text of adapter_config.json. */
	readonly config?: string | undefined;
	readonly base?: BaseInventory | undefined;
}

export interface LoadOptions {
	/** Read the values of scalars too (alpha, scale). Default: for local sources only, so that a remote inspect costs one header. */
	readonly values?: boolean | undefined;
}

/**
 * Open all files of an adapter. Only headers, pickles and scalars are read.
 * @throws {FormatError} any container code.
 */
export async function loadInput(sources: InputSources, options: LoadOptions = {}): Promise<LayoutInput> {
	const read = options.values === undefined ? {} : { values: options.values };
	const file = await openStateDict(sources.main, read);
	const textEncoder =
		sources.textEncoder === undefined
			? undefined
			: withOriginPrefix(await openStateDict(sources.textEncoder, read), sources.textEncoder.name);
	const embeddings: StateDict[] = [];
	for (const source of sources.embeddings ?? []) embeddings.push(withOriginPrefix(await openStateDict(source, read), source.name));
	return { file, textEncoder, embeddings, config: sources.config, base: sources.base };
}

/** A LayoutInput of a single state dict, without companions. */
export function soloInput(file: StateDict): LayoutInput {
	return { file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined };
}

/** Name of a tensor of a companion file as receipts print it: two lists both have a tensor "0". */
export function companionOrigin(fileName: string, tensorName: string): string {
	return `${fileName.slice(fileName.lastIndexOf('/') + 1)}:${tensorName}`;
}

function withOriginPrefix(file: StateDict, name: string): StateDict {
	const tensors = new Map<string, Tensor>();
	for (const [key, tensor] of file.tensors) tensors.set(key, { ...tensor, origin: companionOrigin(name, key), read: () => tensor.read() });
	return { ...file, tensors };
}
