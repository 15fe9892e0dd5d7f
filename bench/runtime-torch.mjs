/**
 * `npm run bench:torch`: one step of a UNet of SD1.5's size (synthetic weights by seed) against diffusers' on torch, on
 * the same cores, interleaved: time, memory, session, adapters; then cost against resolution and number of adapters.
 *
 * Environment: PYTHON (torch, safetensors), LORAKIT_DIFFUSERS (diffusers' src folder; default: importable), BENCH_RUNS
 * (steps, default 5), BENCH_DTYPE (F32; F16), BENCH_SIZES (default "256 384 512"), BENCH_DIR, BENCH_OUT (JSON).
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { lineProcess, pythonWith } from './line-process.mjs';
import { makeUnet, makeUnetLora } from './make-unet.mjs';
import { median, row } from './stats.mjs';

const RUNS = Number(process.env.BENCH_RUNS ?? 5);
const DTYPE = process.env.BENCH_DTYPE ?? 'F32';
const SIZES = (process.env.BENCH_SIZES ?? '256 384 512').split(' ').map(Number);
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-runtime-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const [unet, lora] = ['unet.safetensors', 'lora.safetensors'].map((name) => path.join(folder, name));

const TORCH = `
import json, resource, sys, time, torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
unet_file = sys.argv[1]
model = inputs = None
def peak():
    return int([l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1]) / 1024
def load(pixels, batch, plain=False):
    global model, inputs
    if model is None:
        with torch.device('meta'):
            model = UNet2DConditionModel(attention_head_dim=8, cross_attention_dim=768, sample_size=64)
        state = load_file(unet_file)
        model.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
        model.eval()
    g = torch.Generator().manual_seed(1)
    inputs = (torch.randn(batch, 4, pixels // 8, pixels // 8, generator=g), torch.full((batch,), 501), torch.randn(batch, 77, 768, generator=g))
def step():
    with torch.inference_mode():
        model(*inputs)
print(json.dumps({'torch': torch.__version__, 'threads': torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    command, *args = json.loads(line)
    began = time.perf_counter()
    {'load': load, 'step': step}[command](*args)
    print(json.dumps({'ms': (time.perf_counter() - began) * 1000, 'peak': peak()}), flush=True)
`;

const PYTHON = pythonWith('torch, safetensors.torch, diffusers');
const s = (ms) => `${(ms / 1000).toFixed(2)} s`;
const mb = (n) => `${n.toFixed(0)} MB`;
const weights = makeUnet(unet, { dtype: DTYPE }) / 1e6;
makeUnetLora(lora);
spawnSync('sh', ['-c', 'cat "$1" > /dev/null', 'sh', unet]);
console.log(
	`node ${process.version}, ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}; ${DTYPE} weights ${weights.toFixed(0)} MB on disk`,
);
const result = { dtype: DTYPE, cores: os.cpus().length, sizes: [], adapters: [] };
const ours = lineProcess(process.execPath, [path.join(import.meta.dirname, 'runtime-worker.mjs'), unet, lora]);
let torch;
if (PYTHON === undefined)
	console.error(
		'NO TORCH: no Python with torch, safetensors and diffusers; set PYTHON and LORAKIT_DIFFUSERS. Only our own figures follow.',
	);
else {
	torch = lineProcess(PYTHON, ['-c', TORCH, unet]);
	const { torch: version, threads } = await torch.answer();
	console.log(`torch ${version}, ${threads} threads; medians of ${RUNS} interleaved steps, one warm-up each`);
}

const pixels = 512;
const ready = await ours.ask('load', pixels, 2, false);
const torchReady = await torch?.ask('load', pixels, 2);
const first = await ours.ask('step');
await torch?.ask('step');
const times = { ours: [], torch: [] };
for (let n = 0; n < RUNS; n++) {
	times.ours.push((await ours.ask('step')).ms);
	if (torch) times.torch.push((await torch.ask('step')).ms);
}
const peakOurs = (await ours.ask('step')).peak;
const peakTorch = (await torch?.ask('step'))?.peak;
const inMemory = (weights * 4) / (DTYPE === 'F32' ? 4 : 2) / 1.048576;
row('what', 'ours', 'torch', 'ratio', 'target');
const [a, b] = [median(times.ours), torch ? median(times.torch) : Number.NaN];
row(`step, ${pixels} px, batch 2`, s(a), s(b), `${(a / b).toFixed(2)} x`, '<= 0.9 x');
row('peak memory', mb(peakOurs), peakTorch === undefined ? '-' : mb(peakTorch), `${(peakOurs / peakTorch).toFixed(2)} x`, '<= 1 x');
row('peak to the first step / weights in float32', mb(first.peak), mb(inMemory), `${(first.peak / inMemory).toFixed(2)} x`, '<= 1.2 x');
row('ready', s(ready.ms), torchReady === undefined ? '-' : s(torchReady.ms), '', '<= 15 s');
const attach = await ours.ask('attach', 1);
row('adapter attached (rank 8, attention), no new session', s(attach.ms), '', '', '<= 0.2 s');
await ours.ask('step');
const over = { base: [], adapted: [] };
for (let n = 0; n < RUNS; n++) {
	await ours.ask('attach', 0);
	over.base.push((await ours.ask('step')).ms);
	await ours.ask('attach', 1);
	over.adapted.push((await ours.ask('step')).ms);
}
const [base, adapted] = [median(over.base), median(over.adapted)];
row('step with one adapter unfused / without', s(adapted), s(base), `${(adapted / base).toFixed(3)} x`, '<= 1.10 x');
Object.assign(result, {
	step: a,
	torchStep: b,
	peakOurs,
	peakTorch,
	firstPeak: first.peak,
	inMemory,
	ready: ready.ms,
	attach: attach.ms,
	overhead: adapted / base,
});
for (const count of [0, 1, 2, 4, 8]) {
	await ours.ask('attach', count);
	const steps = [];
	for (let n = 0; n < 3; n++) steps.push((await ours.ask('step')).ms);
	result.adapters.push({ count, ms: median(steps) });
	row(`step with ${count} adapters of rank 8`, s(median(steps)), '', '', '');
}
await ours.ask('attach', 0);
const plain = await ours.ask('load', pixels, 2, true);
await ours.ask('step');
const bare = [];
for (let n = 0; n < 3; n++) bare.push((await ours.ask('step')).ms);
row(
	'step with one adapter / graph without adapter inputs',
	s(adapted),
	s(median(bare)),
	`${(adapted / median(bare)).toFixed(3)} x`,
	'<= 1.10 x',
);
result.plain = { ready: plain.ms, step: median(bare) };
for (const size of SIZES) {
	await ours.ask('load', size, 2, false);
	await torch?.ask('load', size, 2);
	await ours.ask('step');
	await torch?.ask('step');
	const each = { ours: [], torch: [] };
	for (let n = 0; n < 3; n++) {
		each.ours.push((await ours.ask('step')).ms);
		if (torch) each.torch.push((await torch.ask('step')).ms);
	}
	result.sizes.push({ size, ours: median(each.ours), torch: torch ? median(each.torch) : null });
	row(
		`step, ${size} px, batch 2`,
		s(median(each.ours)),
		torch ? s(median(each.torch)) : '-',
		torch ? `${(median(each.ours) / median(each.torch)).toFixed(2)} x` : '',
		'',
	);
}
ours.close();
torch?.close();
if (process.env.BENCH_OUT) fs.writeFileSync(process.env.BENCH_OUT, `${JSON.stringify(result, null, '\t')}\n`);
