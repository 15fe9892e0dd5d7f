/**
 * `node bench/real-run.mjs`: one picture of 512 px, 20 steps of DPM-Solver++, guidance 7.5, with an adapter of rank 8, by
 * `lora generate` over a whole base of Stable Diffusion 1.5's sizes (synthetic weights by seed, fp16, 2.1 GB): wall time, peak
 * memory. The tokenizer is tiny-shapes'. Environment: BENCH_DIR (3 GB free), BENCH_STEPS, BENCH_SIZE, BENCH_DTYPE.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
	parseTextEncoderConfig,
	parseVaeConfig,
	textEncoderGraph,
	vaeDecoderGraph,
	vaeEncoderGraph,
} from '../packages/runtime/dist/index.js';
import { makeUnet, makeUnetLora, write } from './make-unet.mjs';

const [dtype, steps, size] = [process.env.BENCH_DTYPE ?? 'F16', process.env.BENCH_STEPS ?? '20', process.env.BENCH_SIZE ?? '512x512'];
const folder = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'lorakit-sd15-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const fixtures = path.join(import.meta.dirname, '../fixtures/runtime/tiny-shapes');
const at = (...parts) => path.join(folder, ...parts);

const CONFIGS = {
	unet: { _class_name: 'UNet2DConditionModel', attention_head_dim: 8, cross_attention_dim: 768, sample_size: 64 },
	vae: {
		_class_name: 'AutoencoderKL',
		block_out_channels: [128, 256, 512, 512],
		down_block_types: Array(4).fill('DownEncoderBlock2D'),
		up_block_types: Array(4).fill('UpDecoderBlock2D'),
		layers_per_block: 2,
		latent_channels: 4,
		scaling_factor: 0.18215,
	},
	text_encoder: {
		architectures: ['CLIPTextModel'],
		model_type: 'clip_text_model',
		hidden_size: 768,
		intermediate_size: 3072,
		num_attention_heads: 12,
		num_hidden_layers: 12,
		vocab_size: 49408,
		eos_token_id: 1987,
	},
};

/** Names and shapes of a component, as its graph asks for them. */
function shapesOf(component, ...graphs) {
	const shapes = new Map();
	for (const { parameters, values } of graphs)
		for (const { name, value } of parameters) shapes.set(name.slice(component.length + 1), values[value].shape);
	return shapes;
}

for (const [component, config] of Object.entries(CONFIGS)) {
	fs.mkdirSync(at(component));
	fs.writeFileSync(at(component, 'config.json'), JSON.stringify(config));
}
makeUnet(at('unet', 'diffusion_pytorch_model.safetensors'), { dtype });
const { config: vae } = parseVaeConfig(CONFIGS.vae);
const picture = { batch: 1, height: 64, width: 64 };
const deviation = () => 0.02;
const vaeShapes = shapesOf('vae', vaeEncoderGraph(vae, picture), vaeDecoderGraph(vae, { ...picture, height: 8, width: 8 }));
write(at('vae', 'diffusion_pytorch_model.safetensors'), vaeShapes, dtype, deviation, 3);
const text = parseTextEncoderConfig(CONFIGS.text_encoder, 'text_encoder', false);
write(
	at('text_encoder', 'model.safetensors'),
	shapesOf('text_encoder', textEncoderGraph('text_encoder', text, { batch: 1, tokens: 77 })),
	dtype,
	deviation,
	4,
);
for (const part of ['scheduler', 'tokenizer']) fs.cpSync(path.join(fixtures, part), at(part), { recursive: true });
fs.copyFileSync(path.join(fixtures, 'model_index.json'), at('model_index.json'));
makeUnetLora(at('lora.safetensors'));

const lora = path.join(import.meta.dirname, '../packages/cli/bin/lora.js');
const run = spawnSync(
	'/usr/bin/time',
	[
		'-f',
		'%e s wall, %U s user, %M KB peak',
		process.execPath,
		lora,
		'generate',
		'--base',
		folder,
		'--lora',
		`${at('lora.safetensors')}@0.8`,
		'--prompt',
		'a red circle',
		'--seed',
		'1',
		'--steps',
		steps,
		'--size',
		size,
		'--out',
		at('out.png'),
	],
	{ encoding: 'utf8' },
);
process.stdout.write(run.stdout + run.stderr);
console.log(
	`${dtype}, ${size}, ${steps} steps, guidance 7.5; ${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, load ${os.loadavg()[0].toFixed(1)}`,
);
console.log(`picture ${fs.existsSync(at('out.png')) ? fs.statSync(at('out.png')).size : 0} bytes`);
process.exitCode = run.status ?? 1;
