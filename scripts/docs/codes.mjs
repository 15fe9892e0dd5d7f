// Writes docs/codes/<CODE>.md and docs/codes/README.md from packages/format's explanations.
// `node scripts/docs/codes.mjs` writes; `--check` only compares and exits 1 when a page is not up to date.
// Needs a build (packages/format/dist). The test packages/format/test/explanations.test.ts compares too.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const folder = join(root, 'docs/codes');
const { EXPLANATIONS } = await import(join(root, 'packages/format/dist/explanations-table.js'));
const { codePages } = await import('./code-pages.mjs');

const pages = codePages(EXPLANATIONS);
const stale = [];
for (const [name, text] of pages) {
	const path = join(folder, name);
	let before;
	try {
		before = readFileSync(path, 'utf8');
	} catch {
		before = undefined;
	}
	if (before !== text) stale.push(name);
	if (before !== text && !process.argv.includes('--check')) writeFileSync(path, text);
}
for (const name of readdirSync(folder)) {
	if (pages.has(name)) continue;
	stale.push(name);
	if (!process.argv.includes('--check')) rmSync(join(folder, name));
}
console.log(`${pages.size} pages, ${stale.length} ${process.argv.includes('--check') ? 'not up to date' : 'written'}`);
if (process.argv.includes('--check') && stale.length > 0) process.exitCode = 1;
