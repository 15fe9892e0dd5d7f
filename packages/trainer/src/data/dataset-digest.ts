import { createSha256, type HasherFactory } from '@lorakit/format';
import type { DatasetItem } from './dataset.js';

/** What the digest covers of an item. */
export type DigestedItem = Pick<DatasetItem, 'name' | 'captions' | 'sha256'> & { readonly mask?: Pick<DatasetItem, 'sha256'> | undefined };

/**
 * The digest of a data set: SHA-256 over its names, the SHA-256 of its pictures' and masks' bytes, and its captions, in the order
 * of the items. Two sets with the same digest hold the same pictures and texts wherever they lie. Every part is a JSON string in
 * one array per line, so that no two different sets spell the same bytes.
 */
export function datasetDigest(items: Iterable<DigestedItem>, createHasher: HasherFactory = createSha256): string {
	const hash = createHasher();
	const utf8 = new TextEncoder();
	hash.update(utf8.encode('lorakit.dataset/1\n'));
	for (const { name, sha256, mask, captions } of items) {
		hash.update(utf8.encode(`${JSON.stringify([name, sha256, mask?.sha256 ?? null, captions])}\n`));
	}
	return hash.digestHex();
}
