import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collectMaps, localBlend, placeLayers, promptToPrompt } from '../../src/attention/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { type Base, createTorchGenerator, generate, type StableDiffusion } from '../../src/index.js';
import { encodePrompts } from '../../src/pipeline/encode-prompts.js';
import { apart, recordedTensors, shapesModel, shapesTokenizer, tensor } from './p2p-fixture.js';

/** What diffusers' LocalBlend gave: fixtures/runtime/make_p2p_pictures.py. */
const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures/runtime');

interface BlendRun {
	prompts: [string, string];
	steps: number;
	size: number;
	refine?: boolean;
	words?: [string[], string[]];
	start?: number;
	threshold?: number;
	f32_vs_f64?: number;
	/** Share of the edit's latents that are the source's after each blend. */
	source_share?: number[];
}
const { settings, runs } = JSON.parse(readFileSync(path.join(FOLDER, 'p2p-pictures.json'), 'utf8')) as {
	settings: { guidance: number; seed: number; cross: number; self: number };
	runs: Record<string, BlendRun>;
};
const tensors = recordedTensors('p2p-blend.safetensors');
const tokenizer = shapesTokenizer();

let base: Base;
let model: StableDiffusion;
beforeAll(async () => {
	({ base, model } = await shapesModel(await createOnnxEngine()));
});
afterAll(async () => {
	await model.close();
	await base.close();
});

function controls({ prompts, size, refine, words, start, threshold }: BlendRun) {
	const over = promptToPrompt({
		tokenizer,
		source: prompts[0],
		edits: [{ kind: refine === true ? 'refine' : 'replace', prompt: prompts[1], cross: settings.cross, self: settings.self }],
	});
	const layers = new Set(placeLayers(base.unet, [size / 8, size / 8]).map((layer) => layer.path));
	const maps = collectMaps(base.unet, { pictures: 2, layers: (layer) => layers.has(layer), over });
	return { maps, blend: localBlend(maps, { tokenizer, prompts, words: words ?? [], threshold, start }) };
}

describe('the local blend', () => {
	it.each(['blend', 'blend-later'])("gives the latents of diffusers' LocalBlend: %s", async (name) => {
		const run = runs[name] as BlendRun;
		const { prompts, steps, size, f32_vs_f64 = 0 } = run;
		const { maps, blend } = controls(run);
		const loop = generate(model, {
			prompt: await encodePrompts(model, prompts, undefined, { height: size, width: size }),
			scheduler: 'dpmsolver++',
			steps,
			guidance: settings.guidance,
			height: size,
			width: size,
			count: 2,
			generators: prompts.map(() => createTorchGenerator(settings.seed)),
			control: blend,
		});
		let next = await loop.next();
		let latents = new Float32Array();
		for (; next.done !== true; next = await loop.next()) latents = new Float32Array(next.value.latents);
		expect(maps.seenCalls).toBe(steps);
		// The bar of the reference set: the larger of 5e-4 and 3 times what float32 itself is off.
		expect(apart(latents, tensor(tensors, `${name}/latents`).data)).toBeLessThanOrEqual(Math.max(5e-4, 3 * f32_vs_f64));
		// The source in some places and not in others, as many as there.
		const half = latents.length / 2;
		const share = latents.subarray(half).filter((x, i) => x === latents[i]).length / half;
		expect(share).toBeGreaterThan(0.05);
		expect(share).toBeLessThan(0.95);
		expect(share).toBeCloseTo(run.source_share?.at(-1) ?? 0, 3);
	});

	it('leaves everything alone before its start', () => {
		const { maps } = controls(runs['blend'] as BlendRun);
		const { prompts } = runs['blend'] as BlendRun;
		const blend = localBlend(maps, { tokenizer, prompts, words: [['circle'], ['square']], start: 0.5 });
		const latents = new Float32Array(8);
		// Before the first call there are no maps, which it would need.
		for (const call of [0, 1]) expect(blend.blend?.(call, 4, latents, [2, 1, 2, 2])).toBe(latents);
		expect(() => blend.blend?.(2, 4, latents, [2, 1, 2, 2])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});

	it.each([
		['a prompt without a word', { words: [['circle'], []] }],
		['a word that the prompt has not', { words: [['circle'], ['circle']] }],
		['a threshold that nothing is above', { threshold: 1 }],
		['a start that is no share', { start: Number.NaN }],
	])('refuses %s', (_, change) => {
		const { maps } = controls(runs['blend'] as BlendRun);
		const { prompts } = runs['blend'] as BlendRun;
		expect(() => localBlend(maps, { tokenizer, prompts, words: [['circle'], ['square']], ...change })).toThrow(
			expect.objectContaining({ code: 'E_USAGE' }),
		);
	});
});

describe('placeLayers', () => {
	it.each([
		[
			[64, 64],
			['down_blocks.2', 'up_blocks.1'],
		],
		[
			[20, 20],
			['down_blocks.1', 'up_blocks.2'],
		],
		[
			[8, 8],
			['down_blocks.0', 'up_blocks.3'],
		],
		[
			[4, 4],
			['down_blocks.0', 'up_blocks.3'],
		],
	] as const)('of latents of %j: %j', (latents, blocks) => {
		const found = placeLayers(base.unet, latents).map((layer) => layer.path.split('.').slice(0, 2).join('.'));
		expect([...new Set(found)]).toEqual(blocks);
		expect(found).toHaveLength(5);
	});
});
