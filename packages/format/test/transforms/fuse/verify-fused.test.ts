import { describe, expect, it } from 'vitest';
import type { Role, TargetModule } from '../../../src/adapter.js';
import type { BaseModel } from '../../../src/bases/index.js';
import { deltaOf } from '../../../src/families/index.js';
import { decodeFloats, encodeFloats, f16ToF32, f32ToF16, type WritableFloat } from '../../../src/half.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { type VerifyReport, verifyFused } from '../../../src/transforms/fuse/verify-fused.js';
import { type BaseEntries, countOf, floats, folder, useOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';

function noise(seed: number): () => number {
	let x = seed;
	return () => {
		x = (x * 48271) % 2147483647;
		return x / 1073741824 - 1;
	};
}

const N = 16;
const BLOCK = 'down_blocks.0.attentions.0.transformer_blocks.0';
const LINEAR = [`${BLOCK}.attn1.to_q`, `${BLOCK}.attn1.to_k`, `${BLOCK}.attn2.to_q`];
const CONV = 'down_blocks.0.resnets.0.conv1';
const TEXT = 'text_model.encoder.layers.0.self_attn.q_proj';
const SHAPES = new Map<string, readonly number[]>([...LINEAR.map((p) => [p, [N, N]] as const), [CONV, [N, N, 3, 3]], [TEXT, [N, N]]]);
const RANKS = [4, 2, 4, 4, 8];
/** Scalings differ from module to module, so that each mistake has its own pattern. */
const ALPHAS = [1, 1, 3, 8, 4];

function modules(): TargetModule[] {
	return [...SHAPES].map(([path, [out = 1, ...rest]], n) => {
		const next = noise(100 + n);
		const r = RANKS[n] ?? 1;
		const make = (shape: readonly number[]): Tensor => floats('F32', shape, Array.from({ length: countOf(shape) }, next));
		const factors: Partial<Record<Role, Tensor>> = { up: make(rest.length > 1 ? [out, r, 1, 1] : [out, r]), down: make([r, ...rest]) };
		const component = path === TEXT ? 'text_encoder' : 'unet';
		const alpha = ALPHAS[n] ?? 1;
		return moduleOf('lora', factors, { path, component, rank: r, alpha, rule: 'alpha/rank', scaling: alpha / r });
	});
}

function entries(component: string): BaseEntries {
	const own = [...SHAPES].filter(([path]) => (path === TEXT) === (component === 'text_encoder'));
	const out: Record<string, BaseEntries[string]> = {};
	for (const [path, shape] of own) out[`${path}.weight`] = { shape, values: Array.from({ length: countOf(shape) }, noise(path.length)) };
	out[`${component}_rest.weight`] = { shape: [3], values: [1, 2, 3] };
	return out;
}

function base(dtype: WritableFloat): BaseModel {
	return folder({ unet: entries('unet'), text_encoder: entries('text_encoder') }, dtype);
}

/** A fused model made by `wrong`: what is added to each module's weight. */
async function fusedBy(
	model: BaseModel,
	list: readonly TargetModule[],
	wrong: (module: TargetModule, delta: Float64Array, n: number) => Float64Array,
	round: (base: Float64Array, delta: Float64Array, dtype: WritableFloat) => Uint8Array = (w, d, dtype) =>
		encodeFloats(
			dtype,
			w.map((x, i) => x + (d[i] ?? 0)),
		),
): Promise<BaseModel> {
	const files = [];
	for (const file of model.files) {
		const tensors = new Map(file.state.tensors);
		for (const [n, module] of list.entries()) {
			const tensor = tensors.get(`${module.path}.weight`);
			if (tensor === undefined || module.component !== file.component) continue;
			const dtype = tensor.dtype as WritableFloat;
			const delta = (await deltaOf(module, { shape: tensor.shape })).weight?.data ?? new Float64Array(0);
			tensors.set(
				`${module.path}.weight`,
				bytesTensor(tensor.dtype, tensor.shape, round(decodeFloats(dtype, await tensor.read()), wrong(module, delta, n), dtype)),
			);
		}
		files.push({ ...file, state: { ...file.state, tensors } });
	}
	return { ...model, files };
}

const times = (f: (m: TargetModule, n: number) => number) => (m: TargetModule, d: Float64Array, n: number) => d.map((x) => x * f(m, n));

async function report(
	dtype: WritableFloat,
	wrong: Parameters<typeof fusedBy>[2],
	scale = 1,
	round?: Parameters<typeof fusedBy>[3],
): Promise<VerifyReport> {
	const model = base(dtype);
	const list = modules();
	return verifyFused(model, [useOf(list, { scale })], await fusedBy(model, list, wrong, round));
}

const isConv = (m: TargetModule): boolean => m.path === CONV;

describe('verifyFused', () => {
	it.each(['F16', 'BF16', 'F32', 'F64'] as const)('calls what is rounded once right in %s', async (dtype) => {
		const result = await report(dtype, (_, d) => d);
		expect(result).toMatchObject({ ok: true, cause: 'right', changed: [], missing: [], extra: [] });
		expect(result.modules).toHaveLength(5);
		expect(result.steps).toBeLessThanOrEqual(0.5);
		expect(Math.abs(result.gain - 1)).toBeLessThan(0.01);
		expect(result.modules.every((m) => m.off === 0)).toBe(true);
	});

	it.each<readonly [string, string, RegExp, number, Parameters<typeof fusedBy>[2]]>([
		['nothing', 'not-applied', /not applied: all 5 tensors/, 1, times(() => 0)],
		[
			'no text encoder',
			'component-left-out',
			/^1 of 5 .* nothing was applied to text_encoder/,
			1,
			times((m) => (m.component === 'unet' ? 1 : 0)),
		],
		['no convolutions', 'convolution-left-out', /convolutions were left out/, 1, times((m) => (isConv(m) ? 0 : 1))],
		['one module missing', 'not-applied', /^1 of 5 tensors .*attn1\.to_q/, 1, times((_, n) => (n === 0 ? 0 : 1))],
		['strength squared', 'strength-squared', /^5 of 5 .*squared/, 0.7, times(() => 0.49)],
		['strength ignored', 'strength-ignored', /strength was ignored/, 0.7, times(() => 1)],
		['alpha ignored', 'alpha-ignored', /alpha was ignored/, 1, times((m) => 1 / m.scaling)],
		['alpha twice', 'alpha-twice', /twice/, 1, times((m) => m.scaling)],
		['the square-root rule', 'sqrt-rule', /square-root rule was used/, 1, times((m) => Math.sqrt(m.rank ?? 1))],
		['alpha not divided', 'alpha-not-divided', /not divided by the rank/, 1, times((m) => m.rank ?? 1)],
		['rank over alpha', 'alpha-inverted', /inverted/, 1, times((m) => 1 / (m.scaling * m.scaling))],
		['applied twice', 'applied-twice', /applied twice/, 1, times(() => 2)],
		['subtracted', 'subtracted', /subtracted/, 1, times(() => -1)],
		['another strength', 'other-strength', /strength 0\.35 instead of 0\.7/, 0.7, times(() => 0.35)],
	])('names the mistake: %s', async (_, cause, why, scale, wrong) => {
		for (const dtype of ['F32', 'F16'] as const) {
			const result = await report(dtype, wrong, scale);
			expect(result.ok).toBe(false);
			expect(result.cause).toBe(cause);
			expect(result.why).toMatch(why);
		}
	});

	it('says for each module how much of it is there', async () => {
		const result = await report(
			'F32',
			times((_, n) => (n === 1 ? 0.25 : 1)),
		);
		expect(result.modules.map((m) => Number(m.gain.toFixed(4)))).toEqual([1, 0.25, 1, 1, 1]);
		expect(result.modules.map((m) => m.cause === 'right')).toEqual([true, false, true, true, true]);
		expect(result.modules[1]).toMatchObject({
			modules: [`unet ${LINEAR[1]}`],
			tensor: `unet/model.safetensors:${LINEAR[1]}.weight`,
			elements: N * N,
		});
		expect(result.modules[1]?.cosine).toBeCloseTo(1, 5);
	});

	it('knows a delta that went to another module, and the order of nameless lists', async () => {
		const list = modules();
		const deltas = await Promise.all(list.map((m) => deltaOf(m)));
		const swap = [2, 1, 0, 3, 4];
		const result = await report('F32', (_, d, n) => deltas[swap[n] ?? n]?.weight?.data ?? d);
		expect(result.cause).toBe('wrong-module');
		expect(result.modules.map((m) => m.cause)).toEqual(['wrong-module', 'right', 'wrong-module', 'right', 'right']);
		expect(result.modules[0]?.why).toContain(`unet ${LINEAR[2]}`);
		expect(result.modules[0]?.why).toMatch(/--order old/);
	});

	it('knows rows and columns exchanged', async () => {
		const result = await report('F32', (m, d) => (isConv(m) ? d : d.map((_, i) => d[(i % N) * N + Math.floor(i / N)] ?? 0)));
		expect(result.modules.map((m) => m.cause)).toEqual(['transposed', 'transposed', 'transposed', 'right', 'transposed']);
	});

	it('knows rounding twice: the delta in float16 first', async () => {
		const result = await report(
			'F16',
			(_, d) => d,
			1,
			(w, d) =>
				encodeFloats(
					'F16',
					w.map((x, i) => x + f16ToF32(f32ToF16(d[i] ?? 0))),
				),
		);
		expect(result.ok).toBe(false);
		expect(result.cause).toBe('rounded-twice');
		expect(result.modules.every((m) => m.cause === 'right' || m.cause === 'rounded-twice')).toBe(true);
	});

	it('knows a result in the type of the base that was stored in a wider one, and tells it from another strength', async () => {
		const list = modules();
		const model = base('F16');
		const narrow = await fusedBy(model, list, (_, d) => d);
		const widened = async (change: (x: number) => number): Promise<typeof narrow> => ({
			...narrow,
			files: await Promise.all(
				narrow.files.map(async (file) => {
					const all = new Map<string, Tensor>();
					for (const [name, tensor] of file.state.tensors)
						all.set(name, floats('F32', tensor.shape, Array.from(decodeFloats('F16', await tensor.read()), change)));
					return { ...file, state: { ...file.state, tensors: all } };
				}),
			),
		});
		const result = await verifyFused(model, [useOf(list)], await widened((x) => x));
		expect(result).toMatchObject({ ok: false, cause: 'rounded-twice' });
		expect(result.why).toMatch(/rounded to the base's type/);
		expect((await verifyFused(model, [useOf(list)], await widened((x) => x * 1.5))).cause).not.toBe('rounded-twice');
	});

	it('says what is wrong where every touched tensor is right', async () => {
		const model = base('F32');
		const list = modules();
		const fused = await fusedBy(model, list, (_, d) => d);
		const [unet, ...rest] = fused.files;
		if (unet === undefined) throw new Error('no files');
		const more = new Map(unet.state.tensors).set('new.weight', floats('F32', [1], [1]));
		more.delete('unet_rest.weight');
		const files = [{ ...unet, state: { ...unet.state, tensors: more } }, ...rest];
		expect(await verifyFused(model, [useOf(list)], { ...fused, files })).toMatchObject({
			ok: false,
			cause: 'right',
			why: 'What the adapters touch is right, but 1 tensors of the base are missing (first: "unet/model.safetensors:unet_rest.weight"), and 1 tensors are not in the base (first: "unet/model.safetensors:new.weight").',
		});
	});

	it('names NaN', async () => {
		const result = await report('F32', (_, d, n) => (n === 2 ? d.fill(Number.NaN, 0, 1) : d));
		expect(result.modules[2]).toMatchObject({ cause: 'not-finite', why: '1 elements are NaN or Inf' });
	});

	it('finds tensors that changed though nothing touches them, that are gone, and that are new', async () => {
		const model = base('F32');
		const list = modules();
		const fused = await fusedBy(model, list, (_, d) => d);
		const [unet, text] = fused.files;
		if (unet === undefined || text === undefined) throw new Error('no files');
		const changed = new Map(unet.state.tensors)
			.set('unet_rest.weight', floats('F32', [3], [1, 2, 4]))
			.set('new.weight', floats('F32', [1], [1]));
		const fewer = new Map(text.state.tensors);
		fewer.delete('text_encoder_rest.weight');
		fewer.delete(`${TEXT}.weight`);
		const files = [
			{ ...unet, state: { ...unet.state, tensors: changed } },
			{ ...text, state: { ...text.state, tensors: fewer } },
		];
		const result = await verifyFused(model, [useOf(list)], { ...fused, files });
		expect(result).toMatchObject({
			ok: false,
			changed: ['unet/model.safetensors:unet_rest.weight'],
			missing: [`text_encoder/model.safetensors:${TEXT}.weight`, 'text_encoder/model.safetensors:text_encoder_rest.weight'],
			extra: ['unet/model.safetensors:new.weight'],
		});
		expect(result.modules.at(-1)?.cause).toBe('missing');
	});

	it('tells its progress', async () => {
		const model = base('F32');
		const list = modules();
		const told: number[] = [];
		await verifyFused(model, [useOf(list)], await fusedBy(model, list, (_, d) => d), {
			onProgress: (done, total) => told.push(done / total),
		});
		expect(told.at(-1)).toBe(1);
		expect(told).toHaveLength(7);
	});
});
