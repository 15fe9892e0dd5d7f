/**
 * Our side of `bench/training-torch.mjs`: training steps on one UNet, one answer line for each command line.
 * node bench/training-worker.mjs UNET.safetensors
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openStateDict } from '../packages/format/dist/index.js';
import { openFileSource } from '../packages/format/dist/io/index.js';
import { createOnnxEngine } from '../packages/runtime/dist/engines/onnx/index.js';
import { f32Tensor, noiseSchedule, parseUnetConfig } from '../packages/runtime/dist/index.js';
import { createTrainingModel, engineGradients, initialTensors, modulesOf, targetModules } from '../packages/trainer/dist/index.js';

const [unetFile] = process.argv.slice(2);
/** runwayml/stable-diffusion-v1-5's unet/config.json, as far as it says anything. */
const SD15 = {
	_class_name: 'UNet2DConditionModel',
	attention_head_dim: 8,
	cross_attention_dim: 768,
	norm_eps: 1e-5,
	sample_size: 64,
};
const { config: unet } = parseUnetConfig(SD15);
const state = await openStateDict(await openFileSource(unetFile));
const locate = (component, name) => {
	const tensor = component === 'unet' ? state.tensors.get(name) : undefined;
	return tensor === undefined ? undefined : { file: unetFile, name, tensor, shape: tensor.shape };
};
const weights = { locate, shape: (c, n) => locate(c, n)?.shape, names: () => state.tensors.keys() };
const engine = engineGradients(await createOnnxEngine(JSON.parse(process.env.BENCH_ONNX ?? '{}')));
const modules = targetModules(modulesOf({ unet, textEncoders: [] }), { rank: 4, unet: 'attention' });
const tensors = await initialTensors(modules, { seed: 0 }, { read: async () => new Float32Array(0), stored: () => undefined });
const schedule = noiseSchedule({ beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', num_train_timesteps: 1000 });
let model;
let batch;

const memory = (key) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

function normals(count, seed) {
	let s = seed >>> 0;
	const next = () => {
		s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
		return (s + 0.5) / 2 ** 32;
	};
	return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

const COMMANDS = {
	async load(pixels, count, kind) {
		await model?.close();
		model = createTrainingModel({ unet, weights, engine, modules, tensors, prediction: 'epsilon', schedule, memory: kind });
		const side = pixels / 8;
		batch = {
			latents: f32Tensor([count, 4, side, side], normals(count * 4 * side * side, 1)),
			noise: f32Tensor([count, 4, side, side], normals(count * 4 * side * side, 3)),
			timesteps: new Array(count).fill(501),
			text: { states: f32Tensor([count, 77, 768], normals(count * 77 * 768, 2)) },
			weights: new Array(count).fill(1 / count),
		};
	},
	async step() {
		const { loss, gradients } = await model.gradients(batch);
		let sum = 0;
		for (const g of gradients.values()) for (const x of g) sum += x * x;
		return { loss, norm: Math.sqrt(sum) };
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const [command, ...args] = JSON.parse(line);
	const began = performance.now();
	const cpu = process.cpuUsage();
	const extra = (await COMMANDS[command](...args)) ?? {};
	const used = process.cpuUsage(cpu);
	console.log(
		JSON.stringify({
			ms: performance.now() - began,
			user: used.user / 1000,
			system: used.system / 1000,
			peak: memory('VmHWM'),
			now: memory('VmRSS'),
			...extra,
		}),
	);
}
process.exit(0);
