/**
 * How good the memory estimate of `lora train --dry-run` is: estimated and measured peaks (VmHWM) of a process of its own that computes two
 * training steps of rank-4 factors on the attention of an SD1.5-size UNet, synthetic weights by seed.
 *
 * Linux. Environment: BENCH_DIR (3.4 GB, 1.7 GB for F16); BENCH_ROWS (default "256x1 256x2 512x1", pixels x batch); BENCH_DTYPE (default F32).
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { engineMemory, moduleForms, modulesOf, objectiveGraph, targetModules } from '../packages/trainer/dist/index.js';
import { lineProcess } from './line-process.mjs';
import { makeUnet } from './make-unet.mjs';
import { row } from './stats.mjs';
import { openUnet } from './worker-parts.mjs';

const ROWS = (process.env.BENCH_ROWS ?? '256x1 256x2 512x1').split(' ').map((text) => text.split('x').map(Number));
const DTYPE = process.env.BENCH_DTYPE ?? 'F32';
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-memory-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const file = path.join(folder, 'unet.safetensors');
makeUnet(file, { dtype: DTYPE });
const { config: unet } = await openUnet(file);
const modules = targetModules(modulesOf({ unet, textEncoders: [] }), { rank: 4, unet: 'attention' });
const wrt = modules.flatMap(({ component, path: at }) => [`${component}.${at}:down`, `${component}.${at}:up`]);

async function estimated(pixels, batch, memory) {
	const side = pixels / 8;
	const graph = objectiveGraph({
		unet,
		shape: { batch, height: side, width: side, tokens: 77 },
		masked: false,
		...moduleForms(modules),
	});
	const began = process.cpuUsage();
	const engine = { engine: 'onnx', device: null, memory, mixed_precision: 'no' };
	const { weights, activations, process: rest } = await engineMemory({ graph, wrt, engine, storedAs: () => DTYPE });
	const { user, system } = process.cpuUsage(began);
	return { mib: (weights + activations + rest) / 2 ** 20, ms: (user + system) / 1000 };
}

row(`training step, weights in ${DTYPE}`, 'estimate', 'peak', 'error', 'estimating');
for (const [pixels, batch] of ROWS) {
	for (const memory of ['fast', 'lean']) {
		const worker = lineProcess(process.execPath, [path.join(import.meta.dirname, 'training-worker.mjs'), file], 'ignore');
		await worker.ask('load', pixels, batch, memory);
		await worker.ask('step');
		const { peak } = await worker.ask('step');
		worker.stop();
		const { mib, ms } = await estimated(pixels, batch, memory);
		const error = `${((mib / peak - 1) * 100).toFixed(1)} %`;
		row(`${pixels} px, batch ${batch}, ${memory}`, `${mib.toFixed(0)} MiB`, `${peak.toFixed(0)} MiB`, error, `${ms.toFixed(0)} ms of CPU`);
	}
}
