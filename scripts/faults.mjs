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
// For fuse, which multiplies the factors: the base below makes it slow enough.
const adapter = path.join(work, 'adapter.safetensors');
writeKohya(adapter, 16, 32);

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

/** A base with the modules of the adapters (F16): 52 MB, so that a disk of 256 kB is full and kills hit the middle. */
const base = path.join(work, 'base.safetensors');
writeBase(base, 16);

function writeBase(file, modules) {
	const width = 1280;
	const data = Buffer.alloc(width * width * 2);
	for (let i = 0; i < data.length; i += 2) data.writeUInt16LE(0x2000 | (i % 4093) | ((i & 64) << 9), i);
	const header = {};
	for (let n = 0; n < modules; n++) {
		const name = `up_blocks.1.attentions.${n >> 3}.transformer_blocks.0.attn${1 + ((n >> 2) & 1)}.to_${['q', 'k', 'v', 'out.0'][n & 3]}.weight`;
		header[name] = { dtype: 'F16', shape: [width, width], data_offsets: [n * data.length, (n + 1) * data.length] };
	}
	const json = Buffer.from(JSON.stringify(header));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.length));
	const fd = fs.openSync(file, 'w');
	for (const part of [length, json, ...Array.from({ length: modules }, () => data)]) fs.writeSync(fd, part);
	fs.closeSync(fd);
}

const cli = path.join(root, 'packages/cli/bin/lora.js');
const lora = (...argv) => spawnSync(process.execPath, [cli, ...argv], { encoding: 'utf8' });

let passed = 0;
let failed = 0;

