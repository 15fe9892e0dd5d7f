/**
 * `node bench/read-path.mjs [DIST...]`: what reading costs once the header is in memory: detect, decode, inspect, cold
 * (the first call of a fresh process) and warm. Names are made here; the tensors are stand-ins without data. DIST
 * defaults to packages/format/dist; several builds are measured interleaved. RUNS=n fresh processes per figure, CPU=1
 * for processor time instead of wall time.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { median } from './stats.mjs';

const SELF = fileURLToPath(import.meta.url);
const CASES = { 'kohya-sdxl-2382': kohyaSdxl, 'kohya-sd15-792': kohyaSd15, 'diffusers-352': diffusers, 'cloneofsimo-pt-288': cloneofsimo };
const COLUMNS = ['import', 'cold all', 'cold detect', 'cold decode', 'cold inspect', 'warm detect', 'warm decode', 'warm all'];

function parent() {
	const runs = Number(process.env.RUNS ?? 7);
	const given = process.argv.slice(2);
	const dists = (given.length > 0 ? given : [path.join(path.dirname(SELF), '../packages/format/dist')]).map((d) => path.resolve(d));
	console.log(`node ${process.version}; median (least) of ${runs} fresh processes, ms; "all" is inspect(), which detects and decodes`);
	console.log(`${'case'.padEnd(20)} ${COLUMNS.map((h) => h.padStart(16)).join('')}`);
	for (const name of Object.keys(CASES)) {
		const rows = dists.map(() => []);
		for (let n = 0; n < runs; n++) {
			for (const [d, dist] of dists.entries()) rows[d].push({ ...run(dist, name, 'parts'), ...run(dist, name, 'all') });
		}
		for (const [d, dist] of dists.entries()) {
			const cells = COLUMNS.map((c) => rows[d].map((r) => r[c])).map((v) => `${median(v).toFixed(2)} (${Math.min(...v).toFixed(2)})`);
			console.log(`${name.padEnd(20)} ${cells.map((c) => c.padStart(16)).join('')}${dists.length > 1 ? `  ${dist}` : ''}`);
		}
	}
}

function run(dist, name, mode) {
	const { stdout, stderr, status } = spawnSync(process.execPath, [SELF], {
		env: { ...process.env, READ_PATH: JSON.stringify({ dist, name, mode }) },
		encoding: 'utf8',
	});
	if (status !== 0) throw new Error(stderr);
	return JSON.parse(stdout);
}

/** Every call gets an input of its own, so that nothing remembered of a file helps. */
async function child({ dist, name, mode }) {
	const began = now();
	const { inspect } = await import(pathToFileURL(path.join(dist, 'inspect.js')).href);
	const imported = now() - began;
	const { decodeAdapter, detectLayout } = await import(pathToFileURL(path.join(dist, 'detect.js')).href);
	const make = CASES[name];
	const cold = (work, input = make()) => {
		const start = now();
		work(input);
		return now() - start;
	};
	const warm = (work) => median(Array.from({ length: 60 }, () => cold(work)).slice(20));
	if (mode === 'all') {
		const first = cold(inspect);
		const { kind, errors } = inspect(make());
		if (kind !== 'lora' || errors.length > 0) throw new Error(`${name}: ${kind} ${JSON.stringify(errors)}`);
		console.log(JSON.stringify({ import: imported, 'cold all': first, 'warm all': warm(inspect) }));
	} else {
		const out = { 'cold detect': cold(detectLayout), 'cold decode': cold(decodeAdapter), 'cold inspect': cold(inspect) };
		console.log(JSON.stringify({ ...out, 'warm detect': warm(detectLayout), 'warm decode': warm(decodeAdapter) }));
	}
}

/** Wall time, or with CPU=1 processor time of all threads, which a busy machine disturbs less. */
function now() {
	if (process.env.CPU !== '1') return performance.now();
	const { user, system } = process.cpuUsage();
	return (user + system) / 1000;
}

function state(tensors, small, metadata, extra = {}) {
	const file = {
		container: 'safetensors',
		name: 'x.safetensors',
		tensors,
		metadata,
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small,
		smallComplete: true,
		warnings: [],
		...extra,
	};
	return { file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined };
}

function tensor(name, shape) {
	const nbytes = 2 * shape.reduce((a, b) => a * b, 1);
	return { dtype: 'F16', shape, nbytes, origin: name, derivation: undefined, range: undefined, read: async () => new Uint8Array(nbytes) };
}

/** A name as a reader makes it: a fresh flat string, not a rope and not seen before. */
function fresh(text) {
	return Buffer.from(text, 'latin1').toString('latin1');
}

function kohya(modules, metadata) {
	const tensors = new Map();
	const small = new Map();
	for (const [name, out, inn] of modules) {
		for (const [leaf, shape] of [
			['alpha', []],
			['lora_down.weight', [8, inn]],
			['lora_up.weight', [out, 8]],
		]) {
			const key = fresh(`${name}.${leaf}`);
			tensors.set(key, tensor(key, shape));
			if (leaf === 'alpha') small.set(key, [4]);
		}
	}
	return state(tensors, small, new Map(metadata));
}

function attention(block, width, context) {
	const rows = [];
	for (const [attn, inn] of [
		['attn1', width],
		['attn2', context],
	])
		for (const [leaf, i] of [
			['to_q', width],
			['to_k', inn],
			['to_v', inn],
			['to_out.0', width],
		])
			rows.push([`${block}.${attn}.${leaf}`, width, i]);
	return rows;
}

