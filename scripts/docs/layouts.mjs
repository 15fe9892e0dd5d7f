/**
 * docs/layouts.md: the table of layouts, made from the registry. `--check` only says whether the page is current.
 * Needs `npm run build`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { LAYOUTS, targetIds } from '../../packages/format/dist/index.js';

const PAGE = path.resolve(import.meta.dirname, '../../docs/layouts.md');
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

const rows = LAYOUTS.map(
	(l) =>
		`| \`${l.id}\` | ${cell(l.title)} | ${l.aliases.map((a) => `\`${a}\``).join(', ') || '–'} | ${l.encode === undefined ? 'read only' : 'read and write'} | ${cell(l.readers)} |`,
);
const text = `# Layouts

<!-- Made by scripts/docs/layouts.mjs from the registry (packages/format/src/layouts/index.ts); do not edit. -->

A *layout* is a naming scheme of keys inside a file; a *container* is how the bytes are kept (safetensors, torch zip, legacy torch). Any layout can be in any container.

| id | what | aliases | here | readers |
|---|---|---|---|---|
${rows.join('\n')}

\`--to\` takes ${targetIds()
	.map((id) => `\`${id}\``)
	.join(
		', ',
	)}. \`cloneofsimo\` picks the list or the safetensors form by OUT's extension; \`keep\` changes the container alone and takes any tensor file.

What goes from where to where without loss: [matrix.md](matrix.md). How the source of each file's names is known: the doc comment of each module in \`packages/format/src/layouts/\`.
`;

if (process.argv.includes('--check')) {
	if (fs.readFileSync(PAGE, 'utf8') !== text) {
		console.error('docs/layouts.md is not current: run npm run docs');
		process.exit(1);
	}
} else fs.writeFileSync(PAGE, text);
