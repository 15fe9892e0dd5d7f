import { FormatError } from '@lorakit/format';
import { createTorchGenerator } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { EmaModel } from '../../src/optimizers/ema-model.js';
import { LossScaler } from '../../src/optimizers/loss-scaler.js';
import type { RunEvent } from '../../src/run/run-events.js';
import type { RunSnapshot } from '../../src/run/run-snapshot.js';
import { type TrainRunOptions, type TrainRunResult, trainRun } from '../../src/run/train-run.js';
import { validationBatches } from '../../src/run/validation-batches.js';
import { fakeBatches, fakeExamples, fakeModel, fakeRun } from './fake-run.js';

async function finish(
	options: TrainRunOptions,
	each?: (event: RunEvent) => void,
): Promise<{ readonly events: readonly RunEvent[]; readonly result: TrainRunResult }> {
	const events: RunEvent[] = [];
	const run = trainRun(options);
	for (;;) {
		const { done, value } = await run.next();
		if (done === true) return { events, result: value };
		events.push(value);
		each?.(value);
	}
}

/** Rates that note which entry was asked for. */
function seeing(seen: number[]): TrainRunOptions['rates'] {
	return (index) => {
		seen.push(index);
		return { unet: 0.01, text_encoder: 0.01 };
	};
}

const steps = (events: readonly RunEvent[]) => events.flatMap((e) => (e.type === 'step' ? [e] : []));
const bits = (values: ReadonlyMap<string, Float32Array>): readonly string[] =>
	[...values].map(([n, v]) => `${n} ${Buffer.from(v.slice().buffer).toString('hex')}`);

/** A copy, as a file would be. */
function frozen(snapshot: RunSnapshot): RunSnapshot {
	return structuredClone({ ...snapshot, tensors: new Map(snapshot.tensors), adapter: new Map(snapshot.adapter) });
}

const held = () =>
	validationBatches({
		examples: fakeExamples(),
		indices: [0, 5],
		draws: 3,
		batchSize: 4,
		seed: 3,
		minTimestep: 0,
		maxTimestep: 1000,
		noiseOffset: 0,
		scalingFactor: 0.18215,
		text: async () => ({ ids: [] }),
	});

