import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, WARNING_CODES } from '../src/codes.js';
import { explain, isCode } from '../src/explanations.js';
import { EXPLANATIONS } from '../src/explanations-table.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../docs/codes');

describe('explanations', () => {
	it.each([...ERROR_CODES, ...WARNING_CODES])('%s is explained', async (code) => {
		const { title, meaning, whatToDo, example } = await explain(code);
		expect(title.length).toBeGreaterThan(4);
		expect(meaning).toMatch(/\.$/);
		expect(whatToDo).toMatch(/[.)…]$/);
		expect(example.length).toBeGreaterThan(10);
	});

	it('there is none for a code that does not exist', () => {
		expect(Object.keys(EXPLANATIONS).sort()).toEqual([...ERROR_CODES, ...WARNING_CODES].sort());
		expect(isCode('E_HTML')).toBe(true);
		expect(isCode('__proto__')).toBe(false);
	});

	it('the pages in docs/codes are up to date (node scripts/docs/codes.mjs)', async () => {
		const script = join(folder, '../../scripts/docs/code-pages.mjs');
		const { codePages }: { codePages(table: typeof EXPLANATIONS): Map<string, string> } = await import(script);
		const pages = codePages(EXPLANATIONS);
		expect(readdirSync(folder).sort()).toEqual([...pages.keys()].sort());
		for (const [name, text] of pages) expect(readFileSync(join(folder, name), 'utf8')).toBe(text);
	});
});
