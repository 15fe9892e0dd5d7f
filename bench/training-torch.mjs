/**
 * Part of `npm run bench:torch`: one training step (loss and gradients of rank-4 factors on the attention of an SD1.5-size
 * UNet, synthetic weights by seed) against diffusers' UNet with PEFT on torch, on the same cores, interleaved.
 *
 * Environment: PYTHON, LORAKIT_DIFFUSERS, BENCH_DIR as in runtime-torch.mjs; BENCH_RUNS (steps, default 3); BENCH_SIZES (default
 * "256 512"); BENCH_OUT (JSON).
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { lineProcess, pythonWith } from './line-process.mjs';
import { makeUnet } from './make-unet.mjs';
import { median, row } from './stats.mjs';

const RUNS = Number(process.env.BENCH_RUNS ?? 3);
const SIZES = (process.env.BENCH_SIZES ?? '256 512').split(' ').map(Number);
/** Factor of torch's fastest run with the most memory, by our mode: time, memory. */
const TARGETS = { fast: { time: 1.2, memory: 2 }, lean: { time: 2, memory: 1 } };
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-training-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const unet = path.join(folder, 'unet.safetensors');

const PYTHON = pythonWith('torch, safetensors.torch, diffusers, peft');
const ours = () => lineProcess(process.execPath, [path.join(import.meta.dirname, 'training-worker.mjs'), unet], 'ignore');
const torch = async () => {
	const side = lineProcess(PYTHON, [path.join(import.meta.dirname, 'training-torch.py'), unet], 'ignore');
	return { side, version: await side.answer() };
};

const bytes = makeUnet(unet, { dtype: 'F32' });
spawnSync('sh', ['-c', 'cat "$1" > /dev/null', 'sh', unet]);
console.log(
	`node ${process.version}, ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}; weights ${(bytes / 2 ** 20).toFixed(0)} MiB`,
);
if (PYTHON === undefined) {
	console.error(
		'NO TORCH: no Python with torch, safetensors, diffusers and peft; set PYTHON and LORAKIT_DIFFUSERS. Only our own figures follow.',
	);
}
const result = { cores: os.cpus().length, sizes: [] };
for (const pixels of SIZES) {
	const figures = { pixels };
	for (const mode of ['fast', 'lean']) {
		// A process of its own for each, so that its peak is its own.
		const mine = ours();
		const theirs = PYTHON === undefined ? undefined : await torch();
		await mine.ask('load', pixels, 1, mode);
		const first = await mine.ask('step');
		await theirs?.side.ask('load', pixels, 1, mode);
		await theirs?.side.ask('step');
		const times = { ours: [], torch: [] };
		let [a, b] = [first, undefined];
		for (let n = 0; n < RUNS; n++) {
			a = await mine.ask('step');
			times.ours.push(a.ms);
			if (theirs === undefined) continue;
			b = await theirs.side.ask('step');
			times.torch.push(b.ms);
		}
		figures[mode] = {
			ready: first.ms,
			step: median(times.ours),
			peak: a.peak,
			torchStep: b === undefined ? undefined : median(times.torch),
			torchPeak: b?.peak,
		};
		mine.stop();
		theirs?.side.stop();
	}
	result.sizes.push(figures);
}
const s = (ms) => (ms === undefined ? '-' : `${(ms / 1000).toFixed(2)} s`);
const mib = (n) => (n === undefined ? '-' : `${n.toFixed(0)} MiB`);
row('training step, batch 1', 'ours', 'torch', 'ratio', 'target');
for (const { pixels, fast, lean } of result.sizes) {
	// Targets are over torch without checkpointing.
	for (const [mode, own] of Object.entries({ fast, lean })) {
		const target = TARGETS[mode];
		row(
			`${pixels} px ${mode}: step`,
			s(own.step),
			s(fast.torchStep),
			ratio(own.step, fast.torchStep),
			pixels === 256 ? `<= ${target.time} x` : '',
		);
		row(
			`${pixels} px ${mode}: peak`,
			mib(own.peak),
			mib(fast.torchPeak),
			ratio(own.peak, fast.torchPeak),
			pixels === 256 ? `<= ${target.memory} x` : mode === 'lean' ? '<= 6 GB' : '',
		);
		row(`${pixels} px ${mode}: ready (load and first step)`, s(own.ready), '', '', '');
	}
	row(`${pixels} px torch with checkpointing: step, peak`, s(lean.torchStep), mib(lean.torchPeak), '', '');
}
if (process.env.BENCH_OUT) fs.writeFileSync(process.env.BENCH_OUT, `${JSON.stringify(result, null, '\t')}\n`);

function ratio(a, b) {
	return b === undefined ? '' : `${(a / b).toFixed(2)} x`;
}
