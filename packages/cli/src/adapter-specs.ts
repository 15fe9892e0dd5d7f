import path from 'node:path';
import {
	type AdapterUse,
	type BaseInventory,
	decodeAdapter,
	embeddingsAsAdapter,
	FormatError,
	parseAdapterSpec,
	quote,
	strengthFor,
} from '@lorakit/format';
import { hashSource } from '@lorakit/format/node';
import { type OpenedInput, openInput } from './open-input.js';

/** An adapter of a command line, open and decoded. */
export interface OpenedAdapter {
	readonly use: AdapterUse;
	readonly opened: OpenedInput;
	/** SHA-256 of its main file. */
	readonly sha256: string;
	/** Text of adapter_config.json, where the layout used it. */
	readonly config: string | undefined;
	/** Block weights, as its spec or the options say. */
	readonly blocks: string | undefined;
}

export interface OpenAdaptersOptions {
	readonly from?: string | undefined;
	readonly order?: 'old' | 'new' | undefined;
	readonly repair?: boolean | undefined;
	readonly base?: BaseInventory | undefined;
	/** Block weights for adapters that name none of their own. */
	readonly blocks?: string | undefined;
	/** Take files of embeddings alone too. */
	readonly embeddingsAlone?: boolean | undefined;
	/** Adapters of one name are told apart by a number. */
	readonly distinct?: boolean | undefined;
	/** Told what was found beside inputs. */
	readonly note: (text: string) => void;
}

/**
 * Open and decode `PATH[@scale][:unet=…]` each. All are closed again when one fails.
 * @throws {FormatError} `E_USAGE` for a broken spec (before anything is opened), and those of reading and decoding.
 */
export async function openAdapterSpecs(specs: readonly string[], options: OpenAdaptersOptions): Promise<readonly OpenedAdapter[]> {
	const parsed = specs.map((text) => parseAdapterSpec(text));
	const adapters: OpenedAdapter[] = [];
	const names = new Set<string>();
	try {
		for (const spec of parsed) {
			const opened = await openInput(spec.path, { values: true, base: options.base });
			try {
				for (const file of opened.companions) options.note(`${file} belongs to ${opened.main} and is used.`);
				for (const file of opened.others) options.note(`${file} lies beside ${opened.main} and is not used.`);
				const alone = options.embeddingsAlone === true ? embeddingsAsAdapter(opened.input) : undefined;
				const { adapter, input } = alone === undefined ? decodeAdapter(opened.input, options) : { adapter: alone, input: opened.input };
				const [main] = opened.sources;
				if (main === undefined) throw new TypeError('an input without a file');
				const blocks = spec.blocks ?? options.blocks;
				const name = path.basename(opened.main);
				adapters.push({
					use: {
						adapter,
						name: options.distinct === true ? uniqueName(name, names) : name,
						strength: strengthFor({ ...spec, blocks }, adapter),
					},
					opened,
					sha256: await hashSource(main),
					config: input.config,
					blocks,
				});
			} catch (error) {
				await opened.close();
				throw specs.length > 1 ? withName(path.basename(opened.main), error) : error;
			}
		}
		return adapters;
	} catch (error) {
		await closeAdapters(adapters);
		throw error;
	}
}

/** Close their files. */
export async function closeAdapters(adapters: readonly OpenedAdapter[]): Promise<void> {
	for (const { opened } of adapters) await opened.close();
}

/** What a file is refused for says which of several it is; how a spec is written says so itself. */
function withName(name: string, error: unknown): unknown {
	if (!(error instanceof FormatError) || error.code === 'E_USAGE' || error.message.includes(name)) return error;
	return new FormatError(error.code, `${quote(name)}: ${error.message}`, { at: error.at, cause: error });
}

function uniqueName(name: string, taken: Set<string>): string {
	let unique = name;
	for (let n = 2; taken.has(unique); n++) unique = `${name} (${n})`;
	taken.add(unique);
	return unique;
}
