import fs from 'node:fs';
import path from 'node:path';
import { writePlannedFile } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import { planResult } from '../../src/result/plan-result.js';
import { trainedAdapter } from '../../src/result/trained-adapter.js';
import { parseRunConfig } from '../../src/run/config/parse-run-config.js';
import type { Objective } from '../../src/run/config/run-config.js';
import { applyNormPrior } from '../../src/run/norm-prior.js';
import { runPhases } from '../../src/run/phases.js';
import { planRun } from '../../src/run/plan/plan-run.js';
import { planText } from '../../src/run/plan/plan-text.js';
import { scheduleIndexOf } from '../../src/run/step-rule.js';

const TOKEN = { token: { placeholder_token: '<s>', initializer_token: 'circle' } };
const config = (document: Readonly<Record<string, unknown>>, objective: Objective = 'text-to-image') =>
	parseRunConfig({ base: 'sd', data: { path: 'p' }, ...document }, objective, { name: 'run.yaml' });

const PATH = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_q';
const tensors = [
	{ name: `unet.${PATH}:down`, group: 'unet', shape: [4, 64], values: new Float32Array(256) },
	{ name: `unet.${PATH}:up`, group: 'unet', shape: [64, 4], values: new Float32Array(256) },
] as const;
const description = { name: 'x', architecture: 'sd1', modules: [{ component: 'unet', path: PATH, rank: 4, alpha: 4 }] } as const;

describe('the plan of a run', () => {
	it('has the exact size of the file that is written', async () => {
		const plan = planRun({
			config: config({
				train: { max_train_steps: 10, gradient_accumulation_steps: 2, train_batch_size: 3 },
				checkpoints: { every: 4, keep: 2 },
			}),
			objective: 'text-to-image',
			tensors,
			description,
			result: { layout: 'diffusers' },
			pictures: { train: 9, classes: 0, heldOut: 1 },
			batchesPerEpoch: 3,
			trainTimesteps: 1000,
			measured: { seconds: 1.5, peak: 1000 },
		});
		for (const dtype of ['F32', 'F16'] as const) {
			const [file] = planResult(trainedAdapter(tensors, description), { layout: 'diffusers', dtype }).files;
			if (file === undefined || typeof file.content === 'string') throw new Error('no file');
			let bytes = 0;
			await writePlannedFile(file.content, {
				write(piece) {
					bytes += piece.byteLength;
				},
			});
			expect(plan.files[dtype].bytes).toBe(bytes);
		}
		expect(plan.parameters).toEqual({ unet: 512, total: 512 });
		expect(plan.phases).toEqual([
			{ name: 'training', optimizerSteps: 10, microBatches: 20, epochs: 5, stepsPerEpoch: 2, rates: { unet: 1e-4 }, picturesPerStep: 6 },
		]);
		expect(plan.checkpoints).toMatchObject({ count: 3, kept: 2 });
		expect(plan.seconds).toBe(30);
		expect(plan.memory).toBeNull();
		expect(planText(plan)).toContain('Training    10 steps of 6 pictures, 2 an epoch, 5 epochs; rate 0.0001 (UNet)\n');
	});

	it('adds up what the engine needs and what is trained', () => {
		const engineMemory = { weights: 400, activations: 30, process: 7, rule: 'so' };
		const of = (extra: Record<string, unknown>, measured?: { readonly seconds: number; readonly peak: number }) =>
			planRun({
				config: config({ train: { max_train_steps: 1 }, ...extra }),
				objective: 'text-to-image',
				tensors,
				description,
				result: {},
				pictures: { train: 1, classes: 0, heldOut: 0 },
				batchesPerEpoch: 1,
				trainTimesteps: 1000,
				engineMemory,
				measured,
			});
		// 512 numbers: values, as fed, gradients twice, their sum and two moments, four bytes each.
		expect(of({}).memory).toEqual({ ...engineMemory, training: 512 * 28, total: 437 + 512 * 28, measured: null });
		// With the moving mean; Prodigy has four arrays.
		expect(of({ ema: {}, optimizer: { kind: 'prodigy' } }).memory?.training).toBe(512 * (28 + 4 + 8));
		expect(planText(of({}))).toMatch(/^Memory {6}about 14,773 bytes \(estimate: 400 bytes weights.*process\)$/m);
		expect(planText(of({}, { seconds: 1, peak: 5e9 }))).toMatch(/^Memory .*; 5\.00 GB measured with a micro-batch$/m);
	});
});

/** Written by torch, diffusers' schedulers and cloneofsimo/lora (fixtures/training/README.md). */
const PTI = JSON.parse(
	fs.readFileSync(path.resolve(import.meta.dirname, '../../../../fixtures/training/run/pti-rates.json'), 'utf8'),
) as Record<
	'accum1' | 'accum4',
	{
		readonly lr: number;
		readonly steps: number;
		readonly accum: number;
		readonly inversion: readonly number[];
		readonly tuning: readonly (readonly [number, number])[];
	}
