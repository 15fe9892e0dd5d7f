import type { BaseModel } from '../../bases/base-model.js';
import { type ByteSource, checkRange } from '../../byte-source.js';
import { decodeAdapter } from '../../detect.js';
import { FormatError, quote } from '../../errors.js';
import { loadInput } from '../../load.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { parseBlockWeights } from '../strength/block-weights.js';
import type { Sidecar, SidecarAdapter, SidecarAdapterFile } from './sidecar.js';

/**
 * The adapters that a sidecar holds, decoded as `fuse` decoded them.
 * @throws {FormatError} `E_SIDECAR` when one of them cannot be read any more.
 */
export async function sidecarUses({ record, tensors }: Sidecar, base: BaseModel): Promise<readonly AdapterUse[]> {
	const open = (file: SidecarAdapterFile): ByteSource => {
		const tensor = tensors.get(file.bytes);
		if (tensor?.range === undefined) throw new FormatError('E_SIDECAR', `The sidecar does not hold ${quote(file.bytes)}.`);
		return partSource(tensor.range.source, tensor.range.offset, tensor.nbytes, file.name);
	};
	const uses: AdapterUse[] = [];
	for (const entry of record.adapters) {
		try {
			uses.push(await useOf(entry, open, base));
		} catch (error) {
			if (!(error instanceof FormatError) || error.code === 'E_SIDECAR') throw error;
			throw new FormatError('E_SIDECAR', `The adapter ${quote(entry.name)} in the sidecar cannot be read: ${error.message}`, {
				cause: error,
			});
		}
	}
	return uses;
}

async function useOf(entry: SidecarAdapter, open: (file: SidecarAdapterFile) => ByteSource, base: BaseModel): Promise<AdapterUse> {
	const { main, textEncoder, config } = entry;
	const input = await loadInput(
		{
			main: open(main),
			textEncoder: textEncoder === null ? undefined : open(textEncoder),
			config: config ?? undefined,
			base: base.inventory,
		},
		{ values: true },
	);
	const { adapter } = decodeAdapter(input, { from: entry.layout, order: entry.order ?? undefined, repair: entry.repair });
	return {
		adapter,
		name: entry.name,
		strength: {
			scale: entry.scale,
			components: new Map(Object.entries(entry.components)),
			blocks: entry.blocks === null ? undefined : parseBlockWeights(entry.blocks, adapter),
		},
	};
}

/** A part of a source as a source. Closing it does nothing: the whole is somebody else's. */
function partSource(whole: ByteSource, begin: number, size: number, name: string): ByteSource {
	return {
		name,
		size,
		remote: whole.remote,
		async read(offset, length) {
			checkRange(name, size, offset, length);
			return whole.read(begin + offset, length);
		},
		async close() {},
	};
}
