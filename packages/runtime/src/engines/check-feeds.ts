import { FormatError, quote } from '@lorakit/format';
import type { Graph } from '../graph/index.js';
import { countOf, type HostTensor } from '../host-tensor.js';

/**
 * Are these the inputs of that graph? Gives the sizes of axes that have names.
 * @throws {FormatError} `E_USAGE`: an input is missing, has another shape or type, or a name has two sizes.
 */
export function checkFeeds(graph: Graph, feeds: Readonly<Record<string, HostTensor>>): ReadonlyMap<string, number> {
	const sizes = new Map<string, number>();
	for (const { name, value } of graph.inputs) {
		const { shape, dtype } = graph.values[value] ?? { shape: [], dtype: 'f32' };
		const feed = feeds[name];
		const expected = `${dtype} (${shape.join(', ')})`;
		if (feed === undefined) throw new FormatError('E_USAGE', `Input ${quote(name)} is not given; expected ${expected}.`, { at: name });
		const fits =
			(feed.dtype === 'i32') === (dtype === 'i32') &&
			feed.shape.length === shape.length &&
			feed.data.length === countOf(feed.shape) &&
			shape.every((d, i) => {
				const got = feed.shape[i] ?? -1;
				if (typeof d === 'number') return d === got;
				const known = sizes.get(d) ?? got;
				sizes.set(d, known);
				return known === got;
			});
		if (!fits) {
			const got = `${feed.dtype} (${feed.shape.join(', ')}), ${feed.data.length} elements`;
			throw new FormatError('E_USAGE', `Input ${quote(name)} is ${got}; expected ${expected}.`, { at: name });
		}
	}
	return sizes;
}
