#!/usr/bin/env node
// faults.mjs [DIR] [--only IDS]: run the fault cases of DIR/faults/run_faults.py (default ../shared/adversarial) against the
// built command line: full disk, kills, links, two writers, ... Linux and Python 3; as root the case of a read-only folder
// is run once more as another user. Closes with "N passed, N failed".
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2);
const onlyAt = args.indexOf('--only');
const only = onlyAt < 0 ? [] : ['--only', args.splice(onlyAt, 2)[1]];
const runner = path.join(path.resolve(args[0] ?? path.join(root, '../shared/adversarial')), 'faults/run_faults.py');
if (!fs.existsSync(runner) || spawnSync('python3', ['--version']).status !== 0) {
	console.log(`SKIPPED: python3 or ${runner} is not here.`);
	process.exit(0);
}
if (!fs.existsSync(path.join(root, 'packages/cli/dist/main.cjs'))) {
	console.log('Build first: npm run build');
	process.exit(1);
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-faults-'));
process.on('exit', () => fs.rmSync(work, { recursive: true, force: true }));
fs.chmodSync(work, 0o755);
const good = path.join(work, 'good.safetensors');
const slow = path.join(work, 'slow.safetensors');
writeKohya(good, 2, 4);
// Large enough that kills and cuts hit the middle.
writeKohya(slow, 16, 1024);

/** A kohya file of `pairs` modules (1280 x 1280, F32): a real conversion, with alphas. */
function writeKohya(file, pairs, rank) {
	const width = 1280;
	const data = Buffer.alloc(rank * width * 4);
	for (let i = 0; i < data.length; i += 4) data.writeFloatLE(Math.fround(((i % 977) - 488) / 65536), i);
	const header = {};
	let at = 0;
	const chunks = [];
	const put = (name, shape, bytes) => {
		header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] };
		at += bytes.length;
		chunks.push(bytes);
	};
	const alpha = Buffer.alloc(4);
	alpha.writeFloatLE(rank);
	for (let n = 0; n < pairs; n++) {
		const name = `lora_unet_up_blocks_1_attentions_${n >> 3}_transformer_blocks_0_attn${1 + ((n >> 2) & 1)}_to_${['q', 'k', 'v', 'out_0'][n & 3]}`;
		// Only attn1 takes 1280 on both sides; attn2.to_k of SD1 takes 768, which nobody checks without a base.
		put(`${name}.alpha`, [], alpha);
		put(`${name}.lora_down.weight`, [rank, width], data);
		put(`${name}.lora_up.weight`, [width, rank], data);
	}
	const json = Buffer.from(JSON.stringify(header));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.length));
	const fd = fs.openSync(file, 'w');
	for (const part of [length, json, ...chunks]) fs.writeSync(fd, part);
	fs.closeSync(fd);
}

let passed = 0;
let failed = 0;

function run(what, before, cmd, more) {
	console.log(`== ${what}`);
	const lora = `${process.execPath} ${path.join(root, 'packages/cli/bin/lora.js')}`;
	const argv = [
		...before,
		'python3',
		runner,
		'--cmd',
		`${lora} ${cmd}`,
		'--inspect-cmd',
		`${lora} inspect {in}`,
		'--in',
		good,
		'--slow-in',
		slow,
		...more,
	];
	// Another user may not be allowed to use this one's Python.
	const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...(before.length > 0 ? { PATH: '/usr/bin:/bin' } : {}) };
	const result = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8', env });
	if (!/^passed \d+ of \d+$/m.test(result.stdout)) {
		failed++;
		console.log(`${what}: the runner gave no summary`);
	}
	for (const line of result.stdout.split('\n').filter((l) => l.startsWith('{'))) {
		const { id, ok, problems, note } = JSON.parse(line);
		if (ok) passed++;
		else failed++;
		if (!ok || note !== '') console.log(`${id} | ${ok ? 'ok' : problems.join('; ')}${note === '' ? '' : ` (${note})`}`);
	}
	process.stderr.write(result.stderr);
}

run('convert', [], 'convert {in} {out}', only);
run('convert --to keep', [], 'convert {in} {out} --to keep', only);
if (process.getuid?.() === 0 && only.length === 0) {
	run('as another user', ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'], 'convert {in} {out}', ['--only', 'readonly_dir']);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
