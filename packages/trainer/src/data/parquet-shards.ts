import { FormatError, quote } from '@lorakit/format';

/** Which part of a data set is wanted. */
export interface SplitOptions {
	/** Default `train`. */
	readonly split?: string | undefined;
	/** The folder of one of several configurations of a data set; default: the only one, or `default`. */
	readonly config?: string | undefined;
}

/** Names of the splits, each with the words that `datasets` takes for it in names of files and folders. */
const SPLITS: ReadonlyMap<string, readonly string[]> = new Map([
	['train', ['train', 'training']],
	['validation', ['validation', 'valid', 'val', 'dev']],
	['test', ['test', 'testing', 'eval', 'evaluation']],
]);

/** Where the Hub puts what it converts: `CONFIG/SPLIT/0000.parquet`, `partial-SPLIT` where it stopped. */
const CONVERTED = /^[^/]+\/[^/]+\/\d{4}\.parquet$/;
const SHARD = /^(.*)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet$/i;

/**
 * The Parquet files of one split among the files of a data set, in the order of their rows: `data/train-00000-of-00002.parquet`,
 * `CONFIG/train/0000.parquet`, names with `train` in them; or all of them, where no name has the word of a split.
 * Source: huggingface/datasets src/datasets/data_files.py `KEYWORDS_IN_FILENAME_BASE_PATTERNS`, `SPLIT_KEYWORDS`.
 *
 * @param place what to call the set in messages
 * @returns undefined where there are no Parquet files at all
 * @throws {FormatError} `E_USAGE` for a split or configuration that is not there, `E_AMBIGUOUS` for several configurations,
 *   `E_SHARD_MISSING` where some of `-of-N` are missing
 */
export function chooseShards(paths: readonly string[], place: string, options: SplitOptions = {}): readonly string[] | undefined {
	const all = paths.filter((path) => /\.parquet$/i.test(path) && !path.split('/').some((part) => part.startsWith('.')));
	if (all.length === 0) return undefined;
	const own = ofConfig(all, place, options.config);
	const split = options.split ?? 'train';
	const chosen = own.filter((path) => splitOf(path, split) === split);
	if (chosen.length === 0) {
		const others = [...new Set(own.map((path) => splitOf(path, split)).filter((name) => name !== undefined))];
		if (others.length > 0 || split !== 'train') {
			const list = others.length === 0 ? 'no split is named by its files' : `its splits are ${others.map(quote).join(', ')}`;
			throw new FormatError('E_USAGE', `${place} has no split ${quote(split)}; ${list}.`);
		}
		chosen.push(...own);
	}
	checkShards(chosen, place);
	return chosen.sort();
}

function ofConfig(paths: readonly string[], place: string, config: string | undefined): readonly string[] {
	const converted = paths.every((path) => CONVERTED.test(path));
	const names = [...new Set(paths.map((path) => (converted ? (path.split('/')[0] ?? '') : '')))];
	const wanted = config ?? (converted && names.length > 1 ? (names.includes('default') ? 'default' : undefined) : names[0]);
	if (wanted === undefined) {
		throw new FormatError(
			'E_AMBIGUOUS',
			`${place} has ${names.length} configurations: ${names.slice(0, 20).map(quote).join(', ')}; name one with config.`,
		);
	}
	const own = paths.filter((path) => wanted === '' || path.split('/').slice(0, -1).includes(wanted));
	if (own.length > 0) return own;
	throw new FormatError(
		'E_USAGE',
		`${place} has no folder ${quote(wanted)} with Parquet files; its files are ${paths.slice(0, 8).map(quote).join(', ')}.`,
	);
}

/** The split that a path names, its file before its folders, `wanted` among the words that are looked for. */
function splitOf(path: string, wanted: string): string | undefined {
	const splits = SPLITS.has(wanted) ? SPLITS : new Map([...SPLITS, [wanted, [wanted]]]);
	for (const part of path.split('/').reverse()) {
		const words = new Set([part, part.replace(/\.parquet$/i, ''), ...part.split(/[-._ ]|\d+/)]);
		for (const [name, known] of splits) if (known.some((word) => words.has(word))) return name;
		// A name of one's own may hold separators: `my-split-00000-of-00001.parquet`.
		if (part.startsWith(`${wanted}-`)) return wanted;
	}
	return undefined;
}

/** All of `-00000-of-00003`, `-00001-of-00003`, `-00002-of-00003`, once each. */
function checkShards(paths: readonly string[], place: string): void {
	const sets = new Map<string, { readonly count: number; readonly seen: Set<number> }>();
	for (const path of paths) {
		const [, stem, index, count] = SHARD.exec(path) ?? [];
		if (stem === undefined) continue;
		const key = `${stem}-of-${count}`;
		const set = sets.get(key) ?? { count: Number(count), seen: new Set<number>() };
		set.seen.add(Number(index));
		sets.set(key, set);
	}
	for (const [key, { count, seen }] of sets) {
		if (seen.size === count) continue;
		let first = 0;
		while (seen.has(first)) first++;
		throw new FormatError(
			'E_SHARD_MISSING',
			`${place} has ${seen.size} of the ${count} files ${quote(`${key.replace(/-of-\d+$/, '')}-*-of-${String(count).padStart(5, '0')}.parquet`)}; number ${first} is not there: fetch it.`,
		);
	}
}
