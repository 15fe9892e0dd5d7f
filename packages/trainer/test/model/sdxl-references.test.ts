import { readFileSync } from 'node:fs';
import path from 'node:path';
import { bytesSource, decodeFloats, readSafetensors } from '@lorakit/format';
import {
	type Base,
	conditioningOf,
	f32Tensor,
	type HostTensor,
	noiseSchedule,
	parameterSource,
	type SchedulerConfig,
} from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import { openBase } from '@lorakit/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import { createTrainingModel } from '../../src/model/create-training-model.js';
import { modulesOf, targetModules } from '../../src/model/target-modules.js';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { initialTensors, TOKEN_ROWS, TOKEN_ROWS_2, tokenRows } from '../../src/model/trainable-tensors.js';
import type { TrainingBatch } from '../../src/model/training-batch.js';
import type { TrainingModel } from '../../src/model/training-model.js';
import { unreachedFactors } from '../../src/model/unreached-factors.js';
import { clipGradients } from '../../src/optimizers/clip-gradients.js';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';
import { apart } from '../gradients/support.js';

/** What torch, diffusers and PEFT make of a tiny SDXL: scripts/reference/make-sdxl-training-references.py. */
const ROOT = path.resolve(import.meta.dirname, '../../../../fixtures/training/sdxl');

interface Plan {
	readonly pool: 'square' | 'wide';
	readonly latents: readonly number[];
	readonly noise: readonly number[];
	readonly timesteps: readonly number[];
	readonly prompts: readonly number[];
	readonly time_ids: readonly (readonly number[])[];
	readonly weights: readonly number[];
}

interface Record_ {
	readonly adapters: Readonly<Record<string, { readonly r: number; readonly lora_alpha: number; readonly use_dora?: boolean }>>;
	readonly init: string;
	readonly rows?: object;
	readonly clip?: number;
	readonly batches: readonly Plan[];
	readonly losses: readonly number[];
	readonly largest_gradient: Readonly<Record<string, number>>;
	readonly without_gradient: readonly string[];
	readonly modules: readonly { readonly module: string; readonly scaling: number }[];
	readonly f32_vs_f64: Readonly<Record<string, number>>;
}

const json = (name: string): unknown => JSON.parse(readFileSync(path.join(ROOT, name), 'utf8'));
const manifest = json('manifest.json') as {
	readonly betas: SchedulerConfig;
	readonly optimizer: {
		readonly betas: readonly [number, number];
		readonly weight_decay: number;
		readonly eps: number;
		readonly rates: { readonly unet: number; readonly text_encoder: number; readonly added_rows: number };
	};
};

type Floats = ReadonlyMap<string, HostTensor>;
async function floats(name: string): Promise<Floats> {
	const { tensors } = await readSafetensors(bytesSource(new Uint8Array(readFileSync(path.join(ROOT, name)))));
	const out = new Map<string, HostTensor>();
	for (const [key, tensor] of tensors) {
		const bytes = await tensor.read();
		const data =
			tensor.dtype === 'I64' ? Float32Array.from(new BigInt64Array(bytes.slice().buffer), Number) : decodeFloats(tensor.dtype, bytes);
		out.set(key, f32Tensor(tensor.shape, Float32Array.from(data)));
	}
	return out;
}

let base: Base;
let inputs: Floats;
beforeAll(async () => {
	base = await openBase(path.join(ROOT, 'base'));
	inputs = await floats('inputs.safetensors');
});
afterAll(() => base.close());

/** PEFT's name of a factor as ours. */
const ours = (name: string): string =>
	name.replace('.lora_A.weight', ':down').replace('.lora_B.weight', ':up').replace('.lora_magnitude_vector.weight', ':magnitude');

/** The manifest's rule `hashed`. */
function hashed(name: string, count: number, scale: number): Float32Array {
	let start = 0x811c9dc5;
	for (let i = 0; i < name.length; i++) start = Math.imul(start ^ name.charCodeAt(i), 0x01000193);
	return Float32Array.from({ length: count }, (_, i) => {
		let x = (start + i) >>> 0;
		x ^= x >>> 16;
		x = Math.imul(x, 0x7feb352d);
		x ^= x >>> 15;
		x = Math.imul(x, 0x846ca68b);
		x ^= x >>> 16;
		return ((x >>> 8) / 2 ** 24 - 0.5) * scale;
	});
}

