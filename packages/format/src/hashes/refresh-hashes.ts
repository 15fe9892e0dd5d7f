import { hashEntries } from './file-hashes.js';

/** A header with its hash entries made true. */
export interface RefreshedHashes {
	readonly metadata: ReadonlyMap<string, string>;
	/** Entries whose value was another, in the order of the header. */
	readonly changed: readonly { readonly key: string; readonly before: string; readonly after: string }[];
}

/**
 * Rewrite the entries of a header that are hashes of the file (`sshs_model_hash`, `sshs_legacy_hash`,
 * `modelspec.hash_sha256`) to the values of the file as it will be written. Entries that are not there are not
 * added; everything else and the order are kept. Hashes of other files (`ss_sd_model_hash`, ...) are not touched.
 */
export function refreshHashes(
	metadata: ReadonlyMap<string, string>,
	hashes: { readonly modelHash: string; readonly legacyHash: string },
): RefreshedHashes {
	const values = new Map(hashEntries(hashes));
	const out = new Map<string, string>();
	const changed: { key: string; before: string; after: string }[] = [];
	for (const [key, before] of metadata) {
		const after = values.get(key) ?? before;
		out.set(key, after);
		if (after !== before) changed.push({ key, before, after });
	}
	return { metadata: out, changed };
}
