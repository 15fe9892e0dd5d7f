// A base model made up for the examples of docs/cli.md: the modules that given adapters target, with values by a fixed formula.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = join(dirname(fileURLToPath(import.meta.url)), '../../packages/format/dist');
const { bytesTensor, decodeAdapter, loadInput, safetensorsBytes } = await import(join(DIST, 'index.js'));
const { openSource } = await import(join(DIST, 'io/index.js'));

/** Write FOLDER/unet and FOLDER/text_encoder with an F16 weight for every LoRA module of the adapters. */
export async function makeBase(folder, adapters) {
	const components = new Map();
	for (const file of adapters) {
		const source = await openSource(file);
		const { adapter } = decodeAdapter(await loadInput({ main: source }));
		for (const { component, path, factors } of adapter.modules) {
			const shape = [factors.up.shape[0], ...factors.down.shape.slice(1)];
			const tensors = components.get(component) ?? new Map();
			tensors.set(
				`${path}.weight`,
				bytesTensor(
					'F16',
					shape,
					halves(
						shape.reduce((a, b) => a * b, 1),
						tensors.size,
					),
				),
			);
			components.set(component, tensors);
		}
		await source.close();
	}
	writeFileSync(ensure(join(folder, 'model_index.json')), '{"_class_name": "StableDiffusionPipeline"}\n');
	for (const [component, tensors] of components) {
		const name = component === 'unet' ? 'diffusion_pytorch_model.safetensors' : 'model.safetensors';
		writeFileSync(ensure(join(folder, component, name)), await safetensorsBytes(tensors, new Map([['format', 'pt']])));
	}
}

/** Bit patterns of binary16 between 2^-5 and 2^-2, both signs: a linear congruence, high bits. */
function halves(count, seed) {
	const out = new Uint16Array(count);
	let x = seed + 1;
	for (let i = 0; i < count; i++) {
		x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
		out[i] = ((x >>> 31) << 15) | ((10 + ((x >>> 29) % 3)) << 10) | ((x >>> 15) & 0x3ff);
	}
	return new Uint8Array(out.buffer);
}

function ensure(file) {
	mkdirSync(dirname(file), { recursive: true });
	return file;
}
