import fs from 'node:fs';
import path from 'node:path';
import { f32, safetensors, type TestTensor } from './cli.js';

/** A path of SD1's UNet that takes (8, 8) here. */
export const ATTN: string = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_';

/** binary16 of a number that it can hold exactly. */
export function half(value: number): number {
	if (value === 0) return Object.is(value, -0) ? 0x8000 : 0;
	const sign = value < 0 ? 0x8000 : 0;
	const exponent = Math.floor(Math.log2(Math.abs(value)));
	const mantissa = (Math.abs(value) / 2 ** exponent - 1) * 1024;
	if (!Number.isInteger(mantissa) || exponent < -14 || exponent > 15) throw new Error(`${value} is no normal binary16`);
	return sign | ((exponent + 15) << 10) | mantissa;
}

/** Little-endian F16 of numbers that it can hold. */
export function f16(shape: readonly number[], values: (i: number) => number): TestTensor {
	const n = shape.reduce((product, d) => product * d, 1);
	const data = Buffer.alloc(2 * n);
	for (let i = 0; i < n; i++) data.writeUInt16LE(half(values(i)), 2 * i);
	return { dtype: 'F16', shape, data };
}

/** Any bit patterns of a dtype, the same on every machine; no NaN and no Inf. */
export function noise(dtype: 'F16' | 'BF16' | 'F32', shape: readonly number[], seed: number): TestTensor {
	const n = shape.reduce((product, d) => product * d, 1);
	const data = Buffer.alloc((dtype === 'F32' ? 4 : 2) * n);
	let state = seed;
	const random = (): number => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32;
	};
	for (let i = 0; i < n; i++) {
		const sign = random() < 0.5 ? -1 : 1;
		if (dtype === 'F32') data.writeFloatLE(sign * 2 ** (-6 * random()) * random() ** 3, 4 * i);
		else data.writeUInt16LE(Math.floor(random() * (dtype === 'F16' ? 0x3c00 : 0x3f80)) | (sign < 0 ? 0x8000 : 0), 2 * i);
	}
	return { dtype, shape, data };
}

/** to_q and to_v of one block, and a norm that nothing touches: numbers on a grid of 1/64. */
export function unetTensors(
	make: (shape: readonly number[], values: (i: number) => number) => TestTensor = f16,
): Record<string, TestTensor> {
	return {
		[`${ATTN}q.weight`]: make([8, 8], (i) => (i - 30) / 64),
		[`${ATTN}v.weight`]: make([8, 8], (i) => (i % 7) / 64),
		'mid_block.attentions.0.transformer_blocks.0.norm1.weight': make([8], (i) => 1 + i / 64),
	};
}

/** A rank-1 adapter for to_q in diffusers' names: delta[i][j] = up[i] * down[j]. */
export function adapter(up: (i: number) => number, down: (j: number) => number, leaves: readonly string[] = ['q']): Buffer {
	const tensors: Record<string, TestTensor> = {};
	for (const leaf of leaves) {
		tensors[`unet.${ATTN}${leaf}.lora_A.weight`] = f32([1, 8], down);
		tensors[`unet.${ATTN}${leaf}.lora_B.weight`] = f32([8, 1], up);
	}
	return safetensors(tensors);
}

/** A diffusers folder with a UNet, and files that nothing touches. */
export function folderBase(folder: string, unet: Readonly<Record<string, Buffer>> = {}): string {
	const put = (name: string, bytes: Uint8Array | string): void => {
		const file = path.join(folder, name);
		fs.mkdirSync(path.dirname(file), { recursive: true });
		fs.writeFileSync(file, bytes);
	};
	put('model_index.json', '{"_class_name": "StableDiffusionPipeline"}');
	put('scheduler/scheduler_config.json', '{}');
	put('tokenizer/vocab.json', '{"a": 0}');
	put('vae/diffusion_pytorch_model.safetensors', safetensors({ 'conv_in.weight': f32([1, 1], () => 1) }));
	const files =
		Object.keys(unet).length > 0 ? unet : { 'diffusion_pytorch_model.safetensors': safetensors(unetTensors(), { format: 'pt' }) };
	for (const [name, bytes] of Object.entries(files)) put(`unet/${name}`, bytes);
	return folder;
}

/** Every file below a folder with its content. */
export function tree(folder: string): Record<string, string> {
	const out: Record<string, string> = {};
	for (const name of fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
		const file = path.join(folder, name);
		if (fs.statSync(file).isFile()) out[name] = fs.readFileSync(file).toString('base64');
	}
	return out;
}