describe('trainRun', () => {
	it('steps as AdamW by hand, the rate of step k being entry k', async () => {
		const lone = fakeModel();
		const start = lone.tensors.map(({ values }) => values.slice());
		const seen: number[] = [];
		const options = fakeRun({ model: lone, steps: 1, maxGradNorm: null, rates: seeing(seen) });
		const { events } = await finish(options);
		// The first step of Adam is the rate in the direction of the sign, after the decay: torch.optim.AdamW.
		for (const [t, { values }] of lone.tensors.entries()) {
			values.forEach((x, i) => {
				const before = (start[t]?.[i] ?? 0) * (1 - 0.01 * 0.01);
				expect(Math.abs(Math.abs(x - before) - 0.01)).toBeLessThan(1e-6);
			});
		}
		expect(seen).toEqual([0]);
		expect(events.map((e) => e.type)).toEqual(['start', 'step', 'end']);
	});

	it('gathers the gradients of several micro-batches as their mean, the end of an epoch ending a step', async () => {
		const model = fakeModel();
		const samples: number[] = [];
		model.onGradient = (batch) => void samples.push(batch.timesteps.length);
		const { events } = await finish(fakeRun({ model, steps: 4, timing: { rule: 'diffusers', accumulation: 3 } }));
		// 4 wide and 3 tall pictures in batches of 2: 4 batches an epoch, so 3 + 1.
		expect(samples.length).toBe(8);
		expect(steps(events).map((e) => e.epoch)).toEqual([0, 0, 1, 1]);
		expect(
			steps(events)
				.map((e) => e.samples)
				.reduce((a, b) => a + b, 0),
		).toBe(14);
	});

	it("keeps cloneofsimo's order: the first micro-batch steps alone, rates are one ahead", async () => {
		const model = fakeModel();
		const seen: number[] = [];
		await finish(
			fakeRun({
				model,
				steps: 3,
				timing: { rule: 'cloneofsimo', accumulation: 4 },
				rates: seeing(seen),
			}),
		);
		expect(model.count).toBe(1 + 4 + 4);
		expect(seen).toEqual([1, 5, 9]);
	});

	it('goes on from any step with the same bits', async () => {
		const make = (extra: Partial<TrainRunOptions> = {}) =>
			fakeRun({
				timing: { rule: 'diffusers', accumulation: 2 },
				averageOf: (model) => new EmaModel({ decay: 0.9 }, model.tensors),
				validation: { every: 4, batches: held, keepBest: true },
				...extra,
			});
		const saved = new Map<number, RunSnapshot>();
		const whole = await finish(
			make({
				checkpoints: {
					every: 1,
					save: async (s) => {
						saved.set(s.step, frozen(s));
						return `c${s.step}`;
					},
				},
			}),
		);
		expect(saved.size).toBe(30);
		for (const at of [1, 7, 13, 29]) {
			const rest = await finish(make({ resume: saved.get(at), checkpoints: { save: async () => 'c', resumed: `c${at}` } }));
			expect(bits(rest.result.adapter)).toEqual(bits(whole.result.adapter));
			expect(rest.result.best).toEqual(whole.result.best);
			const later = steps(whole.events).filter((e) => e.step > at);
			expect(steps(rest.events).map(({ step, loss, gradientNorm }) => ({ step, loss, gradientNorm }))).toEqual(
				later.map(({ step, loss, gradientNorm }) => ({ step, loss, gradientNorm })),
			);
		}
	});

	it('stops at a signal in the middle of a step and goes on from its beginning', async () => {
		const whole = await finish(fakeRun({ timing: { rule: 'diffusers', accumulation: 2 } }));
		const model = fakeModel();
		const stop = new AbortController();
		model.onGradient = (_, count) => void (count === 12 && stop.abort());
		let kept: RunSnapshot | undefined;
		const first = await finish(
			fakeRun({
				model,
				timing: { rule: 'diffusers', accumulation: 2 },
				signal: stop.signal,
				checkpoints: {
					save: async (s, why) => {
						kept = frozen(s);
						expect(why).toBe('stopped');
						return 'c';
					},
				},
			}),
		);
		expect(first.result.reason).toBe('stopped');
		expect(first.result.step).toBe(6);
		const rest = await finish(fakeRun({ timing: { rule: 'diffusers', accumulation: 2 }, resume: kept }));
		expect(bits(rest.result.adapter)).toEqual(bits(whole.result.adapter));
	});

	it('stops at a signal in the middle of a measurement and measures after the resume', async () => {
		const validation = { every: 5, batches: held, keepBest: true };
		const whole = await finish(fakeRun({ validation }));
		for (const at of [0, 10, 30]) {
			const stop = new AbortController();
			let kept: RunSnapshot | undefined;
			const first = await finish(
				fakeRun({
					validation: {
						...validation,
						pictures: async (step) => {
							if (step !== at) return [];
							stop.abort();
							throw new FormatError('E_INTERRUPTED', 'stopped while drawing.');
						},
					},
					signal: stop.signal,
					checkpoints: {
						save: async (s) => {
							kept = frozen(s);
							return 'c';
						},
					},
				}),
			);
			expect(first.result).toMatchObject({ reason: 'stopped', step: at });
			const rest = await finish(fakeRun({ validation, resume: kept }));
			expect(rest.events.find((e) => e.type === 'validation')?.step).toBe(at);
			expect(rest.result.best).toEqual(whole.result.best);
			expect(bits(rest.result.adapter)).toEqual(bits(whole.result.adapter));
		}
	});

	it.each([Number.NaN, Number.POSITIVE_INFINITY])(
		'stops at a loss of %s with step, pictures and a checkpoint of the state before',
		async (bad) => {
			const model = fakeModel();
			model.onGradient = (_, count) => (count === 9 ? bad : undefined);
			const saved: RunSnapshot[] = [];
			const events: RunEvent[] = [];
			const error = await finish(
				fakeRun({
					model,
					checkpoints: {
						save: async (s) => {
							saved.push(frozen(s));
							return `checkpoint-${s.step}`;
						},
					},
				}),
				(e) => events.push(e),
			).catch((e: unknown) => e);
			expect(error).toBeInstanceOf(FormatError);
			expect(error).toMatchObject({ code: 'E_NONFINITE' });
			expect((error as Error).message).toMatch(/loss of step 10 is .*picture-\d\.png.*timesteps \d+.*"checkpoint-9"/);
			expect(saved.map((s) => s.step)).toEqual([9]);
			expect(events.at(-1)).toMatchObject({ type: 'checkpoint', reason: 'nonfinite', step: 9 });
			// That state is good: the same run without the fault comes to the same end from it.
			const whole = await finish(fakeRun());
			const rest = await finish(fakeRun({ resume: saved[0] }));
			expect(bits(rest.result.adapter)).toEqual(bits(whole.result.adapter));
		},
	);

	it('names the tensor of a gradient that is not finite, and does not step', async () => {
		const model = fakeModel();
		const plain = model.gradients;
		model.gradients = async (batch) => {
			const result = await plain(batch);
			if (model.count === 4) result.gradients.get('unet.a:up')?.fill(Number.NaN, 1, 2);
			return result;
		};
		await expect(finish(fakeRun({ model }))).rejects.toThrow(/gradient of "unet.a:up" in step 4 is not finite.*there is no checkpoint yet/);
		expect(model.tensors.every(({ values }) => values.every(Number.isFinite))).toBe(true);
	});

	it('leaves steps out whose scaled gradients overflow, halving the scale, and stops where that does not help', async () => {
		const model = fakeModel();
		const plain = model.gradients;
		// A float16 device: what is above 65504 is infinite.
		model.gradients = async (batch) => {
			const result = await plain(batch);
			for (const g of result.gradients.values()) g.set(g.map((x) => (Math.abs(x) > 65504 ? Number.POSITIVE_INFINITY : x)));
			return result;
		};
		const scaler = new LossScaler({ init_scale: 2 ** 20 });
		const { events, result } = await finish(fakeRun({ model, scaler, steps: 5 }));
		const overflows = events.filter((e) => e.type === 'overflow');
		expect(overflows.length).toBeGreaterThan(0);
		expect(result.step).toBe(5);
		const broken = fakeModel();
		broken.onGradient = () => Number.NaN;
		const error = await finish(fakeRun({ model: broken, scaler: new LossScaler(), steps: 5 })).catch((e: unknown) => e);
		expect(error).toMatchObject({ code: 'E_NONFINITE' });
		expect(broken.count).toBe(17);
	});

	it('measures the same held-out batches each time, keeps the best and stops early', async () => {
		const lossAt: number[] = [];
		const run = fakeRun({
			steps: 200,
			rates: () => ({ unet: 0.2, text_encoder: 0.2 }),
			validation: { every: 5, batches: held, keepBest: true, patience: 3 },
		});
		const { events, result } = await finish(run, (e) => e.type === 'validation' && lossAt.push(e.loss));
		expect(result.reason).toBe('patience');
		const least = Math.min(...lossAt);
		expect(result.best).toMatchObject({ loss: least, step: lossAt.indexOf(least) * 5, since: 3 });
		expect(events.filter((e) => e.type === 'validation').length).toBe(lossAt.indexOf(least) + 4);
		// The kept values have the kept loss.
		const judge = fakeModel([...(result.adapter.get('unet.a:down') ?? []), ...(result.adapter.get('unet.a:up') ?? [])]);
		let sum = 0;
		let count = 0;
		for await (const batch of held()) {
			const { errors } = await judge.loss(batch);
			for (const e of errors) sum += e;
			count += errors.length;
		}
		expect(count).toBe(6);
		expect(sum / count).toBe(least);
	});

	it('validates and saves the moving mean, training on with the values', async () => {
		const model = fakeModel();
		const average = new EmaModel({ decay: 0.5 }, model.tensors);
		let adapter: ReadonlyMap<string, Float32Array> | undefined;
		const run = fakeRun({
			model,
			average,
			steps: 6,
			validation: {
				every: 3,
				keepBest: false,
				pictures: async () => {
					adapter = new Map(model.tensors.map((t) => [t.name, t.values.slice()]));
					return [];
				},
			},
		});
		const { result } = await finish(run);
		expect(bits(result.adapter)).toEqual(bits(average.values));
		expect(bits(adapter ?? new Map())).toEqual(bits(average.values));
		expect(bits(result.adapter)).not.toEqual(bits(new Map(model.tensors.map((t) => [t.name, t.values]))));
	});

	it('refuses a snapshot of something else', async () => {
		let kept: RunSnapshot | undefined;
		await finish(
			fakeRun({
				steps: 2,
				checkpoints: {
					save: async (s) => {
						kept = frozen(s);
						return 'c';
					},
				},
			}),
		);
		const without = new Map(kept?.tensors);
		without.delete('tensors/unet.a:up');
		const resume = kept as RunSnapshot;
		await expect(finish(fakeRun({ resume: { ...resume, tensors: without } }))).rejects.toThrow(/no "tensors\/unet.a:up"/);
		await expect(finish(fakeRun({ resume, averageOf: (m) => new EmaModel({}, m.tensors) }))).rejects.toThrow(/without a moving mean/);
		await expect(finish(fakeRun({ resume: { ...resume, batches: {} } }))).rejects.toMatchObject({ code: 'E_FORMAT' });
		await expect(finish(fakeRun({ resume, batches: fakeBatches(7, { examples: fakeExamples('x', 1) }) }))).rejects.toMatchObject({
			code: 'E_FORMAT',
		});
	});
});