function feedForward(block, width) {
	return [
		[`${block}.ff.net.0.proj`, 8 * width, width],
		[`${block}.ff.net.2`, width, 4 * width],
	];
}

const flat = (prefix, rows) => rows.map(([name, ...widths]) => [`${prefix}_${name.replaceAll('.', '_')}`, ...widths]);

function clip(leaves = ['self_attn.k_proj', 'self_attn.out_proj', 'self_attn.q_proj', 'self_attn.v_proj', 'mlp.fc1', 'mlp.fc2']) {
	const rows = [];
	for (let n = 0; n < 12; n++)
		for (const leaf of leaves)
			rows.push([`text_model.encoder.layers.${n}.${leaf}`, leaf === 'mlp.fc1' ? 3072 : 768, leaf === 'mlp.fc2' ? 3072 : 768]);
	return rows;
}

function sdxlUnet() {
	const rows = [];
	const put = (at, width, depth) => {
		rows.push([`${at}.proj_in`, width, width], [`${at}.proj_out`, width, width]);
		for (let d = 0; d < depth; d++)
			rows.push(...attention(`${at}.transformer_blocks.${d}`, width, 2048), ...feedForward(`${at}.transformer_blocks.${d}`, width));
	};
	for (const n of [4, 5]) put(`input_blocks.${n}.1`, 640, 2);
	for (const n of [7, 8]) put(`input_blocks.${n}.1`, 1280, 10);
	put('middle_block.1', 1280, 10);
	for (const n of [0, 1, 2]) put(`output_blocks.${n}.1`, 1280, 10);
	for (const n of [3, 4, 5]) put(`output_blocks.${n}.1`, 640, 2);
	return rows;
}

const SD15 = [
	['down_blocks.0', 2, 320],
	['down_blocks.1', 2, 640],
	['down_blocks.2', 2, 1280],
	['up_blocks.1', 3, 1280],
	['up_blocks.2', 3, 640],
	['up_blocks.3', 3, 320],
	['mid_block', 1, 1280],
];

function sd15Unet(inside) {
	const rows = [];
	for (const [block, n, width] of SD15) for (let a = 0; a < n; a++) rows.push(...inside(`${block}.attentions.${a}`, width));
	return rows;
}

function sd15Full(at, width) {
	const block = `${at}.transformer_blocks.0`;
	return [[`${at}.proj_in`, width, width], ...attention(block, width, 768), ...feedForward(block, width), [`${at}.proj_out`, width, width]];
}

function kohyaSdxl() {
	const metadata = [
		['ss_network_dim', '8'],
		['ss_network_alpha', '4.0'],
		['ss_base_model_version', 'sdxl_base_v1-0'],
		['ss_network_module', 'networks.lora'],
	];
	return kohya([...flat('lora_unet', sdxlUnet()), ...flat('lora_te1', clip())], metadata);
}

function kohyaSd15() {
	return kohya(
		[...flat('lora_unet', sd15Unet(sd15Full)), ...flat('lora_te', clip())],
		[
			['ss_network_dim', '8'],
			['ss_network_alpha', '4.0'],
		],
	);
}

/** 128 attention projections of the UNet and 48 of the text encoder, as today's training scripts write them. */
function diffusers() {
	const tensors = new Map();
	const put = (key, shape) => tensors.set(fresh(key), tensor(key, shape));
	for (const [name, out, inn] of sd15Unet((at, width) => attention(`${at}.transformer_blocks.0`, width, 768))) {
		put(`unet.${name}.lora.down.weight`, [8, inn]);
		put(`unet.${name}.lora.up.weight`, [out, 8]);
	}
	for (const [name, out, inn] of clip(['self_attn.k_proj', 'self_attn.out_proj', 'self_attn.q_proj', 'self_attn.v_proj'])) {
		put(`text_encoder.${name}.lora_linear_layer.down.weight`, [8, inn]);
		put(`text_encoder.${name}.lora_linear_layer.up.weight`, [out, 8]);
	}
	const entry = {
		'unet.r': 8,
		'unet.lora_alpha': 8,
		'unet.target_modules': ['to_q', 'to_k', 'to_v', 'to_out.0'],
		'text_encoder.r': 8,
		'text_encoder.lora_alpha': 8,
	};
	return state(
		tensors,
		new Map(),
		new Map([
			['format', 'pt'],
			['lora_adapter_metadata', JSON.stringify(entry)],
		]),
	);
}

/** CrossAttention and GEGLU, 144 pairs, in diffusers' old order of the children: attn1, ff, attn2. */
function cloneofsimo() {
	const tensors = new Map();
	const rows = sd15Unet((at, width) => {
		const block = `${at}.transformer_blocks.0`;
		const [ff] = feedForward(block, width);
		const all = attention(block, width, 768);
		return [...all.slice(0, 4), ff, ...all.slice(4)];
	});
	for (const [, out, inn] of rows) {
		for (const shape of [
			[out, 4],
			[4, inn],
		])
			tensors.set(String(tensors.size), tensor(String(tensors.size), shape));
	}
	return state(tensors, new Map(), new Map(), { container: 'torch-zip', name: 'x.pt', top: 'list' });
}

if (process.env.READ_PATH !== undefined) await child(JSON.parse(process.env.READ_PATH));
else parent();
