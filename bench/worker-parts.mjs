/** What our sides of the torch benches share: the UNet's configuration and weights, numbers by seed, memory, the command loop. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openStateDict } from '../packages/format/dist/index.js';
import { openFileSource } from '../packages/format/dist/io/index.js';
import { parseUnetConfig } from '../packages/runtime/dist/index.js';

/** runwayml/stable-diffusion-v1-5's unet/config.json, as far as it says anything. */
const SD15 = {
	_class_name: 'UNet2DConditionModel',
	attention_head_dim: 8,
	cross_attention_dim: 768,
	norm_eps: 1e-5,
	sample_size: 64,
};

/** @param {string} file a UNet in diffusers' names */
export async function openUnet(file) {
	const state = await openStateDict(await openFileSource(file));
	const locate = (component, name) => {
		const tensor = component === 'unet' ? state.tensors.get(name) : undefined;
		return tensor === undefined ? undefined : { file, name, tensor, shape: tensor.shape };
	};
	const weights = { locate, shape: (c, n) => locate(c, n)?.shape, names: () => state.tensors.keys() };
	return { config: parseUnetConfig(SD15).config, state, weights };
}

/** Resident memory in MiB: `VmHWM` the most there was, `VmRSS` now. */
export const memory = (key) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;

export function normals(count, seed) {
	let s = seed >>> 0;
	const next = () => {
		s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
		return (s + 0.5) / 2 ** 32;
	};
	return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

/** One JSON line for each command line `[name, ...arguments]`, until there are no more. */
export async function answerLines(commands) {
	for await (const line of createInterface({ input: process.stdin })) {
		const [command, ...args] = JSON.parse(line);
		const began = performance.now();
		const cpu = process.cpuUsage();
		const extra = (await commands[command](...args)) ?? {};
		const used = process.cpuUsage(cpu);
		const figures = { ms: performance.now() - began, user: used.user / 1000, system: used.system / 1000 };
		console.log(JSON.stringify({ ...figures, peak: memory('VmHWM'), now: memory('VmRSS'), ...extra }));
	}
	process.exit(0);
}