describe('batches', () => {
	it('draw noise, offset and timesteps as torch would from the named generators', async () => {
		const { batch } = await fakeBatches(7).next();
		const { createRandomStreams } = await import('../../src/run/random-streams.js');
		const streams = createRandomStreams(7);
		const b = batch.timesteps.length;
		const noise = streams.noise.randn(b * 8);
		const offset = streams.noise.randn(b * 2);
		expect([...batch.noise.data]).toEqual(
			[...noise].map((x, i) => Math.fround(x + Math.fround(Math.fround(0.1) * (offset[Math.floor(i / 4)] ?? 0)))),
		);
		expect(batch.timesteps).toEqual([...streams.timesteps.randint(0, 1000, b)]);
	});

	it('go through every picture once an epoch, one bucket a batch, in an order of their own each epoch', async () => {
		const batches = fakeBatches();
		expect(batches.batchesPerEpoch).toBe(4);
		const orders: string[] = [];
		for (let epoch = 0; epoch < 3; epoch++) {
			const names: string[] = [];
			for (let i = 0; i < 4; i++) {
				const micro = await batches.next();
				expect(micro.epoch).toBe(epoch);
				expect(micro.lastOfEpoch).toBe(i === 3);
				expect(new Set(micro.names.map((n) => Number(n[8]) < 4)).size).toBe(1);
				names.push(...micro.names);
			}
			expect([...names].sort()).toEqual(fakeExamples().examples.map((e) => e.name));
			orders.push(names.join());
		}
		expect(new Set(orders).size).toBe(3);
	});

	it('put as many class pictures behind the instances, the weights being those of two means', async () => {
		const batches = fakeBatches(7, { examples: fakeExamples('mine', 4), prior: { examples: fakeExamples('class', 9), weight: 0.5 } });
		expect(batches.batchesPerEpoch).toBe(5);
		const { batch, names } = await batches.next();
		expect(names.map((n) => n.split('-')[0])).toEqual(['mine', 'mine', 'class', 'class']);
		expect(batch.weights).toEqual([0.5, 0.5, 0.25, 0.25]);
	});

	it('have seeds of streams by SHA-256', async () => {
		const { streamSeed } = await import('../../src/run/random-streams.js');
		const { createHash } = await import('node:crypto');
		expect(streamSeed(42, 'noise')).toBe(createHash('sha256').update('42/noise').digest().readUInt32BE(0));
		expect(createTorchGenerator(streamSeed(42, 'noise')).seed).toBe(BigInt(streamSeed(42, 'noise')));
	});
});
