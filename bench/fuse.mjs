/**
 * `node bench/fuse.mjs`: a rank-8 LoRA fused into a UNet of SD1.5's size (fp16, 1.7 GB, synthetic by seed), against `cp IN OUT &&
 * sync OUT` on a warm cache and against the shortest correct torch script, interleaved; peak memory; then --reversible
 * and unfuse in fp16, bf16 and fp32, bit for bit, with the sidecar's share of the base.
 *
 * Environment: BENCH_RUNS (default 5), BENCH_DIR (a folder on the disk to be measured, 9 GB free), PYTHON (with torch and
 * safetensors), BENCH_ROUND_TRIPS (dtypes, default "F16 BF16 F32", empty for none), LORA (another build of the command line).
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeUnet, makeUnetLora } from './make-unet.mjs';
import { median, peakMb, row, timeCommand } from './stats.mjs';

const LORA = process.env.LORA ?? path.resolve(import.meta.dirname, '../packages/cli/bin/lora.js');
const RUNS = Number(process.env.BENCH_RUNS ?? 5);
const PYTHON = [process.env.PYTHON, '/opt/lk-venv/bin/python', 'python3'].find(
	(p) => p !== undefined && spawnSync(p, ['-c', 'import torch, safetensors.torch']).status === 0,
);
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-bench-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name) => path.join(folder, name);
const [base, adapter, out] = [at('unet.safetensors'), at('lora.safetensors'), at('out.safetensors')];

/** What somebody would write: exact in float32, everything in memory. Names: diffusers' own. */
const TORCH = `
import os, sys
from safetensors.torch import load_file, save_file
base, adapter, out = sys.argv[1:]
weights, lora = load_file(base), load_file(adapter)
for name in lora:
    if name.endswith('.lora_B.weight'):
        module = name[len('unet.'):-len('.lora_B.weight')]
        w = weights[module + '.weight']
        delta = lora[name].float() @ lora['unet.' + module + '.lora_A.weight'].float()
        weights[module + '.weight'] = (w.float() + delta).to(w.dtype)
save_file(weights, out, {'format': 'pt'})
with open(out, 'rb') as f: os.fsync(f.fileno())
`;

const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
const times = (x) => `${x.toFixed(2)} x`;
const node = (...args) => [process.execPath, [LORA, ...args]];
const fuse = (...more) => node('fuse', base, adapter, '--out', out, '--quiet', ...more);

const bytes = makeUnet(base);
makeUnetLora(adapter);
console.log(
	`node ${process.version}, ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores; ${(bytes / 1e9).toFixed(2)} GB; medians of ${RUNS} interleaved runs`,
);

/** One run, with the output gone and the disk quiet before it. */
function timed([command, args]) {
	fs.rmSync(out, { force: true });
	spawnSync('sync');
	return timeCommand(command, args);
}

const commands = { cp: ['sh', ['-c', 'cp "$1" "$2" && sync "$2"', 'sh', base, out]], ours: fuse() };
if (PYTHON) commands.torch = [PYTHON, ['-c', TORCH, base, adapter, out]];
const results = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
// The cache is warm: the base was just written, and is read once more.
spawnSync('sh', ['-c', 'cat "$1" > /dev/null', 'sh', base]);
for (let n = 0; n < RUNS; n++) for (const [name, command] of Object.entries(commands)) results[name].push(timed(command));
const [cp, ours] = [median(results.cp), median(results.ours)];
row('what', 'ours', 'baseline', 'ratio', 'target');
row('fuse rank 8 / cp IN OUT && sync OUT', seconds(ours), seconds(cp), times(ours / cp), '<= 1.5 x');
if (results.torch) {
	const torch = median(results.torch);
	row('torch script / fuse', seconds(ours), seconds(torch), times(torch / ours), '>= 2 x');
} else console.log('torch script: no Python with torch and safetensors; set PYTHON');
fs.rmSync(out, { force: true });
const peak = peakMb(...fuse());
row('peak memory of fuse', peak === undefined ? 'no GNU time' : `${peak.toFixed(0)} MB`, '', '', '< 400 MB');
const copyRate = bytes / 1e6 / (cp / 1000);
console.log(
	`cp and sync moved ${copyRate.toFixed(0)} MB/s, fuse ${(bytes / 1e6 / (ours / 1000)).toFixed(0)} MB/s; ${
		ours < 1.25 * cp ? 'the disk bounds both' : 'the processor bounds it (reading, float64 products, rounding, SHA-256, writing)'
	}; load ${os.loadavg()[0].toFixed(1)} on ${os.cpus().length} cores`,
);
fs.rmSync(out, { force: true });

const sha256 = (file) => {
	const hash = createHash('sha256');
	const fd = fs.openSync(file, 'r');
	const piece = Buffer.allocUnsafeSlow(1 << 23);
	for (let got = fs.readSync(fd, piece); got > 0; got = fs.readSync(fd, piece)) hash.update(piece.subarray(0, got));
	fs.closeSync(fd);
	return hash.digest('hex');
};
let failed = false;
for (const dtype of (process.env.BENCH_ROUND_TRIPS ?? 'F16 BF16 F32').split(' ').filter(Boolean)) {
	if (dtype !== 'F16') makeUnet(base, { dtype });
	const size = fs.statSync(base).size;
	const there = timeCommand(...fuse('--reversible', '--force'));
	const sidecar = fs.statSync(`${out}.unfuse`).size;
	const back = timeCommand(...node('unfuse', out, '--out', at('back.safetensors'), '--quiet', '--force'));
	const same = sha256(base) === sha256(at('back.safetensors'));
	failed ||= !same;
	fs.rmSync(at('back.safetensors'));
	row(
		`${dtype}: --reversible, then unfuse`,
		seconds(there),
		seconds(back),
		same ? 'same' : 'DIFFERS',
		`sidecar ${(sidecar / 1e6).toFixed(1)} MB, ${((100 * sidecar) / size).toFixed(2)} % of the base`,
	);
}
process.exitCode = failed ? 1 : 0;