/** Rows of a recorded tensor. */
function picked(name: string, rows: readonly number[]): HostTensor {
	const { shape, data } = inputs.get(name) ?? f32Tensor([0], new Float32Array(0));
	const size = shape.slice(1).reduce((a, b) => a * b, 1);
	return f32Tensor(
		[rows.length, ...shape.slice(1)],
		Float32Array.from(rows.flatMap((row) => [...data.subarray(row * size, (row + 1) * size)])),
	);
}

function batchOf(plan: Plan, withIds: boolean): TrainingBatch {
	const { pool, prompts, time_ids: timeIds, timesteps, weights } = plan;
	const ids = (name: string): number[][] => prompts.map((prompt) => [...picked(name, [prompt]).data]);
	return {
		latents: picked(`${pool}/latents`, plan.latents),
		noise: picked(`${pool}/noise`, plan.noise),
		timesteps,
		text: withIds ? { ids: ids('ids'), ids2: ids('ids2'), timeIds } : frozenText(prompts, timeIds),
		weights,
	};
}

/** States and pooled states as torch encoded them, each with the features of its picture's time ids. */
function frozenText(prompts: readonly number[], timeIds: Plan['time_ids']): TrainingBatch['text'] {
	const states = picked('states', prompts);
	const added = prompts.map((prompt, i) => {
		const conditions = { pooled: picked('pooled', [prompt]), negativePooled: undefined, timeIds: timeIds[i] ?? [] };
		return [...(conditioningOf(base.unet, states, undefined, conditions).added?.(false).data ?? [])];
	});
	return { states, added: f32Tensor([prompts.length, added[0]?.length ?? 0], Float32Array.from(added.flat())) };
}

/** A scenario as it begins. */
async function begun(
	record: Record_,
	file: Floats,
	more: { readonly batchSize?: number } = {},
): Promise<{ readonly model: TrainingModel; readonly trained: readonly TrainableTensor[]; readonly frozen: ReadonlySet<string> }> {
	const given = record.adapters['unet'] ?? record.adapters['text'];
	const include = record.modules.map(({ module }) => module);
	const modules =
		given === undefined || include.length === 0
			? []
			: targetModules(modulesOf(base), { rank: given.r, alpha: given.lora_alpha, include, dora: given.use_dora });
	const source = parameterSource({ values: [], inputs: [], parameters: [], constants: [], nodes: [], outputs: [], taps: [] }, base.weights);
	const factors = (await initialTensors(modules, { seed: 0 }, source)).map((tensor) => {
		const scale = tensor.name.endsWith(':down') ? 1 : record.init === 'A and B hashed' ? 0.125 : 0;
		const name = tensor.name.replace(':down', '.lora_A.weight').replace(':up', '.lora_B.weight');
		return tensor.name.endsWith(':magnitude') ? tensor : { ...tensor, values: hashed(name, tensor.values.length, scale) };
	});
	const rows = ([TOKEN_ROWS, TOKEN_ROWS_2] as const).flatMap((name) => {
		const values = file.get(`init/${name}`);
		return values === undefined ? [] : [tokenRows(Float32Array.from(values.data), values.shape[0] ?? 0, name)];
	});
	const tensors = [...factors, ...rows];
	const frozen = unreachedFactors(modules, base.textEncoders);
	const withIds = record.adapters['text'] !== undefined || record.rows !== undefined;
	const model = createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: withIds ? base.textEncoders[0] : undefined,
		textEncoder2: withIds ? base.textEncoders[1] : undefined,
		engine: engineGradients(await createOnnxEngine({ threads: 1 })),
		modules,
		tensors,
		frozen,
		prediction: 'epsilon',
		schedule: noiseSchedule(manifest.betas),
		memory: 'fast',
		...more,
	});
	return { model, trained: tensors.filter(({ name }) => !frozen.has(name)), frozen };
}

const SCENARIOS = [
	'sizes',
	'text-encoders',
	'text-encoders-prior',
	'text-encoders-dora',
	'text-only',
	'textual-inversion',
	'textual-inversion-2-vectors',
	'pivotal',
	'rows-and-unet',
];

