import path from 'node:path';
import { type BaseModel, decodeAdapter, parseAdapterSpec, strengthFor } from '@lorakit/format';
import { hashSource } from '@lorakit/format/node';
import { openInput } from '../open-input.js';
import type { FuseAdapter, FuseReading } from './fuse-request.js';

/**
 * Open and decode the adapters of a command line. All are closed again when one fails.
 * @throws {FormatError} `E_USAGE` for a broken spec, and those of reading and decoding.
 */
export async function openAdapters(
	specs: readonly string[],
	base: BaseModel,
	reading: FuseReading,
	note: (text: string) => void,
): Promise<readonly FuseAdapter[]> {
	const parsed = specs.map((text) => parseAdapterSpec(text));
	const adapters: FuseAdapter[] = [];
	try {
		for (const spec of parsed) {
			const opened = await openInput(spec.path, { values: true, base: base.inventory });
			try {
				for (const file of opened.companions) note(`${file} belongs to ${opened.main} and is used.`);
				for (const file of opened.others) note(`${file} lies beside ${opened.main} and is not used.`);
				const { adapter, layout, input } = decodeAdapter(opened.input, reading);
				const [main] = opened.sources;
				if (main === undefined) throw new TypeError('an input without a file');
				adapters.push({
					use: { adapter, name: path.basename(opened.main), strength: strengthFor(spec, adapter) },
					opened,
					layout: layout.id,
					sha256: await hashSource(main),
					config: input.config,
					blocks: spec.blocks,
				});
			} catch (error) {
				await opened.close();
				throw error;
			}
		}
		return adapters;
	} catch (error) {
		await closeAdapters(adapters);
		throw error;
	}
}

/** Close their files. */
export async function closeAdapters(adapters: readonly FuseAdapter[]): Promise<void> {
	for (const { opened } of adapters) await opened.close();
}
