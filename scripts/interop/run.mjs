/**
 * `npm run interop`: files that we write open in the loaders that people really use, with the same delta.
 * What is missing (Python, a package, a snapshot) is said in a line of its own and counted as skipped.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseOptions } from './options.mjs';
import { interopPage } from './page.mjs';

const LOADERS = ['containers', 'peft', 'diffusers', 'kohya', 'cloneofsimo'];

const options = parseOptions(process.argv.slice(2), process.env);
if (options.help !== undefined || options.error !== undefined) {
	console[options.error === undefined ? 'log' : 'error'](options.help ?? options.error);
	process.exit(options.error === undefined ? 0 : 2);
}
const wanted = options.loaders.length === 0 ? LOADERS : options.loaders;
const unknown = wanted.find((l) => !LOADERS.includes(l));
if (unknown !== undefined) {
	console.error(`--loader ${unknown} is none of ${LOADERS.join(', ')}`);
	process.exit(2);
}

const adapters = path.join(options.reference, 'adapters');
if (!existsSync(path.join(adapters, 'manifest.json'))) {
	console.log(`SKIPPED everything: ${path.relative('.', adapters)}/manifest.json is not there (--reference DIR).`);
	console.log('0 passed, 0 failed, 1 skipped');
	process.exit(0);
}

const totals = { passed: 0, failed: 0, skipped: 0 };
const results = [];
const skips = [];
const versions = new Map();

const work = options.keep ?? mkdtempSync(path.join(os.tmpdir(), 'lorakit-interop-'));
try {
	await run();
} finally {
	if (options.keep === undefined) rmSync(work, { recursive: true, force: true });
}
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed > 0 ? 1 : 0;

async function run() {
	const python = spawnSync(options.python, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], { encoding: 'utf8' });
	if (python.status !== 0) {
		for (const loader of wanted) skip(loader, `${options.python} does not run (--python PY)`);
		return;
	}
	versions.set('Python', python.stdout.trim());
	const { makeJobs } = await import('./jobs.mjs');
	mkdirSync(work, { recursive: true });
	const made = await makeJobs(adapters, work, options.only);
	console.log(`${made.jobs.length} conversions written, ${made.refused.length} refused with the loss named (not judged here)`);
	for (const { name, why } of made.failed) fail('converter', name, why);
	const jobs = path.join(work, 'jobs.json');
	writeFileSync(jobs, JSON.stringify(made.jobs));
	for (const loader of wanted) runLoader(loader, jobs, made.jobs);
	if (options.writeDocs) {
		const page = path.join(import.meta.dirname, '../../docs/interop.md');
		writeFileSync(page, interopPage({ results, versions, totals, skips, refused: made.refused, jobs: made.jobs }));
		console.log(`wrote ${path.relative('.', page)}`);
	}
}

function runLoader(loader, jobsFile, jobs) {
	const out = path.join(work, `${loader}.jsonl`);
	writeFileSync(out, '');
	const env = {
		...process.env,
		LORAKIT_KOHYA: options.kohya ?? '',
		LORAKIT_CLONEOFSIMO: options.cloneofsimo ?? '',
		PYTHONDONTWRITEBYTECODE: '1',
	};
	if (options.diffusers !== undefined) {
		const source = existsSync(path.join(options.diffusers, 'src/diffusers')) ? path.join(options.diffusers, 'src') : options.diffusers;
		env.PYTHONPATH = [source, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter);
	}
	const done = spawnSync(options.python, [path.join(import.meta.dirname, `check_${loader}.py`), jobsFile, out], {
		encoding: 'utf8',
		env,
		maxBuffer: 64 * 1024 * 1024,
		stdio: ['ignore', 'ignore', 'pipe'],
	});
	const byId = new Map(jobs.map((j) => [j.id, j]));
	let checks = 0;
	for (const line of readFileSync(out, 'utf8').split('\n').filter(Boolean)) {
		const result = JSON.parse(line);
		if (result.versions !== undefined) {
			for (const [name, version] of Object.entries(result.versions)) versions.set(name, version);
			continue;
		}
		checks++;
		settle(result, byId.get(result.id));
	}
	if (done.status !== 0) fail(loader, 'the check itself', done.stderr.trim().split('\n').slice(-3).join(' | ') || `exit ${done.status}`);
	else if (checks === 0 && options.only === undefined) fail(loader, 'the check itself', 'it checked nothing');
}

function settle(result, job) {
	if (result.status === 'skip') {
		skip(
			result.id === undefined ? result.loader : `${result.loader} ${result.id}`,
			`${result.why}${result.jobs === undefined ? '' : `; ${result.jobs} files not checked`}`,
		);
		return;
	}
	results.push({ ...result, job });
	if (result.status === 'note') {
		if (options.verbose) console.log(`note ${result.loader} ${result.id}: ${result.why}`);
		return;
	}
	const figures = `${result.loaded ?? 0} of ${result.expected ?? '?'} ${result.unit ?? 'modules'}, largest difference ${(result.diff ?? Number.NaN).toExponential(2)}`;
	if (result.status === 'pass') {
		totals.passed++;
		if (options.verbose) console.log(`pass ${result.loader} ${result.id}: ${figures}`);
	} else fail(result.loader, result.id, `${result.why}${result.loaded === undefined ? '' : ` (${figures})`}`);
}

function fail(loader, name, why) {
	totals.failed++;
	console.log(`FAIL ${loader} ${name}: ${why}`);
}

function skip(loader, why) {
	totals.skipped++;
	skips.push(`${loader}: ${why}`);
	console.log(`SKIPPED ${loader}: ${why}`);
}
