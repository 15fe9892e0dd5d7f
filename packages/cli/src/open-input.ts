import { type BaseInventory, type ByteSource, FormatError, type LayoutInput, loadInput, quote, type ReadOptions } from '@lorakit/format';
import { type Companions, type FolderLister, NO_COMPANIONS, openSource, resolveInput } from '@lorakit/format/node';

/** An adapter that is open for reading. */
export interface OpenedInput {
	readonly input: LayoutInput;
	/** All files of it, main first. */
	readonly sources: readonly ByteSource[];
	/** The main file as named or found. */
	readonly main: string;
	/** What was found beside it and taken, by path. */
	readonly companions: readonly string[];
	/** Companions that lie beside but were not asked for (`companions: false`). */
	readonly passedOver: readonly string[];
	/** Weight files in the same folder that were not taken. */
	readonly others: readonly string[];
	close(): Promise<void>;
}

export interface OpenInputOptions {
	/** false: read the named file alone. */
	readonly companions?: boolean | undefined;
	/** Overrules the text encoder that was found; `none` for none. */
	readonly textEncoder?: string | undefined;
	/** Overrules the embeddings that were found; `none` for none. */
	readonly embeddings?: readonly string[] | undefined;
	readonly base?: BaseInventory | undefined;
	readonly list?: FolderLister | undefined;
	/** See `ReadOptions.values`. */
	readonly values?: boolean | undefined;
	/** Put something around every source: a counter. */
	readonly wrap?: ((source: ByteSource) => ByteSource) | undefined;
}

/**
 * Find, open and read an adapter and what belongs to it. Everything is closed again when it throws.
 * @throws {FormatError} of resolving, opening and reading.
 */
export async function openInput(spec: string, options: OpenInputOptions = {}): Promise<OpenedInput> {
	const resolved = await resolveInput(spec, options.list === undefined ? {} : { list: options.list });
	const companions = chooseCompanions(resolved.companions, options);
	const sources: ByteSource[] = [];
	const close = async (): Promise<void> => {
		for (const source of sources) await source.close();
	};
	const open = async (path: string): Promise<ByteSource> => {
		const source = await openSource(path);
		sources.push(source);
		return options.wrap?.(source) ?? source;
	};
	try {
		const main = await open(resolved.main);
		const textEncoder = companions.textEncoder === undefined ? undefined : await open(companions.textEncoder);
		const embeddings: ByteSource[] = [];
		for (const path of companions.embeddings) embeddings.push(await open(path));
		const config = companions.config === undefined ? undefined : await readText(companions.config);
		const read: ReadOptions = options.values === undefined ? {} : { values: options.values };
		const input = await loadInput({ main, textEncoder, embeddings, config, base: options.base }, read);
		return {
			input,
			sources,
			main: resolved.main,
			companions: pathsOf(companions),
			passedOver: options.companions === false ? pathsOf(resolved.companions) : [],
			others: resolved.others,
			close,
		};
	} catch (error) {
		await close();
		throw error;
	}
}

function pathsOf({ textEncoder, embeddings, config }: Companions): string[] {
	return [textEncoder, ...embeddings, config].filter((path) => path !== undefined);
}

function chooseCompanions(found: Companions, options: OpenInputOptions): Companions {
	if (options.companions === false) return NO_COMPANIONS;
	const { textEncoder, embeddings } = options;
	if (embeddings !== undefined && embeddings.length > 1 && embeddings.includes('none'))
		throw new FormatError('E_USAGE', '--embeddings none cannot be given together with --embeddings FILE.');
	return {
		textEncoder: textEncoder === undefined ? found.textEncoder : textEncoder === 'none' ? undefined : textEncoder,
		embeddings: embeddings === undefined ? found.embeddings : embeddings.filter((path) => path !== 'none'),
		config: found.config,
	};
}

/** Largest side file that is read as text. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** A small text file, whole. @throws {FormatError} `E_LIMIT`, `E_CONFIG` when it is no UTF-8, and those of reading. */
export async function readText(spec: string): Promise<string> {
	const source = await openSource(spec);
	try {
		if (source.size > MAX_TEXT_BYTES)
			throw new FormatError('E_LIMIT', `${quote(source.name)} has ${source.size} bytes; a configuration has at most ${MAX_TEXT_BYTES}.`);
		return new TextDecoder('utf-8', { fatal: true }).decode(await source.read(0, source.size));
	} catch (error) {
		if (error instanceof TypeError) throw new FormatError('E_CONFIG', `${quote(source.name)} is no UTF-8 text.`, { cause: error });
		throw error;
	} finally {
		await source.close();
	}
}
