#!/usr/bin/env node
// corpus.mjs [DIR] [--only REGEX] [--no-huge]: judge the built command line by a corpus of hostile and odd files (default
// ../shared/adversarial): its run_corpus.py, the big and special files of its make_huge.py. Python 3 is needed.
// Closes with "N passed, N failed"; exits 1 when anything failed.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2);
const onlyAt = args.indexOf('--only');
const only = onlyAt < 0 ? undefined : args.splice(onlyAt, 2)[1];
const huge = !args.includes('--no-huge');
const dir = path.resolve(args.find((a) => !a.startsWith('--')) ?? path.join(root, '../shared/adversarial'));
const lora = path.join(root, 'packages/cli/bin/lora.js');
const node = process.execPath;
const commands = {
	inspect: `${node} ${lora} inspect {in}`,
	convert: `${node} ${lora} convert {in} {out} --to keep`,
	check: `${node} ${lora} validate {in}`,
	merge: `${node} ${lora} fuse {base} {in} --out {out}`,
};

for (const [what, file] of [
	['The corpus', path.join(dir, 'run_corpus.py')],
	['The built command line (npm run build)', path.join(root, 'packages/cli/dist/main.cjs')],
]) {
	if (!fs.existsSync(file)) {
		console.log(`SKIPPED: ${what} is not here: ${file}`);
		process.exit(what === 'The corpus' ? 0 : 1);
	}
}
if (spawnSync('python3', ['--version']).status !== 0) {
	console.log('SKIPPED: python3 is not here.');
	process.exit(0);
}

let passed = 0;
let failed = 0;
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-corpus-'));
process.on('exit', () => {
	spawnSync('chmod', ['-R', 'u+rwx', work]);
	fs.rmSync(work, { recursive: true, force: true });
});

/** One run of run_corpus.py over a folder with a manifest, or over the lines that make_huge.py printed. */
function corpus(what, target, flags, pattern = only) {
	const filter = pattern === undefined ? [] : ['--only', pattern];
	// The corpus's own folder may be read-only: no __pycache__.
	const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1', CORPUS_BASE: path.join(dir, 'base') };
	const run = spawnSync('python3', [path.join(dir, 'run_corpus.py'), target, ...flags, ...filter], {
		encoding: 'utf8',
		env,
		maxBuffer: 1 << 28,
	});
	console.log(`== ${what}`);
	process.stdout.write(run.stdout);
	process.stderr.write(run.stderr);
	const match = /cases (\d+), failed (\d+)/.exec(run.stdout);
	if (match === null) {
		failed++;
		console.log(`${what}: the runner gave no summary`);
		return;
	}
	failed += Number(match[2]);
	passed += Number(match[1]) - Number(match[2]);
}

corpus('corpus: inspect and convert', dir, ['--inspect', commands.inspect, '--convert', commands.convert]);
// Apart from the others: the runner would take the output of a convert for one that they left behind.
for (const [op, what] of [
	['check', 'validate'],
	['merge', 'fuse'],
]) {
	const judged = JSON.parse(fs.readFileSync(path.join(dir, 'manifest.json'), 'utf8'))
		.cases.filter((c) => c.extra?.op === op && (only === undefined || new RegExp(only).test(c.id)))
		.map((c) => c.id);
	if (judged.length > 0) corpus(`corpus: ${what}`, dir, [`--${op}`, commands[op]], `^(${judged.join('|')})$`);
}

if (huge) {
	const ids = hugeIds();
	console.log('== huge');
	for (const id of ids) {
		if (only !== undefined && !new RegExp(only).test(id)) continue;
		// One at a time: some are a gigabyte.
		const made = spawnSync('python3', [path.join(dir, 'make_huge.py'), work, id], {
			encoding: 'utf8',
			env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
		});
		const lines = path.join(work, 'lines.jsonl');
		fs.writeFileSync(lines, made.stdout);
		corpus(id, lines, ['--inspect', commands.inspect]);
		for (const name of fs.readdirSync(work)) fs.rmSync(path.join(work, name));
	}
	special();
}

/** The ids are in the script alone; asking it for none makes them all, so read them. */
function hugeIds() {
	const text = fs.readFileSync(path.join(dir, 'make_huge.py'), 'utf8');
	return [...new Set([...text.matchAll(/"(hg-[a-zA-Z0-9-]+)"/g)].map((m) => m[1]))];
}

/** FIFO, socket, folder, links, devices, an unreadable file: refused in a sentence, without hanging; a link to a file is taken. */
function special() {
	console.log('== special files');
	const folder = path.join(work, 'special');
	const made = spawnSync('python3', [path.join(dir, 'make_huge.py'), 'special', folder], {
		encoding: 'utf8',
		env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
	});
	const cases = made.stdout
		.split('\n')
		.filter((l) => l.startsWith('{'))
		.map((l) => JSON.parse(l));
	const isRoot = process.getuid?.() === 0;
	for (const { id, file } of cases) {
		if (only !== undefined && !new RegExp(only).test(id)) continue;
		const accept = id === 'sp-symlink-ok' || (id === 'sp-unreadable' && isRoot);
		for (const [kind, argv] of [
			['inspect', ['inspect', file]],
			['convert', ['convert', file, path.join(work, 'out.safetensors'), '--to', 'keep', '--force']],
		]) {
			const run = spawnSync(node, [lora, ...argv], { encoding: 'utf8', timeout: 10_000 });
			const problems = [];
			if (run.signal !== null) problems.push(`died ${run.signal}`);
			else if (accept && run.status !== 0) problems.push(`refused: ${run.stderr.trim()}`);
			else if (!accept && run.status !== 1) problems.push(`exit ${run.status}, want 1`);
			if (!accept && !/^E_(NOT_A_FILE|IO)\b/m.test(run.stderr)) problems.push(`no code: ${run.stderr.trim()}`);
			if (/\n\s+at |node:internal/.test(run.stderr)) problems.push('stack trace');
			if (problems.length > 0) {
				failed++;
				console.log(`${id} ${kind} | ${problems.join('; ')}`);
			} else passed++;
		}
	}
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
