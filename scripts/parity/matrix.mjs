#!/usr/bin/env node
/**
 * docs/matrix.md: every kind of adapter we have, to every layout we write and back, as run, never as claimed.
 * `node scripts/parity/matrix.mjs` writes it; `--check` says whether it is up to date. Needs only what is committed.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from './checks.mjs';
import { openInput } from './inputs.mjs';
import { decodeAdapter } from './library.mjs';
import { madeAdapters } from './made-adapters.mjs';
import { roundTrip, TARGETS } from './round-trip.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const MATRIX_FILE = path.join(ROOT, 'docs/matrix.md');

const MARKS = new Map([
	['exact', '●'],
	['form', '◐'],
	['rounded', '◔'],
	['respelled', '◑'],
	['refused', '–'],
	['failed', '✗'],
]);

/** The committed real files: every manifest under fixtures/adapters names its own. */
async function committed() {
	const rows = [];
	const root = path.join(ROOT, 'fixtures/adapters');
	if (!existsSync(root)) return rows;
	const manifests = readdirSync(root, { recursive: true })
		.map(String)
		.filter((name) => path.basename(name) === 'manifest.json')
		.sort();
	for (const name of manifests) {
		const folder = path.join(root, path.dirname(name));
		const parsed = JSON.parse(readFileSync(path.join(root, name), 'utf8'));
		for (const file of listed(parsed)) {
			const full = [folder, root].map((base) => path.join(base, file)).find(existsSync);
			if (full === undefined || !/\.(safetensors|pt|bin|ckpt)$/.test(file) || /\.(text_encoder|ti)\.pt$/.test(file)) continue;
			rows.push({ title: `\`${path.relative(root, full)}\``, input: await openInput(full) });
		}
	}
	return rows;
}

/** Files that a fixtures manifest names, whatever the list is called. */
function listed(manifest) {
	const list = Array.isArray(manifest) ? manifest : (Object.values(manifest).find(Array.isArray) ?? []);
	return list.map((entry) => (typeof entry === 'string' ? entry : entry.file)).filter((file) => typeof file === 'string');
}

/** @returns {Promise<{ text: string, failures: string[] }>} */
export async function makeMatrix() {
	const rows = [];
	for (const made of await madeAdapters()) rows.push({ title: made.title, input: made.input });
	rows.push(...(await committed()));
	const reasons = new Map();
	const failures = [];
	const lines = [];
	for (const row of rows) {
		let source;
		try {
			source = decodeAdapter(row.input);
		} catch (error) {
			failures.push(`${row.title}: ${describe(error)}`);
			lines.push([`?`, row.title, ...TARGETS.map(() => MARKS.get('failed'))]);
			continue;
		}
		const cells = [];
		for (const target of TARGETS) {
			const result = await roundTrip(row.input, { from: source.layout.id, to: target.id, container: target.container });
			if (result.outcome === 'failed') failures.push(`${row.title} to ${target.id}: ${result.why}`);
			cells.push(`${MARKS.get(result.outcome)}${result.outcome === 'refused' ? ` ${kindOf(reasons, target.id, result)}` : ''}`);
		}
		lines.push([source.layout.id, row.title, ...cells]);
	}
	return { text: render(lines, reasons), failures };
}

/** Kinds of refusal, in the order of the page; the first that fits a message is it. */
const KINDS = [
	[
		'alpha',
		'the layout has no slot for alpha and the scaling is not 1: `--alpha fold` multiplies it into the factors',
		(code) => code === 'E_ALPHA_NO_SLOT',
	],
	[
		'header',
		'what has to be remembered needs header entries, and a torch file has none: write `.safetensors`',
		(_, why) => /torch file has no/.test(why),
	],
	[
		'family',
		'no reader of the layout loads this family, or this factor beside it',
		(code, why) => code === 'E_UNSUPPORTED_ADAPTER' && !/\(family lora\)/.test(why),
	],
	['names', 'the layout has no names for these modules, holds one component a file, or only whole target sets', () => true],
];

/** @returns {string} the kind's word */
function kindOf(reasons, target, { code, why }) {
	const kind = KINDS.find(([, , fits]) => fits(code, why))?.[0] ?? 'names';
	if (!reasons.has(target)) reasons.set(target, new Map());
	// The first message of a kind stands for the others.
	const text = `\`${code}\` ${why
		.replace(/ Pass --allow-loss.*$/, '')
		.replace(/^(Converting to [\w-]+ would lose|[\w-]+ cannot hold) "[^"]*"(?: \(and \d+ more\))?: /, '')
		.replaceAll('|', '\\|')}`;
	if (!reasons.get(target).has(kind)) reasons.get(target).set(kind, text);
	return kind;
}

function render(lines, reasons) {
	const head = ['from', 'adapter', ...TARGETS.map((t) => t.id)];
	const table = [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`);
	const kinds = KINDS.map(([word, text]) => `- – ${word}: ${text}`);
	const examples = [];
	for (const { id } of TARGETS) for (const [kind, text] of reasons.get(id) ?? []) examples.push(`| ${id} | ${kind} | ${text} |`);
	return `# What converts to what

Made by \`node scripts/parity/matrix.mjs\`; a test keeps it true. Each cell is one run: the adapter in the row is written in
the column's layout, read again, compared with what it was (modules, strengths, the bits of every factor, embeddings),
written back in its own layout, and compared with the file it came from (names, dtypes, shapes, bits, header entries, side files).

- ● exact, both ways
- ◐ exact, both ways; what the column's layout cannot say travels in header entries of ours (\`lorakit.*\`), which other readers ignore
- ◔ exact on the way back; in the column's layout a strength is rounded to float32, because alpha can be no other number there
- ◑ the factors exact, but a torch list has no header: the spelling of the names, or the order of a set in the header, is not kept, and a warning says so
- – refused, with the reason; \`--allow-loss\` goes on without
${kinds.join('\n')}

Rows named by a file are files of the real savers in \`fixtures/adapters\`; the others are made by the script. cloneofsimo's lists are
positional and hold whole target sets only, so single modules are refused there whatever their family.

${table.join('\n')}

## What a refusal says

The first of each kind, as the library worded it.

| to | kind | message |
| --- | --- | --- |
${examples.join('\n')}
`;
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === path.resolve(process.argv[1])) {
	const { text, failures } = await makeMatrix();
	for (const failure of failures) console.log(`FAIL ${failure}`);
	if (process.argv.includes('--check')) {
		const old = existsSync(MATRIX_FILE) ? readFileSync(MATRIX_FILE, 'utf8') : '';
		console.log(old === text ? 'docs/matrix.md is up to date' : 'docs/matrix.md is not up to date: run node scripts/parity/matrix.mjs');
		process.exitCode = old === text && failures.length === 0 ? 0 : 1;
	} else {
		writeFileSync(MATRIX_FILE, text);
		console.log(`${MATRIX_FILE} written`);
		process.exitCode = failures.length === 0 ? 0 : 1;
	}
}
