import type { Adapter } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { guessBaseOf } from '../../layouts/shared.js';

/** One part of an adapter. */
export interface AdapterSplit {
	/** A component (`unet`, `text_encoder`, ...) or `embeddings`. */
	readonly part: string;
	readonly adapter: Adapter;
}

/** What the part of embeddings is called. */
export const EMBEDDINGS_PART = 'embeddings';

/**
 * The components of an adapter apart, and its embeddings: in the order in which the file has them. Every part has the
 * whole header, so that nothing of it is lost and `joinAdapters` gives the adapter back. Tensors that no layout knows stay with the first part.
 *
 * @throws {FormatError} `E_EMPTY_ADAPTER` when there is only one part: there is nothing to split.
 */
export function splitAdapter(adapter: Adapter): readonly AdapterSplit[] {
	const components = [...new Set(adapter.modules.map((m) => m.component))];
	const splits = components.map((part, i): AdapterSplit => {
		const modules = adapter.modules.filter((m) => m.component === part);
		return {
			part,
			adapter: {
				...adapter,
				modules,
				embeddings: [],
				unknown: i === 0 ? adapter.unknown : new Map(),
				base: guessBaseOf(modules, adapter.naming, adapter.metadata),
			},
		};
	});
	if (adapter.embeddings.length > 0) splits.push({ part: EMBEDDINGS_PART, adapter: { ...adapter, modules: [], unknown: new Map() } });
	if (splits.length > 1) return splits;
	throw new FormatError(
		'E_EMPTY_ADAPTER',
		`${quote(adapter.source.name)} has ${splits[0]?.part ?? 'nothing'} alone; there is nothing to split.`,
	);
}
