import { describe, expect, it } from 'vitest';
import { type BaseModel, baseModel } from '../../../src/bases/index.js';
import { deltaOf } from '../../../src/families/index.js';
import { decodeFloats, encodeFloats } from '../../../src/half.js';
import { planAdapter } from '../../../src/plan-adapter.js';
import type { StateDict } from '../../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { extractAdapter } from '../../../src/transforms/extract/extract-adapter.js';
import { numbers, relativeDistance } from '../../support/small-adapter.js';

const BLOCK = 'mid_block.attentions.0.transformer_blocks.0';
const SHAPES: Readonly<Record<string, readonly number[]>> = {
	[`${BLOCK}.attn1.to_q.weight`]: [16, 16],
	[`${BLOCK}.attn1.to_out.0.weight`]: [16, 16],
	[`${BLOCK}.attn1.to_out.0.bias`]: [16],
	[`${BLOCK}.norm1.weight`]: [16],
	[`${BLOCK}.norm1.bias`]: [16],
	'mid_block.resnets.0.conv1.weight': [16, 8, 3, 3],
	'mid_block.resnets.0.conv1.bias': [16],
};

/** A UNet folder with these weights; `change` gives what is added to a named one. */
function model(
	name: string,
	change: (tensor: string, values: Float64Array, shape: readonly number[]) => void = () => {},
	dtype: 'F32' | 'F16' = 'F32',
	shapes = SHAPES,
): BaseModel {
	const next = numbers(5);
	const tensors = new Map<string, Tensor>();
	for (const [key, shape] of Object.entries(shapes)) {
		const values = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.round(next() * 64) / 64);
		change(key, values, shape);
		tensors.set(key, bytesTensor(dtype, shape, encodeFloats(dtype, values), key));
	}
	const state: StateDict = {
		container: 'safetensors',
		name,
		tensors,
		metadata: new Map(),
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small: new Map(),
		smallComplete: true,
		warnings: [],
	};
	return baseModel([{ path: 'unet/diffusion_pytorch_model.safetensors', component: 'unet', state }], 'folder', name);
}

/** Adds u v^T of small dyadic numbers, which float32 holds exactly. */
function rankOne(values: Float64Array, rows: number): void {
	const cols = values.length / rows;
	for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + ((Math.floor(i / cols) % 3) - 1) * (((i % cols) % 5) - 2) * 0.125;
}

