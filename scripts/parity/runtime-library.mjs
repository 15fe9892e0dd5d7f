/** What the runtime's parity parts share: the built runtime, recorded tensors, bases and adapters of a reference set. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode } from 'fast-png';
import { openInput } from './inputs.mjs';
import { decodeAdapter } from './library.mjs';

const ROOT = new URL('../../packages/runtime/dist/', import.meta.url);
if (!existsSync(fileURLToPath(new URL('index.js', ROOT)))) {
	console.error('packages/runtime/dist is not there: run "npm run build" first.');
	process.exit(2);
}
const load = (name) => import(new URL(name, ROOT).href);

export const runtime = await load('index.js');
export const { openBase } = await load('io/index.js');
const { createClipTokenizer } = await load('tokenizer/index.js');

/** Engines that run here, by name. `PARITY_ENGINES` (default `onnx`) says which; float64 takes minutes for whole runs. */
export async function enginesOf(names = (process.env.PARITY_ENGINES ?? 'onnx').split(' ')) {
	const makers = {
		float64: async () => runtime.createFloat64Engine(),
		onnx: () => openOnnx(),
		'onnx-fp16': () => openOnnx({ precision: 'fp16' }),
		tfjs: async () => (await load('engines/tfjs/index.js')).createTfjsEngine(),
	};
	return Promise.all(names.map(async (name) => [name, await makers[name]()]));
}

/** ONNX Runtime on the CPU. */
export async function openOnnx(options) {
	return (await load('engines/onnx/index.js')).createOnnxEngine(options);
}

const READERS = {
	F32: (view, i) => view.getFloat32(4 * i, true),
	F64: (view, i) => view.getFloat64(8 * i, true),
	I64: (view, i) => Number(view.getBigInt64(8 * i, true)),
};

/** Recorded tensors by name, as numbers. Written here: the reader under test reads nothing of the expectations. @param {string} file */
export function recorded(file) {
	const bytes = readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
	const out = new Map();
	for (const [name, entry] of Object.entries(header)) {
		if (name === '__metadata__') continue;
		const [from, to] = entry.data_offsets;
		const view = new DataView(bytes.buffer, bytes.byteOffset + 8 + length + from, to - from);
		const count = entry.shape.reduce((a, b) => a * b, 1);
		const data = Float64Array.from({ length: count }, (_, i) => READERS[entry.dtype](view, i));
		out.set(name, { shape: entry.shape, data });
	}
	return out;
}

/** As an input of a graph. @param {{ shape: readonly number[], data: Float64Array }} tensor */
export const f32 = ({ shape, data }) => runtime.f32Tensor(shape, Float32Array.from(data));

/** Largest difference. */
export function apart(got, expected) {
	if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
	let most = 0;
	for (let i = 0; i < got.length; i++) {
		const d = Math.abs(got[i] - expected[i]);
		if (!(d <= most)) most = d;
	}
	return most;
}

/** Undefined when it holds; else the figure and its bar. */
export const within = (error, bar) => (error <= bar ? undefined : `${error.toExponential(2)} > ${bar.toExponential(1)}`);

/** A base of the set, and its tokenizers: vocabularies stand only in `tiny-sd`. @param {string} home the set @param {string} name */
export async function openModel(home, name) {
	const base = await openBase(path.join(home, 'base', name));
	const lent = (file) => readFileSync(path.join(home, 'base/tiny-sd/tokenizer', file), 'utf8');
	const tokenizers = base.tokenizers.map((t) =>
		createClipTokenizer({
			vocab: t.vocab ?? lent('vocab.json'),
			merges: t.merges ?? lent('merges.txt'),
			config: t.tokenizerConfig,
			specialTokens: t.specialTokensMap,
			addedTokens: t.addedTokens,
		}),
	);
	return { base, tokenizers };
}

/** An adapter at a strength. @param {string} file @param {number} scale */
export async function useOf(file, scale) {
	const input = await openInput(file);
	return {
		adapter: decodeAdapter(input).adapter,
		name: path.basename(file),
		strength: { scale, components: new Map(), blocks: undefined },
	};
}

/** Bytes (h, w, 3) of a PNG. @param {string} file */
export function pictureOf(file) {
	const { data, channels, width, height } = decode(readFileSync(file));
	if (channels === 3) return { data, width, height };
	const rgb = new Uint8Array(width * height * 3);
	for (let i = 0; i < width * height; i++) rgb.set(data.subarray(i * channels, i * channels + 3), 3 * i);
	return { data: rgb, width, height };
}

/** Mean absolute difference. */
export function meanApart(got, expected) {
	let sum = 0;
	for (let i = 0; i < got.length; i++) sum += Math.abs(got[i] - expected[i]);
	return sum / got.length;
}
