/**
 * Our side of `bench/runtime-torch.mjs`: one UNet on the ONNX engine, one answer line for each command line.
 * node bench/runtime-worker.mjs UNET.safetensors LORA.safetensors
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { baseModel, decodeAdapter, loadInput, openStateDict, planTerms } from '../packages/format/dist/index.js';
import { openFileSource } from '../packages/format/dist/io/index.js';
import { createOnnxEngine } from '../packages/runtime/dist/engines/onnx/index.js';
import {
	adapterFeeds,
	createComponent,
	f32Tensor,
	NO_ADAPTERS,
	parseUnetConfig,
	plainEverywhere,
	timestepFeatures,
	unetGraph,
} from '../packages/runtime/dist/index.js';

const [unetFile, loraFile] = process.argv.slice(2);
/** runwayml/stable-diffusion-v1-5's unet/config.json, as far as it says anything. */
export const SD15 = {
	_class_name: 'UNet2DConditionModel',
	attention_head_dim: 8,
	cross_attention_dim: 768,
	norm_eps: 1e-5,
	sample_size: 64,
};
const { config } = parseUnetConfig(SD15);
const state = await openStateDict(await openFileSource(unetFile));
const locate = (component, name) => {
	const tensor = component === 'unet' ? state.tensors.get(name) : undefined;
	return tensor === undefined ? undefined : { file: unetFile, name, tensor, shape: tensor.shape };
};
const weights = { locate, shape: (c, n) => locate(c, n)?.shape, names: () => state.tensors.keys() };
const model = baseModel([{ path: 'unet/model.safetensors', component: 'unet', state }], 'folder', 'base', { configs: new Map() });
const engine = await createOnnxEngine();
const component = createComponent('unet', engine, weights);
let feeds;
let shape;
let key = '';
let record;

const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

function normals(count, seed) {
	let s = seed >>> 0;
	const next = () => {
		s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
		return (s + 0.5) / 2 ** 32;
	};
	return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

const COMMANDS = {
	async load(pixels, batch, plain) {
		await component.release();
		const side = pixels / 8;
		shape = { batch, height: side, width: side, tokens: 77 };
		key = `${pixels} ${batch} ${plain}`;
		record = (forms) => unetGraph(config, shape, { forms: plain ? plainEverywhere : forms });
		feeds = {
			sample: f32Tensor([batch, 4, side, side], normals(batch * 4 * side * side, 1)),
			time_features: f32Tensor([batch, 320], timestepFeatures(new Float64Array(batch).fill(501), 320, config)),
			encoder_hidden_states: f32Tensor([batch, 77, 768], normals(batch * 77 * 768, 2)),
		};
		await component.prepare(key, record);
	},
	async step() {
		const { sample } = await component.run(key, record, feeds);
		return { sum: sample.data.reduce((a, b) => a + Math.abs(b), 0) };
	},
	async attach(count, scale = 1) {
		if (count === 0) return void component.adapt(NO_ADAPTERS);
		const input = await loadInput({ main: await openFileSource(loraFile) });
		const { adapter } = decodeAdapter(input);
		const uses = Array.from({ length: count }, (_, i) => ({
			adapter,
			name: `${i}`,
			strength: { scale, components: new Map(), blocks: undefined },
		}));
		component.adapt(await adapterFeeds(await planTerms(model, uses), new Set(['unet'])));
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const [command, ...args] = JSON.parse(line);
	const began = performance.now();
	const extra = (await COMMANDS[command](...args)) ?? {};
	console.log(JSON.stringify({ ms: performance.now() - began, peak: peak(), ...extra }));
}
process.exit(0);