describe('extractAdapter', () => {
	it('gives back a difference of low rank', async () => {
		const tuned = model('tuned', (name, values, shape) => {
			if (name.endsWith('to_q.weight') || name.endsWith('conv1.weight')) rankOne(values, shape[0] ?? 1);
		});
		const { adapter, modules, notCarried, unchanged, warnings } = await extractAdapter(tuned, model('base'), {
			rule: { kind: 'rank', rank: 2 },
		});
		expect(adapter.modules.map((m) => [m.component, m.path, m.family, m.rank, m.scaling])).toEqual([
			['unet', `${BLOCK}.attn1.to_q`, 'lora', 2, 1],
			['unet', 'mid_block.resnets.0.conv1', 'lora', 2, 1],
		]);
		expect(adapter.modules[1]?.factors.down?.shape).toEqual([2, 8, 3, 3]);
		expect(notCarried).toEqual([]);
		expect(warnings).toEqual([]);
		expect(unchanged).toBe(2);
		for (const module of adapter.modules) {
			const wanted = new Float64Array((await deltaOf(module)).weight?.data.length ?? 0);
			rankOne(wanted, 16);
			expect(relativeDistance((await deltaOf(module)).weight?.data ?? new Float64Array(), wanted)).toBeLessThan(1e-6);
		}
		for (const m of modules) expect(m.error).toBeLessThan(1e-6);
	});

	it('states the true error of what is cut off and rounded', async () => {
		const noise = numbers(9);
		const tuned = model('tuned', (name, values) => {
			if (name.endsWith('to_q.weight')) for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + noise();
		});
		const base = model('base');
		const { adapter, modules } = await extractAdapter(tuned, base, { rule: { kind: 'rank', rank: 3 }, dtype: 'F16' });
		const name = `${BLOCK}.attn1.to_q.weight`;
		const read = async (m: BaseModel): Promise<Float64Array> =>
			decodeFloats('F32', (await m.files[0]?.state.tensors.get(name)?.read()) ?? new Uint8Array());
		const [a, b] = [await read(tuned), await read(base)];
		const [module] = adapter.modules;
		if (module === undefined) throw new Error('no module');
		const difference = a.map((x, i) => x - (b[i] ?? 0));
		const error = relativeDistance((await deltaOf(module)).weight?.data ?? new Float64Array(), difference);
		expect(modules[0]?.error).toBeCloseTo(error, 13);
		expect(error).toBeGreaterThan(0.1);
	});

	it('names norms and biases, or carries them with fullRest', async () => {
		const tuned = model('tuned', (name, values) => {
			if (!name.endsWith('conv1.weight')) for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + 0.25;
		});
		const without = await extractAdapter(tuned, model('base'), { rule: { kind: 'rank', rank: 1 }, only: 'attention' });
		expect(without.notCarried).toEqual([
			`unet ${BLOCK}.attn1.to_out.0.bias`,
			`unet ${BLOCK}.norm1.weight`,
			`unet ${BLOCK}.norm1.bias`,
			'unet mid_block.resnets.0.conv1.bias',
		]);
		expect(without.warnings).toMatchObject([{ code: 'W_LOSS' }]);
		const full = await extractAdapter(tuned, model('base'), { rule: { kind: 'rank', rank: 1 }, only: 'attention', fullRest: true });
		expect(full.adapter.modules.map((m) => [m.path, m.family, Object.keys(m.factors)])).toEqual([
			[`${BLOCK}.attn1.to_q`, 'lora', ['up', 'down']],
			[`${BLOCK}.attn1.to_out.0`, 'lora', ['up', 'down']],
			[`${BLOCK}.norm1`, 'norm', ['w_norm', 'b_norm']],
			['mid_block.resnets.0.conv1', 'full', ['diff_b']],
		]);
		// A module is factors or a full difference: its bias is named.
		expect(full.notCarried).toEqual([`unet ${BLOCK}.attn1.to_out.0.bias`]);
		expect(full.modules.filter((m) => m.how === 'full').every((m) => m.error === 0)).toBe(true);
	});

	it('can be written: kohya states alpha = rank', async () => {
		const tuned = model('tuned', (name, values) => {
			if (name.endsWith('to_q.weight')) rankOne(values, 16);
		});
		const { adapter } = await extractAdapter(tuned, model('base'), { rule: { kind: 'sv-fro', value: 0.99 } });
		const [file] = planAdapter(adapter, { to: 'kohya' }).files;
		const alpha = [...(file?.tensors ?? [])].find(([key]) => key.endsWith('.alpha'))?.[1];
		expect(alpha === undefined ? undefined : [...decodeFloats(alpha.dtype, await alpha.read())]).toEqual([adapter.modules[0]?.rank]);
	});

	it('names what the other model lacks: a module, a bias', async () => {
		const change = (name: string, values: Float64Array): void => {
			if (name.endsWith('to_q.weight')) rankOne(values, 16);
		};
		const { 'mid_block.resnets.0.conv1.bias': _, ...less } = SHAPES;
		const tuned = model('tuned', change, 'F32', { ...less, 'mid_block.resnets.0.conv2.weight': [16, 16, 3, 3] });
		const { adapter, notCarried, warnings } = await extractAdapter(tuned, model('base'), { rule: { kind: 'rank', rank: 1 } });
		expect(adapter.modules.map((m) => m.path)).toEqual([`${BLOCK}.attn1.to_q`]);
		expect(notCarried).toEqual(['unet mid_block.resnets.0.conv1.bias', 'unet mid_block.resnets.0.conv2.weight']);
		expect(warnings).toMatchObject([{ code: 'W_LOSS' }]);
	});

	it.each<readonly [string, BaseModel, string, string]>([
		['the same model', model('tuned'), 'E_EMPTY_ADAPTER', 'same model'],
		[
			'a difference that was not asked for',
			model('tuned', (name, values) => {
				if (name.endsWith('norm1.bias')) values.fill(3);
			}),
			'E_EMPTY_ADAPTER',
			'--full-rest',
		],
		[
			'NaN',
			model('tuned', (name, values) => {
				if (name.endsWith('to_q.weight')) values[3] = Number.NaN;
			}),
			'E_NONFINITE',
			'to_q',
		],
		[
			'a weight with rows and columns changed over',
			model('tuned', () => {}, 'F32', { ...SHAPES, 'mid_block.resnets.0.conv1.weight': [8, 16, 3, 3] }),
			'E_BASE_MISMATCH',
			'is (8, 16, 3, 3) in "tuned" and (16, 8, 3, 3) in "base"',
		],
	])('refuses %s', async (_, tuned, code, text) => {
		await expect(extractAdapter(tuned, model('base'), { rule: { kind: 'rank', rank: 1 } })).rejects.toMatchObject({
			name: 'FormatError',
			code,
			message: expect.stringContaining(text) as string,
		});
	});
});
