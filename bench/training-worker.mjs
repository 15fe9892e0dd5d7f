/**
 * Our side of `bench/training-torch.mjs`: training steps on one UNet, one answer line for each command line.
 * node bench/training-worker.mjs UNET.safetensors
 */
import { createOnnxEngine } from '../packages/runtime/dist/engines/onnx/index.js';
import { f32Tensor, noiseSchedule } from '../packages/runtime/dist/index.js';
import { createTrainingModel, engineGradients, initialTensors, modulesOf, targetModules } from '../packages/trainer/dist/index.js';
import { answerLines, normals, openUnet } from './worker-parts.mjs';

const [unetFile] = process.argv.slice(2);
const { config: unet, weights } = await openUnet(unetFile);
const engine = engineGradients(await createOnnxEngine());
const modules = targetModules(modulesOf({ unet, textEncoders: [] }), { rank: 4, unet: 'attention' });
const tensors = await initialTensors(modules, { seed: 0 }, { read: async () => new Float32Array(0), stored: () => undefined });
const schedule = noiseSchedule({ beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear', num_train_timesteps: 1000 });
let model;
let batch;

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

await answerLines(COMMANDS);
