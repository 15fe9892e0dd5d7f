#!/usr/bin/env node
/**
 * Train, write the file, draw with it: the same picture from `lora generate` and from diffusers / PEFT, at every scale.
 *
 *   node scripts/shapes/same-picture.mjs [--only NAME,...] [--steps 30] [--threads 2] [--keep FOLDER] [--json FILE]
 *
 * Every objective of `lora train` runs on tiny-shapes through the command line, in the layouts and types below. Checked are, for each:
 *   - the largest difference of ours and diffusers' pictures in grey levels, at scales 0, 0.5 and 1 (at most 1);
 *   - scale 0 of ours is the picture without the adapter, to the bit, and the adapter does change the picture;
 *   - PEFT holds every trained factor with the bits of the run's training state (rounded once for F16), its scaling, and nothing else;
 *     diffusers, PEFT and transformers warn of nothing while loading;
 *   - our own reader gives the same factors, scaling and token back, to the bit.
 * Needs the packages built, and Python with torch, diffusers, transformers and peft: PYTHON and LORAKIT_DIFFUSERS say which.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { decode } from 'fast-png';
import { openInput } from '../parity/inputs.mjs';
import { decodeAdapter } from '../parity/library.mjs';
import { printPictures } from './print-pictures.mjs';
import { rawTensors, sameHalves } from './raw-tensors.mjs';

const ROOT = path.join(import.meta.dirname, '../..');
const LORA = path.join(ROOT, 'packages/cli/bin/lora.js');
const BASE = path.join(ROOT, 'fixtures/runtime/tiny-shapes');
const { values: options } = parseArgs({
	options: {
		only: { type: 'string' },
		steps: { type: 'string', default: '30' },
		threads: { type: 'string', default: '2' },
		shapes: { type: 'string', default: path.join(ROOT, '../shared/reference/training/shapes') },
		keep: { type: 'string' },
		json: { type: 'string' },
	},
});

/** Largest difference of two pictures in grey levels: what `lora generate` promises against diffusers. */
const MOST_LEVELS = 1;
/** An adapter that moves no level this far has shown nothing. */
const LEAST_CHANGE = 16;
const SCALES = [0, 0.5, 1];
const SEEDS = [7, 8];
const DRAW = { steps: 20, guidance: 5, size: 64 };
const TOKEN = '<hex>';
const INITIALIZER = 'square';
const STRIPED = 'a striped red circle on a white background';
const CRESCENT = 'a zqx crescent';
const HEXAGON = `a red ${TOKEN} on a white background`;

const pythonPath = process.env.LORAKIT_DIFFUSERS ?? (existsSync('/opt/snap/diffusers/src') ? '/opt/snap/diffusers/src' : undefined);
const env = {
	...process.env,
	...(pythonPath === undefined ? {} : { PYTHONPATH: [pythonPath, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter) }),
	OMP_NUM_THREADS: '1',
	PYTHONDONTWRITEBYTECODE: '1',
	HF_HUB_OFFLINE: '1',
};
const PYTHON = [process.env.PYTHON, '/opt/lk-venv/bin/python', 'python3'].find(
	(p) => p !== undefined && spawnSync(p, ['-c', 'import torch, safetensors.torch, transformers, peft, diffusers'], { env }).status === 0,
);
for (const needed of [LORA, path.join(options.shapes, 'striped/metadata.jsonl')]) {
	if (!existsSync(needed)) {
		console.error(`${needed} is not there (--shapes FOLDER).`);
		process.exit(2);
	}
}

const work = options.keep ?? mkdtempSync(path.join(os.tmpdir(), 'lorakit-same-'));
mkdirSync(work, { recursive: true });
const hexagons = tokenSet(path.join(work, 'hexagons'));

const striped = ['text-to-image', '--data', path.join(options.shapes, 'striped'), '--batch-size', '5', '--rank', '4', '--lr', '3e-3'];
const crescent = [
	...['dreambooth', '--data', path.join(options.shapes, 'crescent'), '--instance-prompt', CRESCENT, '--batch-size', '4', '--rank', '4'],
	...['--lr', '2e-3', '--train-text-encoder', '--text-encoder-lr', '1e-3', '--class-data', path.join(options.shapes, 'class')],
	...['--class-prompt', 'a shape', '--class-images', '24'],
];
const word = ['--data', hexagons, '--placeholder-token', TOKEN, '--initializer-token', INITIALIZER, '--batch-size', '4'];
const inversion = ['textual-inversion', ...word, '--lr', '2e-2'];
const pivotal = [
	...['pivotal', ...word, '--rank', '4', '--lr', '2e-3', '--text-encoder-lr', '5e-4'],
	...['--set', `inversion.steps=${options.steps}`, '--set', 'inversion.learning_rate=2e-2', '--set', 'train.lr_scheduler=constant'],
];
const F16 = ['--set', 'output.dtype=F16'];
const KOHYA = ['--layout', 'kohya'];

