import path from 'node:path';
import { decodeAdapter, loadInput } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { conditionOn, createScheduler, createStableDiffusion, denoise, type StableDiffusion, schedulerConfigFor } from '../../src/index.js';
import { openBase } from '../../src/io/open-base.js';
import { apart, FIXTURES, recorded } from '../fixtures.js';

const want = recorded('sdxl-adapter.safetensors');
const data = (name: string): Float64Array => want.get(name)?.data ?? new Float64Array();

/** diffusers 0.40-dev and PEFT over a tiny SDXL: fixtures/runtime/make_sdxl_adapter.py. */
describe.each([
	['onnx', () => createOnnxEngine()],
	['float64', async () => createFloat64Engine()],
] as const)('SDXL with an adapter in both text encoders and the UNet, on %s', (_, makeEngine) => {
	let model: StableDiffusion;
	beforeAll(async () => {
		const base = await openBase(path.join(FIXTURES, 'tiny-sdxl-weights'));
		model = createStableDiffusion(base, await makeEngine(), { tokenizers: [] });
		const input = await loadInput({ main: await openSource(path.join(FIXTURES, 'adapters/sdxl-peft.safetensors')) });
		await model.setAdapters([{ ...decodeAdapter(input), name: 'a', strength: { scale: 0.7, components: new Map(), blocks: undefined } }]);
	});
	afterAll(() => model.close());

	it('gives the states, the pooled states and four steps of diffusers', async () => {
		const ids = (row: number): Int32Array[] =>
			['ids', 'ids_2'].map((name) => Int32Array.from(data(name).subarray(77 * row, 77 * (row + 1))));
		const [text, negative] = [await model.encodeIds(ids(0)), await model.encodeIds(ids(1))];
		const conditioning = conditionOn(model.base, text, negative, { count: 1, height: 64, width: 64 });
		const states = conditioning.states(true).data;
		const half = states.length / 2;
		// Single forwards: the bar of the reference sets.
		expect(apart(states.subarray(half), data('states').subarray(0, half))).toBeLessThan(3e-5);
		expect(apart(states.subarray(0, half), data('states').subarray(half))).toBeLessThan(3e-5);
		expect(apart(text[1]?.pooled.data ?? [], data('pooled').subarray(0, 4))).toBeLessThan(3e-5);
		const scheduler = createScheduler('euler', schedulerConfigFor('euler', model.base.scheduler.config), 4);
		const loop = denoise(model.unet, {
			config: model.base.unet,
			scheduler,
			latents: Float32Array.from(data('start'), (x) => x * Math.fround(scheduler.initNoiseSigma)),
			shape: [1, 4, 8, 8],
			conditioning,
			guidance: 5,
		});
		const latents = data('latents');
		const largest = latents.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
		let call = 0;
		for await (const step of loop) {
			// Latents reach 31 where the sets' bar of 5e-4 stands for latents near 1.
			expect(apart(step.latents, latents.subarray(256 * call, 256 * (call + 1)))).toBeLessThan(5e-4 * Math.max(1, largest / 10));
			call++;
		}
		expect(call).toBe(4);
	});
});