function run(what, before, cmd, more, slowIn = slow) {
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
		slowIn,
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
run('fuse', [], `fuse ${base} {in} --out {out}`, only, adapter);
// Cases that want OUT alone are not for --reversible, which writes OUT.unfuse too.
const REVERSIBLE = 'disk_full_tmpfs,file_size_limit,sigkill,sigint,sigterm,out_exists,out_equals_in,input_truncated_while_reading,fd_limit';
if (only.length === 0) run('fuse --reversible', [], `fuse ${base} {in} --out {out} --reversible`, ['--only', REVERSIBLE], adapter);
if (only.length === 0) {
	diskFullAtNinety();
	killsOfFolders();
	baseCutWhileReading();
}
if (process.getuid?.() === 0 && only.length === 0) {
	run('as another user', ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'], 'convert {in} {out}', ['--only', 'readonly_dir']);
}
/** One of our own cases. */
function judge(id, problems) {
	if (problems.length === 0) passed++;
	else failed++;
	if (problems.length > 0) console.log(`${id} | ${problems.join('; ')}`);
}

/** A disk that holds nine tenths of the output: refused as full, nothing left, what was there unchanged. */
function diskFullAtNinety() {
	console.log('== fuse onto a disk that is full at 90 %');
	const mount = path.join(work, 'small');
	fs.mkdirSync(mount);
	const size = Math.floor(0.9 * fs.statSync(base).size);
	if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', mount]).status !== 0) {
		console.log('SKIPPED: no permission to mount');
		return;
	}
	try {
		const out = path.join(mount, 'out.safetensors');
		fs.writeFileSync(out, 'OLD');
		for (const more of [[], ['--reversible']]) {
			const { status, stderr } = lora('fuse', base, good, '--out', out, '--force', ...more);
			const problems = [];
			if (status !== 1 || !/^E_NO_SPACE: /m.test(stderr)) problems.push(`exit ${status}: ${stderr.trim()}`);
			if (fs.readFileSync(out, 'utf8') !== 'OLD') problems.push('the old file changed');
			if (fs.readdirSync(mount).length !== 1) problems.push(`left behind: ${fs.readdirSync(mount)}`);
			judge(`disk_full_90 ${more}`, problems);
		}
		const folder = makeFolder(path.join(work, 'full'));
		const { status, stderr } = lora('fuse', folder, good, '--out', path.join(mount, 'model'), '--reversible');
		const problems = [];
		if (status !== 1 || !/^E_NO_SPACE: /m.test(stderr)) problems.push(`exit ${status}: ${stderr.trim()}`);
		if (fs.readdirSync(mount).length !== 1) problems.push(`left behind: ${fs.readdirSync(mount)}`);
		judge('disk_full_90 folder', problems);
	} finally {
		spawnSync('umount', [mount]);
	}
}

/** Kills at many moments of a folder that is being replaced: the old folder or the new one, whole. */
function killsOfFolders() {
	console.log('== fuse a folder, killed');
	const folder = makeFolder(path.join(work, 'model'));
	const out = path.join(work, 'fused');
	const first = lora('fuse', folder, good, '--out', out);
	if (first.status !== 0) return judge('folder', [first.stderr]);
	fs.writeFileSync(path.join(out, 'old.txt'), 'old');
	const list = (dir) => fs.readdirSync(dir, { recursive: true }).sort().join();
	const old = list(out);
	const whole = old.replace('old.txt,', '').replace(',old.txt', '');
	for (const signal of ['SIGKILL', 'SIGINT', 'SIGTERM']) {
		for (let delay = 60; delay < 700; delay += 40) {
			const command = `"$0" "$@" & sleep ${delay / 1000}; kill -${signal.slice(3)} $!; wait $!`;
			spawnSync('bash', ['-c', command, process.execPath, cli, 'fuse', folder, adapter, '--out', out, '--force', '--quiet']);
			const problems = [];
			const now = fs.existsSync(out) ? list(out) : 'nothing';
			if (now !== old && now !== whole) problems.push(`holds ${now}`);
			else if (!isComplete(path.join(out, 'unet/diffusion_pytorch_model.safetensors'))) problems.push('a cut file');
			const left = fs.readdirSync(work).filter((name) => name.startsWith('.fused.'));
			if (signal !== 'SIGKILL' && left.length > 0) problems.push(`left behind: ${left}`);
			for (const name of left) fs.rmSync(path.join(work, name), { recursive: true });
			judge(`folder ${signal} ${delay} ms`, problems);
			fs.writeFileSync(path.join(out, 'old.txt'), 'old');
		}
	}
}

/** The base is cut, or written to, while it is read: never success with other data. */
function baseCutWhileReading() {
	console.log('== fuse, the base changed meanwhile');
	const copy = path.join(work, 'cut.safetensors');
	const out = path.join(work, 'cut-out.safetensors');
	for (const change of ['truncate -s 10000000', 'touch']) {
		for (const delay of [60, 120, 180, 240, 300, 400]) {
			fs.copyFileSync(base, copy);
			const command = `(sleep ${delay / 1000}; ${change} ${copy}) & "$0" "$@"`;
			const { status, stderr } = spawnSync('bash', ['-c', command, process.execPath, cli, 'fuse', copy, adapter, '--out', out, '--force'], {
				encoding: 'utf8',
			});
			const problems = [];
			if (status === 0 && !isComplete(out)) problems.push('a cut file');
			if (status !== 0 && (!/^E_(INPUT_CHANGED|TRUNCATED)/m.test(stderr) || /\n\s+at /.test(stderr)))
				problems.push(`exit ${status}: ${stderr.trim()}`);
			if (status !== 0 && fs.existsSync(out)) problems.push('output after a refusal');
			fs.rmSync(out, { force: true });
			judge(`base ${change} ${delay} ms`, problems);
		}
	}
}

function makeFolder(folder) {
	for (const [name, bytes] of [
		['model_index.json', '{}'],
		['scheduler/scheduler_config.json', '{}'],
		['vae/diffusion_pytorch_model.safetensors', Buffer.alloc(2_000_000)],
	]) {
		fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
		fs.writeFileSync(path.join(folder, name), bytes);
	}
	fs.mkdirSync(path.join(folder, 'unet'));
	fs.linkSync(base, path.join(folder, 'unet/diffusion_pytorch_model.safetensors'));
	return folder;
}

function isComplete(file) {
	const bytes = fs.readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const ends = Object.entries(JSON.parse(bytes.subarray(8, 8 + length).toString()))
		.filter(([name]) => name !== '__metadata__')
		.map(([, entry]) => entry.data_offsets[1]);
	return 8 + length + Math.max(...ends) === bytes.length;
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
