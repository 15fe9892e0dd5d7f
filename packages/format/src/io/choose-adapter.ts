import { FormatError } from '../errors.js';
import { isMainName, weightStem } from './companion-names.js';
import { quotePath } from './io-error.js';

/** Names by which PEFT (`save_pretrained`) and diffusers (`save_lora_weights`, `save_attn_procs`) know their own files; best first. */
const KNOWN_STEMS: readonly string[] = ['adapter_model', 'pytorch_lora_weights'];

/** Which file of a folder or repository is the adapter, and what else was there. */
export interface Choice {
	/** Path relative to the folder, `/` between parts. */
	readonly main: string;
	/** Other weight files in the same folder that were not taken, companions not counted. */
	readonly others: readonly string[];
}

/**
 * Choose the one adapter among the files of a folder: a file with a well-known name at the top; else the only
 * weight file at the top; else a well-known name in one sub-folder (`unet/adapter_model.safetensors`); else the only
 * weight file anywhere. Of one name in two containers, `.safetensors` is taken.
 *
 * @param files paths relative to the folder, `/` between parts
 * @param place the folder or repository, for messages
 * @returns undefined when there is no weight file at all
 * @throws {FormatError} `E_AMBIGUOUS` listing the candidates.
 */
export function chooseAdapter(files: readonly string[], place: string): Choice | undefined {
	const byFolder = new Map<string, string[]>();
	for (const file of files) {
		const folder = folderOf(file);
		const known = byFolder.get(folder);
		if (known === undefined) byFolder.set(folder, [file]);
		else known.push(file);
	}
	const mains = [...byFolder].flatMap(([folder, paths]) => {
		const names = new Set(paths.map((path) => nameOf(path)));
		return [...names].filter((name) => isMainName(name, names)).map((name) => ({ folder, name }));
	});
	const found = mains.map(({ folder, name }) => (folder === '' ? name : `${folder}/${name}`)).sort();
	const top = found.filter((path) => folderOf(path) === '');
	const isKnown = (path: string) => KNOWN_STEMS.includes(weightStem(nameOf(path)) ?? '');
	for (const candidates of [top.filter(isKnown), top, found.filter(isKnown), found]) {
		const distinct = oneContainerEach(candidates);
		if (distinct.length > 1) throw ambiguous(place, distinct);
		const [main] = distinct;
		if (main === undefined) continue;
		const stem = weightStem(main);
		return { main, others: found.filter((path) => folderOf(path) === folderOf(main) && weightStem(path) !== stem) };
	}
	return undefined;
}

/** The folder part of a relative path, '' at the top. */
export function folderOf(path: string): string {
	return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

/** The last part of a relative path. */
export function nameOf(path: string): string {
	return path.slice(path.lastIndexOf('/') + 1);
}

function oneContainerEach(paths: readonly string[]): string[] {
	const best = new Map<string, string>();
	for (const path of paths) {
		const stem = weightStem(path) ?? path;
		if (!best.has(stem) || path.endsWith('.safetensors')) best.set(stem, path);
	}
	return [...best.values()];
}

function ambiguous(place: string, candidates: readonly string[]): FormatError {
	const shown = candidates.slice(0, 8).map(quotePath).join(', ');
	const more = candidates.length > 8 ? ` and ${candidates.length - 8} more` : '';
	return new FormatError('E_AMBIGUOUS', `${quotePath(place)} holds ${candidates.length} adapters: ${shown}${more}; name one of them.`, {
		at: candidates[0],
	});
}