/**
 * `rows`: a token is learned, in a file of its own. It belongs to the adapter beside it, so --lora alone must do, and with --embedding
 * as the model card says it must be the same; `bundle`: it is inside the adapter's file too.
 * `dora`: at scales other than 1 ours is part of the way from the base to the result, and PEFT's a scaled direction under the trained
 * magnitudes (at 0 not the base): shown in brackets, judged at 1 alone.
 */
const CASES = [
	{ name: 'striped', args: striped, prompt: STRIPED, cross: true },
	{ name: 'striped-kohya-alpha', args: [...striped, ...KOHYA, '--alpha', '2'], prompt: STRIPED, alpha: 2 },
	{ name: 'striped-f16', args: [...striped, ...F16], prompt: STRIPED },
	{ name: 'striped-alpha', args: [...striped, '--alpha', '2'], prompt: STRIPED, alpha: 2 },
	{ name: 'striped-ff-rslora', args: [...striped, '--targets', 'attention+ff', '--rslora'], prompt: STRIPED, rsLora: true },
	{ name: 'striped-conv-dora', args: [...striped, '--targets', 'conv', '--dora'], prompt: STRIPED, dora: true },
	{ name: 'striped-peft', args: [...striped, '--layout', 'peft', '--alpha', '2'], prompt: STRIPED, alpha: 2 },
	{ name: 'crescent', args: crescent, prompt: CRESCENT, cross: true },
	{ name: 'crescent-kohya', args: [...crescent, ...KOHYA], prompt: CRESCENT },
	{ name: 'crescent-f16', args: [...crescent, ...F16], prompt: CRESCENT },
	{ name: 'hexagon-inversion', args: inversion, prompt: HEXAGON, rows: true },
	{ name: 'hexagon-inversion-2', args: [...inversion, '--set', 'token.num_vectors=2'], prompt: HEXAGON, rows: true },
	{ name: 'hexagon-inversion-kohya-f16', args: [...inversion, ...KOHYA, ...F16], prompt: HEXAGON, rows: true },
	{ name: 'hexagon-pivotal', args: pivotal, prompt: HEXAGON, rows: true },
	{ name: 'hexagon-pivotal-kohya', args: [...pivotal, ...KOHYA], prompt: HEXAGON, rows: true, bundle: true },
	{ name: 'hexagon-pivotal-f16', args: [...pivotal, ...F16], prompt: HEXAGON, rows: true },
];

const wanted = options.only === undefined ? CASES : CASES.filter(({ name }) => options.only.split(',').includes(name));
if (wanted.length === 0) {
	console.error(`--only ${options.only} is none of ${CASES.map(({ name }) => name).join(', ')}`);
	process.exit(2);
}
const failures = [];
const began = Date.now();
try {
	await compare();
} finally {
	if (options.keep === undefined) rmSync(work, { recursive: true, force: true });
}
if (PYTHON === undefined) {
	fail(
		'everything',
		'NO PYTHON with torch, safetensors, transformers, peft and diffusers (set PYTHON, LORAKIT_DIFFUSERS): nothing was compared with diffusers',
	);
}
for (const { what, why } of failures) console.error(`FAILED ${what}: ${why}`);
console.log(`${failures.length === 0 ? 'all the same' : `${failures.length} failures`}, ${((Date.now() - began) / 1000).toFixed(0)} s`);
process.exit(failures.length === 0 ? 0 : 1);

async function compare() {
	const runs = [];
	for (const one of wanted) {
		const run = train(one);
		if (run === undefined) continue;
		await ownReading(run);
		drawOurs(run);
		runs.push(run);
	}
	const bare = [...new Set(runs.filter(({ rows }) => !rows).map(({ prompt }) => prompt))].map((prompt, i) => ({
		name: `base-${i + 1}`,
		folder: path.join(work, `base-${i + 1}`),
		prompt,
		drawn: [{ how: 'base', scale: 0, files: drawn([], prompt, path.join(work, `base-${i + 1}/ours`)) }],
	}));
	for (const run of runs) judgeOurs(run, bare);
	const theirs = PYTHON === undefined ? undefined : drawTheirs([...bare, ...runs]);
	const table = [...bare, ...runs].map((run) => judgeTheirs(run, theirs?.answers[run.name]));
	print(table, theirs?.versions);
	if (options.json !== undefined) {
		writeFileSync(
			options.json,
			`${JSON.stringify({ versions: theirs?.versions, steps: Number(options.steps), table, failures }, undefined, '\t')}\n`,
		);
	}
}

