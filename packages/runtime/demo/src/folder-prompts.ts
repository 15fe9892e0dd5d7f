import type { NamedFile } from './messages.js';

const MOST = 6;
/** The file is about 9 kB in tiny-shapes. */
const MAX_BYTES = 1024 * 1024;

/**
 * Prompts to begin with, from `judged.json` of the base's folder, where tiny-shapes has those that a classifier judged it
 * by; those it drew wrongly are left out. None where there is no such file, or it is something else.
 */
export async function folderPrompts(files: readonly NamedFile[]): Promise<readonly string[]> {
	const file = files.find(({ path }) => /^(?:[^/]+\/)?judged\.json$/.test(path));
	if (file === undefined || file.blob.size > MAX_BYTES) return [];
	try {
		const { prompts, wrong } = JSON.parse(await file.blob.text()) as { readonly prompts?: unknown; readonly wrong?: unknown };
		const failed = new Set(listOfTexts(wrong));
		const right = listOfTexts(prompts).filter((prompt) => !failed.has(prompt));
		// From all over the list: the first ones are alike.
		return right.filter((_, i) => i % Math.ceil(right.length / MOST) === 0);
	} catch {
		return [];
	}
}

function listOfTexts(value: unknown): readonly string[] {
	return Array.isArray(value) ? value.filter((v) => typeof v === 'string' && v.length <= 200) : [];
}