describe.each(SCENARIOS)('training over SDXL is that of torch: %s', { timeout: 600_000 }, (scenario) => {
	it('has its losses, gradients and factors', async () => {
		const record = json(`${scenario}.json`) as Record_;
		const file = await floats(`${scenario}.safetensors`);
		const { model, trained, frozen } = await begun(record, file);
		expect([...frozen].filter((name) => model.tensors.some((tensor) => tensor.name === name)).sort()).toEqual(
			record.without_gradient.map(ours).sort(),
		);
		const start = new Map(model.tensors.map(({ name, values }) => [name, values.slice()]));
		const { rates, ...adamw } = manifest.optimizer;
		const optimizer = createOptimizer({ kind: 'adamw', betas: adamw.betas, weight_decay: adamw.weight_decay, eps: adamw.eps }, trained);
		const withIds = record.adapters['text'] !== undefined || record.rows !== undefined;
		for (const [i, plan] of record.batches.entries()) {
			const { loss, gradients } = await model.gradients(batchOf(plan, withIds));
			// The bars: a loss 1e-6 at first and 2e-5 after, a gradient 1e-5 of the largest entry of all.
			expect(Math.abs(loss / (record.losses[i] ?? 0) - 1), `loss ${i}`).toBeLessThanOrEqual(i === 0 ? 1e-6 : 2e-5);
			const recorded = [...file].filter(([name]) => name.startsWith(`grad${i}/`));
			if (i === 0) expect(recorded.length).toBeGreaterThan(0);
			for (const [name, { data }] of recorded) {
				const got = gradients.get(ours(name.slice(`grad${i}/`.length)));
				expect(apart(got, data) / (record.largest_gradient[`grad${i}`] ?? 0), name).toBeLessThanOrEqual(1e-5);
			}
			if (record.clip !== undefined) clipGradients(gradients, record.clip);
			optimizer.step(gradients, { unet: rates.unet, text_encoder: rates.text_encoder, tokens: rates.added_rows });
			for (const [name, { data }] of file) {
				if (!name.startsWith(`after${i + 1}/`)) continue;
				const own = ours(name.slice(`after${i + 1}/`.length));
				const got = model.tensors.find((tensor) => tensor.name === own)?.values;
				// Ten times what torch's float32 loses; AdamW makes much of small gradients.
				const bar = Math.max(10 * (record.f32_vs_f64[`after${i + 1}`] ?? 0), 1e-7);
				if (frozen.has(own)) expect(got).toEqual(start.get(own));
				else expect(apart(got, data), name).toBeLessThanOrEqual(bar);
			}
		}
		await model.close();
	});
});

describe('a batch of SDXL that is not one', () => {
	const good = (record: Record_): TrainingBatch => batchOf(record.batches[0] as Plan, true);

	it.each<readonly [string, (batch: TrainingBatch) => TrainingBatch['text']]>([
		['no ids for the second text encoder', ({ text }) => ({ ...text, ids2: undefined })],
		['ids of another length for it', ({ text }) => ({ ...text, ids2: [[1], [1]] })],
		['no time ids', ({ text }) => ({ ...text, timeIds: undefined })],
		[
			'five time ids',
			({ text }) => ({
				...text,
				timeIds: [
					[1, 2, 3, 4, 5],
					[1, 2, 3, 4, 5],
				],
			}),
		],
	])('%s', async (_, change) => {
		const record = json('textual-inversion.json') as Record_;
		const { model } = await begun(record, await floats('textual-inversion.safetensors'));
		const batch = good(record);
		await expect(model.gradients({ ...batch, text: change(batch) })).rejects.toMatchObject({ name: 'FormatError', code: 'E_USAGE' });
	});

	it('fills the rest of an epoch up with samples that count nothing', async () => {
		const record = json('text-encoders.json') as Record_;
		const file = await floats('text-encoders.safetensors');
		const { model } = await begun(record, file, { batchSize: 2 });
		const whole = good(record);
		const { ids, ids2, timeIds } = whole.text as Extract<TrainingBatch['text'], { ids: unknown }>;
		const one: TrainingBatch = {
			latents: picked('square/latents', (record.batches[0]?.latents ?? []).slice(0, 1)),
			noise: picked('square/noise', (record.batches[0]?.noise ?? []).slice(0, 1)),
			timesteps: whole.timesteps.slice(0, 1),
			text: { ids: ids.slice(0, 1), ids2: ids2?.slice(0, 1), timeIds: timeIds?.slice(0, 1) },
			weights: [1],
		};
		const both = await model.gradients(whole);
		const alone = await model.gradients(one);
		// Each sample's error is its own, whatever stands beside it in the same graph.
		expect([...alone.errors]).toEqual([both.errors[0]]);
		expect(alone.loss).toBe(both.errors[0]);
		await model.close();
	});
});