/** The hexagon set with the token for the word. */
function tokenSet(folder) {
	const from = path.join(options.shapes, 'hexagon');
	mkdirSync(folder, { recursive: true });
	for (const name of readdirSync(from)) if (name.endsWith('.png')) cpSync(path.join(from, name), path.join(folder, name));
	const captions = readFileSync(path.join(from, 'metadata.jsonl'), 'utf8').replaceAll('hexagon', TOKEN);
	writeFileSync(path.join(folder, 'metadata.jsonl'), captions);
	return folder;
}

function fail(what, why) {
	failures.push({ what, why });
}

function lora(args, what) {
	const { status, stdout, stderr } = spawnSync(process.execPath, [LORA, ...args], { encoding: 'utf8', env, maxBuffer: 64 << 20 });
	if (status !== 0) fail(what, `lora ${args.join(' ')} ended with ${status}: ${stderr.trim().slice(0, 600)}`);
	return { ok: status === 0, stdout, stderr };
}

/** A run through the command line; undefined when it failed. */
function train(one) {
	const folder = path.join(work, one.name);
	const out = path.join(folder, 'run');
	const started = Date.now();
	const common = ['--base', BASE, '--out', out, '--resolution', '64', '--center-crop', '--steps', options.steps, '--seed', '1'];
	const { ok, stdout } = lora(['train', ...one.args, ...common, '--threads', options.threads, '--json', '--force'], one.name);
	if (!ok) return undefined;
	const report = JSON.parse(stdout);
	for (const warning of report.warnings) fail(one.name, `lora train warns: ${warning.code} ${warning.message}`);
	const names = report.files.map((file) => file.path);
	const tokens = names.filter((name) => name.startsWith('learned_embeds'));
	const main = names.find((name) => name.endsWith('.safetensors') && !tokens.includes(name));
	if (one.rows && tokens.length !== 1) fail(one.name, `${tokens.length} files of learned tokens, expected 1`);
	const argument = (name) => one.args[one.args.lastIndexOf(name) + 1];
	return {
		...one,
		folder,
		out,
		seconds: (Date.now() - started) / 1000,
		layout: one.args.includes('--layout') ? argument('--layout') : 'diffusers',
		dtype: one.args.includes('output.dtype=F16') ? 'F16' : 'F32',
		notes: report.notes.filter((note) => !/: \d+ pictures$/.test(note)),
		file: main === undefined ? undefined : path.join(out, main),
		embedding: tokens[0] === undefined ? undefined : path.join(out, tokens[0]),
		state: path.join(out, `checkpoint-${options.steps.padStart(6, '0')}`, 'training-state.safetensors'),
	};
}

/** Our own reader gives back what the run ended with. */
async function ownReading(run) {
	const state = rawTensors(run.state);
	const rest = new Set([...state.keys()].filter((name) => name.startsWith('tensors/')));
	let factors = 0;
	const same = async (name, tensor) => {
		rest.delete(`tensors/${name}`);
		const want = state.get(`tensors/${name}`);
		const got = Buffer.from(await tensor.read());
		factors++;
		if (want === undefined) fail(run.name, `our reader finds ${name}, which was not trained`);
		else if (tensor.dtype === 'F32' && !got.equals(want.bytes)) fail(run.name, `our reader gives other bits for ${name}`);
		else if (tensor.dtype !== 'F32' && (run.dtype !== 'F16' || !sameHalves(got, want.bytes))) fail(run.name, `${name} is not rounded once`);
	};
	if (run.file !== undefined) {
		const { modules, embeddings } = decodeAdapter(await openInput(run.file)).adapter;
		if (run.bundle) await ownToken(run, embeddings, state);
		for (const { component, path: at, factors: own, rank, scaling } of modules) {
			for (const role of ['down', 'up', 'magnitude']) if (own[role] !== undefined) await same(`${component}.${at}:${role}`, own[role]);
			const want = run.rsLora ? (run.alpha ?? rank) / Math.sqrt(rank) : (run.alpha ?? rank) / rank;
			// An alpha in a tensor of the file's type is rounded with it.
			if (Math.abs(scaling - want) > 1e-7 * want) fail(run.name, `our reader gives ${at} the scaling ${scaling}, not ${want}`);
		}
	}
	if (run.embedding !== undefined) {
		const want = state.get('tensors/added_rows');
		rest.delete('tensors/added_rows');
		factors++;
		const [[token, got], ...more] = rawTensors(run.embedding);
		if (more.length > 0 || token !== TOKEN) fail(run.name, `${path.basename(run.embedding)} has ${token} and ${more.length} more`);
		if (want === undefined || !got.bytes.equals(want.bytes)) fail(run.name, `${path.basename(run.embedding)} has other bits than the run`);
	}
	for (const name of rest) fail(run.name, `${name} was trained and is in no file`);
	run.read = factors;
}