>;

describe('phases', () => {
	it.each(['accum1', 'accum4'] as const)('of pivotal tuning use the rates that cloneofsimo uses: %s', (name) => {
		const { lr, steps, accum, inversion: expected, tuning } = PTI[name];
		const [first, second] = runPhases(
			config(
				{
					...TOKEN,
					inversion: { steps, learning_rate: lr, gradient_accumulation_steps: accum },
					train: { max_train_steps: steps, learning_rate: 1e-4, text_encoder_learning_rate: 1e-5 },
				},
				'pivotal',
			),
			'pivotal',
			4,
			1000,
		);
		if (first === undefined || second === undefined) throw new Error('two phases');
		expect(first.optimizerSteps).toBe(expected.length);
		for (const [k, rate] of expected.entries()) expect(first.rates(scheduleIndexOf(first.timing, k)).tokens).toBeCloseTo(rate, 14);
		tuning.forEach(([unet, text], k) => {
			const rates = second.rates(scheduleIndexOf(second.timing, k));
			expect(rates.unet).toBeCloseTo(unet, 14);
			expect(rates.text_encoder).toBeCloseTo(text, 14);
		});
		expect(second.maxTimestep).toBe(800);
		expect(second.baseRates.tokens).toBe(lr);
	});

	it('count steps by epochs as diffusers: the rest of an epoch is a step', () => {
		const [only] = runPhases(config({ train: { num_train_epochs: 3, gradient_accumulation_steps: 2 } }), 'text-to-image', 5, 1000);
		expect(only).toMatchObject({ steps: 9, optimizerSteps: 9, stepsPerEpoch: 3, epochs: 3 });
		expect(() =>
			runPhases(config({ train: { num_train_epochs: 1, lr_scheduler: 'cosine', lr_warmup_steps: 5 } }), 'text-to-image', 5, 1000),
		).toThrow(/warm-up of 5/);
	});

	it('refuse timesteps that the base has not, and ranges with nothing in them', () => {
		const of = (loss: object, objective: 'text-to-image' | 'pivotal' = 'text-to-image') =>
			runPhases(config({ ...(objective === 'pivotal' ? TOKEN : {}), loss }, objective), objective, 5, 1000);
		expect(of({ min_timestep: 999, max_timestep: 1000 })[0]?.maxTimestep).toBe(1000);
		for (const [loss, objective, at] of [
			[{ max_timestep: 1001 }, 'text-to-image', 'loss.max_timestep'],
			[{ min_timestep: 1000 }, 'text-to-image', 'loss.min_timestep'],
			// The second phase stays below 80 %.
			[{ min_timestep: 800 }, 'pivotal', 'loss.min_timestep'],
		] as const) {
			expect(() => of(loss, objective)).toThrow(expect.objectContaining({ code: 'E_CONFIG', at }));
		}
	});

	it('have rates of what is trained alone, so that no log or card tells of others', () => {
		const of = (adapter: object) => runPhases(config({ adapter }), 'text-to-image', 5, 1000)[0]?.baseRates;
		expect(of({})).toEqual({ unet: 1e-4 });
		expect(of({ text_encoder: 'attention' })).toEqual({ unet: 1e-4, text_encoder: 1e-4 });
		expect(of({ targets: null, text_encoder: 'attention' })).toEqual({ text_encoder: 1e-4 });
		expect(of({ targets: null, include: ['text_encoder.*q_proj'] })).toEqual({ unet: 1e-4, text_encoder: 1e-4 });
	});

	it('of textual inversion train the token alone', () => {
		const [only] = runPhases(config(TOKEN, 'textual-inversion'), 'textual-inversion', 5, 1000);
		expect(only?.baseRates).toEqual({ tokens: 1e-4 });
	});
});

describe('the norm prior', () => {
	it('moves each row to its norm by the rule of cloneofsimo, in float64', () => {
		const values = Float32Array.of(3, 4, 0, 0, 0.06, 0.08);
		applyNormPrior({ name: 'added_rows', group: 'tokens', shape: [3, 2], values }, 5e-3, 0.4);
		// norms 5, 0, 0.1; pull 0.5: 2.7, 0, 0.25
		const expected = [3 * 0.54, 4 * 0.54, 0, 0, 0.15, 0.2];
		for (const [i, x] of values.entries()) expect(x).toBeCloseTo(expected[i] ?? 0, 6);
		applyNormPrior({ name: 'added_rows', group: 'tokens', shape: [1, 2], values: values.subarray(4) }, 1, 0.4);
		expect(Math.hypot(values[4] ?? 0, values[5] ?? 0)).toBeCloseTo(0.4, 6);
	});
});
