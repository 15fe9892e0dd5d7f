import { describe, expect, it } from 'vitest';
import { parseUnetConfig } from '../../src/base/unet-config.js';
import { type Component, createScheduler, denoise, f32Tensor, type HostTensor } from '../../src/index.js';

/** A UNet that predicts nothing and remembers what it was told. */
function listening(): { readonly unet: Component; readonly heard: Readonly<Record<string, HostTensor>>[] } {
	const heard: Readonly<Record<string, HostTensor>>[] = [];
	const unet: Component = {
		adapt() {},
		prepare: () => Promise.reject(new Error('not asked for')),
		async release() {},
		async run(_key, _record, feeds) {
			heard.push(feeds);
			const { shape = [], data } = feeds['sample'] ?? {};
			return { sample: f32Tensor(shape, new Float32Array(data?.length ?? 0)) };
		},
	};
	return { unet, heard };
}

async function steps(config: object, guidance: number): Promise<Readonly<Record<string, HostTensor>>[]> {
	const { unet, heard } = listening();
	const states = (guided: boolean): HostTensor => f32Tensor([guided ? 4 : 2, 3, 8], new Float32Array(guided ? 96 : 48));
	const loop = denoise(unet, {
		config: parseUnetConfig({ cross_attention_dim: 8, block_out_channels: [32, 32], ...BLOCKS, ...config }).config,
		scheduler: createScheduler('lcm', {}, 2),
		latents: new Float32Array(2 * 4 * 4),
		shape: [2, 4, 2, 2],
		conditioning: { states },
		guidance,
		noise: () => new Float32Array(32),
	});
	for await (const step of loop) expect(step.calls).toBe(2);
	return heard;
}
const BLOCKS = { down_block_types: ['DownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'UpBlock2D'] };

/** diffusers pipelines/stable_diffusion/pipeline_stable_diffusion.py: do_classifier_free_guidance, get_guidance_scale_embedding. */
describe('denoise', () => {
	it.each([
		[8.5, 4],
		[1.0001, 4],
		[1, 2],
		[0, 2],
	])('guidance %d of two pictures runs %d rows', async (guidance, rows) => {
		for (const feeds of await steps({}, guidance)) {
			expect(feeds['sample']?.shape).toEqual([rows, 4, 2, 2]);
			expect(feeds['encoder_hidden_states']?.shape[0]).toBe(rows);
			expect(feeds['timestep_cond']).toBeUndefined();
		}
	});

	it('a UNet with time_cond_proj_dim is told the guidance and runs the text half alone', async () => {
		const heard = await steps({ time_cond_proj_dim: 6 }, 8.5);
		expect(heard).toHaveLength(2);
		for (const feeds of heard) {
			expect(feeds['sample']?.shape).toEqual([2, 4, 2, 2]);
			expect(feeds['encoder_hidden_states']?.shape).toEqual([2, 3, 8]);
			const condition = feeds['timestep_cond'];
			expect(condition?.shape).toEqual([2, 6]);
			const angles = [0, 1, 2].map((i) => 7500 * Math.exp((-Math.log(10_000) * i) / 2));
			const want = [...angles.map(Math.sin), ...angles.map(Math.cos)];
			// Angles up to 7500 in float32, which is right to 2.5e-4 there; torch's are no better.
			for (const [i, value] of [...want, ...want].entries()) expect(Math.abs((condition?.data[i] ?? 9) - value)).toBeLessThan(1e-3);
		}
	});
});