/** The token inside the adapter's file. */
async function ownToken(run, embeddings, state) {
	const inside = embeddings.filter(({ token }) => token === TOKEN);
	const want = state.get('tensors/added_rows')?.bytes;
	if (inside.length === 0) fail(run.name, `our reader finds no ${TOKEN} in ${path.basename(run.file)}`);
	for (const { vectors } of inside) {
		if (want?.equals(Buffer.from(await vectors.read())) !== true) fail(run.name, `${path.basename(run.file)} has other bits for ${TOKEN}`);
	}
}

/** `lora generate`, a picture for each seed. @returns their files by seed */
function drawn(adapted, prompt, folder) {
	mkdirSync(folder, { recursive: true });
	const settings = ['--steps', `${DRAW.steps}`, '--guidance', `${DRAW.guidance}`, '--size', `${DRAW.size}x${DRAW.size}`];
	const seeds = ['--seed', `${SEEDS[0]}`, '--num', `${SEEDS.length}`];
	const common = ['--scheduler', 'dpmsolver++', '--threads', options.threads, '--force', '--json', '--out', `${folder}/`];
	const { ok, stdout } = lora(['generate', '--base', BASE, '--prompt', prompt, ...adapted, ...settings, ...seeds, ...common], folder);
	if (ok) {
		const report = JSON.parse(stdout);
		for (const { code, message } of report.warnings ?? []) fail(path.relative(work, folder), `lora generate warns: ${code} ${message}`);
	}
	return Object.fromEntries(SEEDS.map((seed) => [seed, path.join(folder, `picture-${seed}.png`)]));
}

function drawOurs(run) {
	const { file, embedding, prompt, folder } = run;
	const token = embedding === undefined ? [] : ['--embedding', embedding];
	const at = (name) => path.join(folder, 'ours', name);
	if (file === undefined) {
		run.drawn = [{ how: 'embedding', scale: 1, files: drawn(token, prompt, at('embedding')) }];
		// What the token began as.
		run.without = drawn([], prompt.replace(TOKEN, INITIALIZER), at('without'));
		return;
	}
	run.drawn = SCALES.map((scale) => ({
		how: 'set_adapters',
		scale,
		files: drawn(['--lora', `${file}@${scale}`], prompt, at(`scale-${scale}`)),
	}));
	if (run.cross) run.drawn.push({ ...run.drawn[1], how: 'cross_attention_kwargs' });
	if (embedding === undefined) return;
	run.without = drawn(token, prompt, at('without'));
	// As the model card says it.
	run.named = drawn(['--lora', `${file}@1`, ...token], prompt, at('named'));
}

/** What needs no other program. */
function judgeOurs(run, bare) {
	const [first] = run.drawn;
	const last = run.drawn.find(({ scale }) => scale === 1);
	const without = run.without ?? bare.find(({ prompt }) => prompt === run.prompt)?.drawn[0].files;
	run.zero = run.file === undefined ? undefined : mostApart(first.files, without);
	if (run.zero !== undefined && run.zero !== 0) fail(run.name, `scale 0 is ${run.zero} grey levels from the picture without the adapter`);
	run.change = mostApart(last.files, without);
	if (!(run.change >= LEAST_CHANGE)) fail(run.name, `what was trained moves no grey level more than ${run.change}: it shows nothing`);
	if (run.named !== undefined) {
		const most = mostApart(run.named, last.files);
		if (most !== 0) fail(run.name, `with --embedding named it is ${most} grey levels from the adapter's file alone`);
	}
}

