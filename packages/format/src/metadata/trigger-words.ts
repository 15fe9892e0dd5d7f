import type { Embedding } from '../adapter.js';
import { type KohyaSs, readKohyaSs } from './kohya-ss.js';
import { ssText } from './ss-values.js';

/** A word that is meant to call the adapter, and who says so. */
export interface TriggerWord {
	readonly word: string;
	readonly source: 'modelspec.trigger_phrase' | 'embedding' | 'ss_dataset_dirs' | 'card';
}

/** A caption tag and how often it was seen in training. */
export interface TagCount {
	readonly tag: string;
	readonly count: number;
}

/** Longest word or tag that is kept: longer ones are captions. */
const MAX_WORD = 200;

/**
 * Words that call the adapter: what modelspec says, the tokens of embeddings, and the words in the names of
 * kohya's data set folders (`10_sks dog` -> "sks dog"). In that order, without doubles.
 */
export function triggerWords(metadata: ReadonlyMap<string, string>, embeddings: readonly Embedding[], ss?: KohyaSs): TriggerWord[] {
	const words = new Map<string, TriggerWord['source']>();
	const add = (word: string | undefined, source: TriggerWord['source']): void => {
		const trimmed = word?.trim();
		if (trimmed !== undefined && trimmed !== '' && trimmed.length <= MAX_WORD && !words.has(trimmed)) words.set(trimmed, source);
	};
	for (const phrase of (ssText(metadata.get('modelspec.trigger_phrase')) ?? '').split(',')) add(phrase, 'modelspec.trigger_phrase');
	for (const embedding of embeddings) add(embedding.token, 'embedding');
	for (const folder of (ss ?? readKohyaSs(metadata)).tagFrequency?.keys() ?? []) add(folderWord(folder), 'ss_dataset_dirs');
	return [...words].map(([word, source]) => ({ word, source }));
}

/** The most frequent tags over all data set folders, most frequent first, ties in the order of the file. */
export function topTags(ss: KohyaSs, limit = 20): TagCount[] {
	const totals = new Map<string, number>();
	for (const tags of ss.tagFrequency?.values() ?? []) {
		for (const [tag, count] of tags) {
			const name = tag.trim();
			if (name !== '' && name.length <= MAX_WORD) totals.set(name, (totals.get(name) ?? 0) + count);
		}
	}
	return [...totals]
		.map(([tag, count]) => ({ tag, count }))
		.sort((a, b) => b.count - a.count)
		.slice(0, limit);
}

/** `10_sks dog` -> `sks dog`; undefined where the folder is not in kohya's `REPEATS_NAME` form. */
function folderWord(folder: string): string | undefined {
	return /^\d+_(.+)$/.exec(folder)?.[1];
}
