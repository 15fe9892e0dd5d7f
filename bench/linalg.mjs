/**
 * `node bench/linalg.mjs`: rank 128 -> 16 over the attention set of SD1.5 (16 transformer blocks, 128 modules):
 * our SVD of the product against torch.linalg.svd of each module's delta, in the same run, on the same factors.
 * Every shape is timed RUNS times, interleaved, and the least time multiplied by how often the shape occurs (a busy
 * machine slows torch's threads most: the least is the fair one); ours also as a whole in two worker threads, as
 * torch uses both cores; then `lora resize` itself, the whole process from start to the written file, over the same
 * set as one F32 file of rank 128. Needs packages/format/dist and packages/cli/dist, and torch in PYTHON.
 */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { useKernel } from '../packages/format/dist/kernel/index.js';
import { lazySvdOfProduct } from '../packages/format/dist/linalg/svd-of-product.js';

const SELF = fileURLToPath(import.meta.url);
const LORA = path.join(path.dirname(SELF), '../packages/cli/bin/lora.js');
const [RANK, KEPT] = [128, 16];
const RUNS = Number(process.env.RUNS ?? 15);
const TORCH_RUNS = Number(process.env.TORCH_RUNS ?? 3);
/** Per block: to_q, to_k, to_v, to_out of attn1 and to_q, to_out of attn2 are w x w; to_k, to_v of attn2 w x 768. */
const SHAPES = [
	[320, 5],
	[640, 5],
	[1280, 6],
].flatMap(([width, blocks]) => [
	{ out: width, in: width, count: blocks * 6 },
	{ out: width, in: 768, count: blocks * 2 },
]);