/** Largest difference in grey levels over all seeds; Infinity where a picture is missing or has another size. */
function mostApart(a, b) {
	let most = 0;
	for (const seed of SEEDS) {
		if (!existsSync(a?.[seed] ?? '') || !existsSync(b?.[seed] ?? '')) return Number.POSITIVE_INFINITY;
		const [x, y] = [pixelsOf(a[seed]), pixelsOf(b[seed])];
		if (x.length !== y.length) return Number.POSITIVE_INFINITY;
		for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i] - y[i]));
	}
	return most;
}

function pixelsOf(file) {
	const { width, height, channels, data } = decode(readFileSync(file));
	if (width !== DRAW.size || height !== DRAW.size || channels !== 3)
		throw new Error(`${file} is ${width}x${height} with ${channels} channels`);
	return data;
}

function drawTheirs(runs) {
	const jobs = runs.map((run) => ({
		name: run.name,
		folder: run.out ?? run.folder,
		file: run.file ?? null,
		embedding: run.embedding ?? null,
		token: TOKEN,
		state: run.state ?? null,
		layout: run.layout ?? null,
		peft: run.layout === 'peft',
		dtype: run.dtype ?? 'F32',
		alpha: run.alpha ?? null,
		rsLora: run.rsLora === true,
		textEncoder: run.args !== undefined && ['dreambooth', 'pivotal'].includes(run.args[0]),
		prompt: run.prompt,
		rows: run.drawn.map(({ how, scale }) => ({ how, scale, files: theirFiles(run, how, scale) })),
	}));
	for (const run of runs) mkdirSync(path.join(run.folder, 'theirs'), { recursive: true });
	writeFileSync(path.join(work, 'jobs.json'), JSON.stringify({ base: BASE, ...DRAW, jobs }));
	const script = path.join(import.meta.dirname, 'same-picture.py');
	const { status, stderr } = spawnSync(PYTHON, [script, work], { encoding: 'utf8', env, maxBuffer: 64 << 20 });
	if (status !== 0) {
		fail('diffusers', `same-picture.py ended with ${status}: ${stderr.trim().slice(-800)}`);
		return undefined;
	}
	return JSON.parse(readFileSync(path.join(work, 'answers.json'), 'utf8'));
}

function theirFiles({ folder }, how, scale) {
	return Object.fromEntries(SEEDS.map((seed) => [seed, path.join(folder, 'theirs', `${how}-${scale}-${seed}.png`)]));
}

function judgeTheirs(run, answer) {
	const row = {
		name: run.name,
		read: run.read,
		zero: run.zero,
		change: run.change,
		seconds: run.seconds,
		levels: [],
		notes: [...(run.notes ?? [])],
	};
	if (answer === undefined) return row;
	row.notes.push(...(answer.notes ?? []));
	if (answer.error !== undefined) {
		fail(run.name, `diffusers: ${answer.error}`);
		return row;
	}
	for (const message of answer.warnings) fail(run.name, `while loading: ${message.slice(0, 400)}`);
	const wrong = [...(answer.factors?.wrong ?? []), ...(answer.rows?.wrong ?? [])];
	if (wrong.length > 0) fail(run.name, `loaded otherwise: ${wrong.length} times, ${wrong.slice(0, 3).join('; ')}`);
	const parts = [answer.factors, answer.rows].filter((part) => part !== undefined);
	const sum = (of) => parts.reduce((total, part) => total + of(part), 0);
	if (parts.length > 0) row.loaded = `${sum((part) => part.tensors - part.wrong.length)}/${sum((part) => part.of)}`;
	for (const { how, scale, files } of run.drawn) {
		const most = mostApart(files, theirFiles(run, how, scale));
		const judged = !(run.dora && scale !== 1);
		row.levels.push({ how, scale, most, judged });
		if (judged && !(most <= MOST_LEVELS)) fail(run.name, `${how} ${scale}: ${most} grey levels from diffusers (at most ${MOST_LEVELS})`);
	}
	return row;
}

function print(table, versions) {
	const said =
		versions === undefined
			? 'no Python'
			: Object.entries(versions)
					.map(([name, version]) => `${name} ${version}`)
					.join(', ');
	console.log(
		`tiny-shapes, ${options.steps} steps of training; ${DRAW.steps} steps of dpmsolver++, guidance ${DRAW.guidance}, seeds ${SEEDS.join(' and ')}; ${said}`,
	);
	printPictures(table);
}
