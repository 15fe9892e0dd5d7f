import fs from 'node:fs';
import path from 'node:path';
import { companionNames, isCompanionName, weightStem } from './companion-names.js';

/** Files that belong to an adapter's main file: paths, or specs that `openSource` takes. */
export interface Companions {
	/** cloneofsimo's `STEM.text_encoder.pt`. */
	readonly textEncoder: string | undefined;
	/** `STEM.ti.pt`, `STEM_emb*.safetensors`; sorted. */
	readonly embeddings: readonly string[];
	/** PEFT's `adapter_config.json`. */
	readonly config: string | undefined;
}

export const NO_COMPANIONS: Companions = { textEncoder: undefined, embeddings: [], config: undefined };

/** Lists the names in a folder; an empty list when it cannot be read. */
export type FolderLister = (folder: string) => readonly string[];

/**
 * A lister that reads each folder once: give it to `findCompanions` for the many files of one batch. It does not see
 * files that appear later.
 */
export function rememberingLister(): FolderLister {
	const seen = new Map<string, readonly string[]>();
	return (folder) => {
		const known = seen.get(folder);
		if (known !== undefined) return known;
		const names = listNames(folder);
		seen.set(folder, names);
		return names;
	};
}

/**
 * The companions of a file by the rules of `companion-names.ts`. Only regular files (or links to them) count: a named
 * pipe called `foo.ti.pt` is passed over. Never throws: a folder that cannot be listed has no companions.
 */
export async function findCompanions(file: string, list: FolderLister = listNames): Promise<Companions> {
	const main = path.basename(file);
	if (weightStem(main) === undefined && !isCompanionName(main)) {
		// A file with another extension can still be PEFT's.
		const config = inFolder(file, 'adapter_config.json');
		return isFile(config) ? { ...NO_COMPANIONS, config } : NO_COMPANIONS;
	}
	const names = companionNames(main, candidates(main, list(path.dirname(file))));
	const real = (name: string | undefined) => {
		const found = name === undefined ? undefined : inFolder(file, name);
		return found !== undefined && isFile(found) ? found : undefined;
	};
	return {
		textEncoder: real(names.textEncoder),
		embeddings: names.embeddings.map((name) => inFolder(file, name)).filter(isFile),
		config: real(names.config),
	};
}

/** A folder's names sorted out once, however many of its files are asked for. */
interface FolderNames {
	readonly all: ReadonlySet<string>;
	/** Those that can be embeddings of some file. */
	readonly embeddings: readonly string[];
}

const FOLDERS = new WeakMap<readonly string[], FolderNames>();

/** The few names of a folder that can be companions of `main`: a folder of a thousand adapters is not looked through for each. */
function candidates(main: string, names: readonly string[]): string[] {
	let folder = FOLDERS.get(names);
	if (folder === undefined) {
		folder = { all: new Set(names), embeddings: names.filter((name) => /_emb.*\.safetensors$/is.test(name)) };
		FOLDERS.set(names, folder);
	}
	const stem = weightStem(main) ?? main;
	const { all, embeddings } = folder;
	return [...['adapter_config.json', `${stem}.ti.pt`, `${stem}.text_encoder.pt`].filter((name) => all.has(name)), ...embeddings];
}

/** `name` beside `file`, spelled like `file` (`./a/x.pt` gives `./a/name`). */
function inFolder(file: string, name: string): string {
	return file.slice(0, file.length - path.basename(file).length) + name;
}

function listNames(folder: string): readonly string[] {
	try {
		return fs.readdirSync(folder);
	} catch {
		return [];
	}
}

function isFile(file: string): boolean {
	try {
		return fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true;
	} catch {
		return false;
	}
}