/** Normal numbers (Box, Muller) from a 32-bit xorshift. */
function normals(seed, count) {
	let x = (Math.imul(seed, 0x9e3779b1) | 1) >>> 0;
	const next = () => {
		x ^= x << 13;
		x ^= x >>> 17;
		x ^= x << 5;
		x >>>= 0;
		return (x + 0.5) / 4294967296;
	};
	return Float64Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

const factors = (shape, seed) => ({
	up: { rows: shape.out, cols: RANK, data: normals(2 * seed, shape.out * RANK) },
	down: { rows: RANK, cols: shape.in, data: normals(2 * seed + 1, RANK * shape.in) },
});

/** All singular values, the kept triplets and the relative error of leaving out the rest. */
function resize({ up, down }) {
	const svd = lazySvdOfProduct(up, down);
	const kept = svd.leading(KEPT);
	const error = Math.sqrt(Math.max(0, svd.squaredNorm - kept.s.reduce((sum, s) => sum + s * s, 0)) / svd.squaredNorm);
	return { values: svd.values, kept, error };
}

function timed(run) {
	const began = performance.now();
	const result = run();
	return [performance.now() - began, result];
}

async function worker() {
	await useKernel('wasm-simd');
	const modules = workerData.map(([shape, seed]) => factors(shape, seed));
	for (const m of modules.slice(0, 6)) resize(m);
	parentPort.on('message', () => {
		for (const m of modules) resize(m);
		parentPort.postMessage('done');
	});
	parentPort.postMessage('ready');
}

/** Wall time of the whole set in `count` threads. */
async function inThreads(count) {
	const modules = SHAPES.flatMap((shape, i) => Array.from({ length: shape.count }, (_, n) => [shape, 1000 * i + n + 1]));
	const workers = Array.from({ length: count }, (_, w) => new Worker(SELF, { workerData: modules.filter((_, i) => i % count === w) }));
	const heard = () => Promise.all(workers.map((w) => new Promise((resolve) => w.once('message', resolve))));
	await heard();
	const times = [];
	for (let run = 0; run < RUNS; run++) {
		const began = performance.now();
		for (const w of workers) w.postMessage('go');
		await heard();
		times.push(performance.now() - began);
	}
	await Promise.all(workers.map((w) => w.terminate()));
	return Math.min(...times);
}

const TORCH = `
import sys, time, json, torch
print(json.dumps([torch.__version__, torch.get_num_threads()]), flush=True)
for line in sys.stdin:
    path, out, rank, inn, dtype = line.split()
    out, rank, inn = int(out), int(rank), int(inn)
    data = torch.frombuffer(bytearray(open(path, 'rb').read()), dtype=torch.float64)
    up, down = data[:out * rank].reshape(out, rank), data[out * rank:].reshape(rank, inn)
    delta = (up @ down).to(getattr(torch, dtype))
    began = time.perf_counter()
    u, s, v = torch.linalg.svd(delta, full_matrices=False)
    took = time.perf_counter() - began
    print(json.dumps([took * 1000, s[:${RANK}].double().tolist(), float((s.double()[${KEPT}:] ** 2).sum().sqrt() / (s.double() ** 2).sum().sqrt())]), flush=True)
`;

function startTorch() {
	const python =
		process.env.PYTHON ?? ['/opt/lk-venv/bin/python', 'python3'].find((p) => spawnSync(p, ['-c', 'import torch']).status === 0);
	if (python === undefined) return undefined;
	const child = spawn(python, ['-c', TORCH], { stdio: ['pipe', 'pipe', 'inherit'] });
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const answer = async () => JSON.parse((await lines.next()).value);
	return {
		ready: answer(),
		svd(...words) {
			child.stdin.write(`${words.join(' ')}\n`);
			return answer();
		},
		close: () => child.stdin.end(),
	};
}

async function main() {
	await useKernel('wasm-simd');
	const torch = startTorch();
	const [version, threads] = (await torch?.ready) ?? [];
	console.log(`node ${process.version}, ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}`);
	console.log(
		torch === undefined
			? 'no torch: set PYTHON'
			: `torch ${version}, ${threads} threads; least of ${RUNS} (torch ${TORCH_RUNS}) runs, interleaved`,
	);
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-linalg-'));
	const file = path.join(folder, 'factors');
	console.log('\nmodule           count     ours   torch f32   torch f64   max |s - s64| / s1   error ours - torch f64');
	const total = { ours: 0, float32: 0, float64: 0 };
	for (const [i, shape] of SHAPES.entries()) {
		const pair = factors(shape, i + 1);
		fs.writeFileSync(file, Buffer.concat([pair.up, pair.down].map((m) => Buffer.from(m.data.buffer))));
		for (let n = 0; n < 5; n++) resize(pair);
		const times = { ours: [], float32: [], float64: [] };
		let [worst, apart] = [0, 0];
		for (let run = 0; run < Math.max(RUNS, TORCH_RUNS); run++) {
			if (run < RUNS) times.ours.push(timed(() => resize(pair))[0]);
			if (torch === undefined || run >= TORCH_RUNS) continue;
			for (const dtype of ['float32', 'float64']) {
				const [ms, s, error] = await torch.svd(file, shape.out, RANK, shape.in, dtype);
				times[dtype].push(ms);
				if (dtype === 'float32') continue;
				const ours = resize(pair);
				for (const [j, x] of s.entries()) worst = Math.max(worst, Math.abs(ours.values[j] - x) / s[0]);
				for (let j = 0; j < KEPT; j++) worst = Math.max(worst, Math.abs(ours.kept.s[j] - s[j]) / s[0]);
				apart = Math.max(apart, Math.abs(ours.error - error));
			}
		}
		const each = Object.fromEntries(Object.entries(times).map(([k, v]) => [k, Math.min(...v)]));
		for (const k of Object.keys(total)) total[k] += each[k] * shape.count;
		console.log(
			`${`${shape.out} x ${shape.in}`.padEnd(16)} ${String(shape.count).padStart(5)} ${ms(each.ours, 8)} ${ms(each.float32, 11)} ${ms(each.float64, 11)}   ${worst.toExponential(1).padStart(18)}   ${apart.toExponential(1)}`,
		);
	}
	torch?.close();
	console.log(`${'all'.padEnd(16)} ${String(128).padStart(5)} ${ms(total.ours, 8)} ${ms(total.float32, 11)} ${ms(total.float64, 11)}`);
	const two = await inThreads(2);
	const command = resizeCommand(folder);
	fs.rmSync(folder, { recursive: true, force: true });
	for (const [name, time] of [
		['one thread', total.ours],
		['two threads', two],
		[`lora resize (${(command.bytes / 1e6).toFixed(0)} MB in, process start to file)`, command.time],
	]) {
		console.log(
			`${name}: ${time.toFixed(0)} ms; torch f32 / ours = ${(total.float32 / time).toFixed(1)} x, torch f64 / ours = ${(total.float64 / time).toFixed(1)} x (target 50 x)`,
		);
	}
}

/** The whole set as one file in PEFT names, F32. */
function writeSet(file) {
	const entries = {};
	const parts = [];
	let at = 0;
	const add = (name, rows, cols, data) => {
		const bytes = Buffer.from(Float32Array.from(data).buffer);
		entries[name] = { dtype: 'F32', shape: [rows, cols], data_offsets: [at, at + bytes.length] };
		parts.push(bytes);
		at += bytes.length;
	};
	for (const [name, out, inn, seed] of attentionSet()) {
		const { up, down } = factors({ out, in: inn }, seed);
		add(`unet.${name}.lora_A.weight`, RANK, inn, down.data);
		add(`unet.${name}.lora_B.weight`, out, RANK, up.data);
	}
	let json = JSON.stringify(entries);
	json += ' '.repeat((8 - (json.length % 8)) % 8);
	const head = Buffer.alloc(8);
	head.writeBigUInt64LE(BigInt(json.length));
	fs.writeFileSync(file, Buffer.concat([head, Buffer.from(json), ...parts]));
	return 8 + json.length + at;
}

/** The 128 modules under diffusers' names. */
function attentionSet() {
	const blocks = [
		...[320, 640, 1280].flatMap((w, i) => [0, 1].map((n) => [`down_blocks.${i}.attentions.${n}`, w])),
		['mid_block.attentions.0', 1280],
		...[1280, 640, 320].flatMap((w, i) => [0, 1, 2].map((n) => [`up_blocks.${i + 1}.attentions.${n}`, w])),
	];
	let seed = 1;
	return blocks.flatMap(([at, w]) =>
		['attn1', 'attn2'].flatMap((attn) =>
			['to_q', 'to_k', 'to_v', 'to_out.0'].map((leaf) => [
				`${at}.transformer_blocks.0.${attn}.${leaf}`,
				w,
				attn === 'attn2' && /to_[kv]/.test(leaf) ? 768 : w,
				seed++,
			]),
		),
	);
}

/** The command, from start to a written file. */
function resizeCommand(folder) {
	const [input, output] = ['wide', 'narrow'].map((name) => path.join(folder, `${name}.safetensors`));
	const bytes = writeSet(input);
	const times = [];
	for (let run = 0; run < 5; run++) {
		const [took, { status, stdout, stderr }] = timed(() =>
			spawnSync(process.execPath, [LORA, 'resize', input, output, '--rank', String(KEPT), '--force', '--json'], { encoding: 'utf8' }),
		);
		if (status !== 0) throw new Error(`lora resize: ${stderr}`);
		if (JSON.parse(stdout).counts.resized !== 128) throw new Error('not all modules were resized');
		times.push(took);
	}
	return { bytes, time: Math.min(...times) };
}

const ms = (x, width) => `${x.toFixed(2)} ms`.padStart(width + 3);

if (isMainThread) await main();
else await worker();
