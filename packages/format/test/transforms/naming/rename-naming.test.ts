import { describe, expect, test } from 'vitest';
import type { Adapter, Family, Naming, Role, TargetModule } from '../../../src/adapter.js';
import { bytesSource } from '../../../src/byte-source.js';
import type { DType } from '../../../src/dtype.js';
import { bytesTensor, rangeTensor, type Tensor } from '../../../src/tensor.js';
import { renameNaming } from '../../../src/transforms/naming/rename-naming.js';

type Factors = Partial<Record<Role, Tensor>>;

/** A tensor (rows, columns) of F32 whose elements are start, start + 1, ...; lying in a source, as a file's do. */
function counting(shape: readonly number[], start: number, origin: string): Tensor {
	const count = shape.reduce((a, b) => a * b, 1);
	const values = Float32Array.from({ length: count }, (_, i) => start + i);
	return rangeTensor('F32', shape, bytesSource(new Uint8Array(values.buffer), origin), 0, origin);
}

function module(path: string, factors: Factors, more: Partial<TargetModule> = {}): TargetModule {
	const rank = factors.down?.shape[0] ?? factors.hada_w1_b?.shape[0];
	return {
		component: 'transformer',
		path,
		resolved: true,
		family: 'lora',
		factors,
		rank,
		alpha: rank ?? null,
		alphaSource: 'tensor',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: 'alpha/rank',
		scaling: 1,
		magnitudeAxis: factors.magnitude === undefined ? undefined : 'out',
		...more,
	};
}

function adapter(naming: Naming, modules: readonly TargetModule[], form: ReadonlyMap<string, string> = new Map()): Adapter {
	return {
		naming,
		modules,
		embeddings: [],
		metadata: new Map(),
		consumed: [],
		form,
		unknown: new Map(),
		dead: new Map(),
		base: { family: 'unknown', label: '', confidence: 0, evidence: [] },
		source: { layout: 'test', container: 'memory', name: 'test' },
		warnings: [],
	};
}

async function numbers(tensor: Tensor | undefined): Promise<number[]> {
	const bytes = (await tensor?.read()) ?? new Uint8Array();
	return [...new Float32Array(bytes.slice().buffer)];
}

/** Factors read again under fresh names, as after a file was written and read. */
async function reread(a: Adapter): Promise<Adapter> {
	const modules: TargetModule[] = [];
	for (const m of a.modules) {
		const factors: Factors = {};
		for (const [role, t] of Object.entries(m.factors) as [Role, Tensor][]) {
			const bytes = (await t.read()).slice();
			factors[role] = rangeTensor(t.dtype, t.shape, bytesSource(bytes), 0, `${m.path}.${role}`);
		}
		modules.push({ ...m, factors });
	}
	return { ...a, modules };
}

/** Every element of scaling * up @ down. */
async function delta(m: TargetModule): Promise<number[]> {
	const [up, down] = [await numbers(m.factors.up), await numbers(m.factors.down)];
	const [rows = 0, r = 0] = m.factors.up?.shape ?? [];
	const columns = m.factors.down?.shape[1] ?? 0;
	const out: number[] = [];
	for (let i = 0; i < rows; i += 1) {
		for (let j = 0; j < columns; j += 1) {
			let sum = 0;
			for (let k = 0; k < r; k += 1) sum += (up[i * r + k] ?? 0) * (down[k * columns + j] ?? 0);
			out.push(sum * m.scaling);
		}
	}
	return out;
}

const qkv = (): TargetModule => module('double_blocks.0.img_attn.qkv', { down: counting([2, 4], 1, 'd'), up: counting([12, 2], 100, 'u') });
const ONE_EACH = ['to_q', 'to_k', 'to_v'].map((leaf) => `transformer_blocks.0.attn.${leaf}`);

describe('fused to split', () => {
	test('q, k, v share the down factor and take their rows of up, still ranges of the file', async () => {
		const split = renameNaming(adapter('bfl', [qkv()]), 'diffusers');
		expect(split.naming).toBe('diffusers');
		expect(split.modules.map((m) => m.path)).toEqual(ONE_EACH);
		const [q, k, v] = split.modules;
		expect(q?.factors.down).toBe(k?.factors.down);
		expect(await numbers(k?.factors.up)).toEqual([108, 109, 110, 111, 112, 113, 114, 115]);
		expect(k?.factors.up?.range?.offset).toBe(32);
		expect(v?.factors.up?.derivation).toMatchObject({ how: 'rows 8..11 of 12', errorBound: 0 });
		expect([q?.rank, q?.alpha, q?.scaling]).toEqual([2, 2, 1]);
	});

	test('linear1 by the width of its input', () => {
		const linear1 = module('single_blocks.3.linear1', { down: counting([1, 2], 0, 'd'), up: counting([14, 1], 0, 'u') });
		const split = renameNaming(adapter('bfl', [linear1]), 'diffusers');
		expect(split.modules.map((m) => [m.path, m.factors.up?.shape[0]])).toEqual([
			['single_transformer_blocks.3.attn.to_q', 2],
			['single_transformer_blocks.3.attn.to_k', 2],
			['single_transformer_blocks.3.attn.to_v', 2],
			['single_transformer_blocks.3.proj_mlp', 8],
		]);
	});

	test('DoRA by output rows, LoHa by rows of both a, full differences', async () => {
		const dora = module('double_blocks.0.img_attn.qkv', { ...qkv().factors, magnitude: counting([12], 0, 'm') });
		const loha = module(
			'double_blocks.0.txt_attn.qkv',
			{
				hada_w1_a: counting([6, 1], 0, 'a'),
				hada_w1_b: counting([1, 2], 0, 'b'),
				hada_w2_a: counting([6, 1], 10, 'c'),
				hada_w2_b: counting([1, 2], 0, 'd'),
			},
			{ family: 'loha' },
		);
		const full = module(
			'double_blocks.1.img_attn.qkv',
			{ diff: counting([6, 2], 0, 'w'), diff_b: counting([6], 0, 'x') },
			{ family: 'full' },
		);
		const split = renameNaming(adapter('bfl', [dora, loha, full]), 'diffusers');
		expect(await numbers(split.modules[1]?.factors.magnitude)).toEqual([4, 5, 6, 7]);
		expect(await numbers(split.modules[5]?.factors.hada_w2_a)).toEqual([14, 15]);
		expect(split.modules[5]?.path).toBe('transformer_blocks.0.attn.add_v_proj');
		expect(await numbers(split.modules[7]?.factors.diff_b)).toEqual([2, 3]);
		const back = renameNaming(split, 'bfl');
		expect(back.modules.map((m) => m.factors)).toEqual([dora.factors, loha.factors, full.factors]);
	});

	test('SD3: joint blocks, and the last context block swaps its halves', async () => {
		const plain = module('joint_blocks.0.context_block.adaLN_modulation.1', {
			down: counting([1, 2], 0, 'd'),
			up: counting([12, 1], 0, 'u'),
		});
		const last = module('joint_blocks.23.context_block.adaLN_modulation.1', {
			down: counting([1, 2], 0, 'd'),
			up: counting([4, 1], 0, 'u'),
		});
		const split = renameNaming(adapter('sai', [plain, last]), 'diffusers');
		expect(split.modules[0]?.factors.up).toBe(plain.factors.up);
		expect(await numbers(split.modules[1]?.factors.up)).toEqual([2, 3, 0, 1]);
		expect(split.modules[1]?.path).toBe('transformer_blocks.23.norm1_context.linear');
		expect(renameNaming(split, 'sai').modules[1]?.factors.up).toBe(last.factors.up);
	});

	test('Wan is a pure rename', () => {
		const wan = adapter('native', [module('blocks.5.cross_attn.k_img', qkv().factors)]);
		const there = renameNaming(wan, 'diffusers');
		expect(there.modules[0]?.path).toBe('blocks.5.attn2.add_k_proj');
		expect(renameNaming(there, 'native')).toEqual(wan);
	});
});

test('Z-Image splits its qkv, Qwen-Image keeps its names', () => {
	const z = renameNaming(
		adapter('native', [module('layers.3.attention.qkv', qkv().factors), module('layers.3.feed_forward.w1', qkv().factors)]),
		'diffusers',
	);
	expect(z.modules.map((m) => m.path)).toEqual(
		['to_q', 'to_k', 'to_v'].map((leaf) => `layers.3.attention.${leaf}`).concat('layers.3.feed_forward.w1'),
	);
	const qwen = renameNaming(adapter('native', [module('transformer_blocks.7.txt_mod.1', qkv().factors)]), 'diffusers');
	expect(qwen.modules[0]?.path).toBe('transformer_blocks.7.txt_mod.1');
});

describe('split to fused', () => {
	const part = (leaf: string, start: number, more: Partial<TargetModule> = {}): TargetModule =>
		module(
			`transformer_blocks.0.attn.${leaf}`,
			{ down: counting([1, 3], start, `${leaf}.d`), up: counting([2, 1], start * 10, `${leaf}.u`) },
			more,
		);

	test('different down factors go on a block diagonal; rank and alpha are the sums', async () => {
		const fused = renameNaming(adapter('diffusers', [part('to_q', 1), part('to_k', 2), part('to_v', 3)]), 'bfl');
		const [m] = fused.modules;
		expect(m).toMatchObject({ path: 'double_blocks.0.img_attn.qkv', rank: 3, alpha: 3, scaling: 1, rule: 'alpha/rank' });
		expect(await numbers(m?.factors.down)).toEqual([1, 2, 3, 2, 3, 4, 3, 4, 5]);
		expect(await numbers(m?.factors.up)).toEqual([10, 0, 0, 11, 0, 0, 0, 20, 0, 0, 21, 0, 0, 0, 30, 0, 0, 31]);
	});

	test('a missing part is zero rows', async () => {
		const fused = renameNaming(adapter('diffusers', [part('to_v', 3)]), 'bfl');
		expect(fused.modules[0]?.rank).toBe(1);
		expect(await numbers(fused.modules[0]?.factors.up)).toEqual([0, 0, 0, 0, 30, 31]);
		const two = renameNaming(adapter('diffusers', [part('to_q', 1), part('to_v', 3)]), 'bfl');
		expect(await numbers(two.modules[0]?.factors.up)).toEqual([10, 0, 11, 0, 0, 0, 0, 0, 0, 30, 0, 31]);
	});

	test('equal scalings stay, unequal ones are folded into up', async () => {
		const half = { alpha: 0.5, scaling: 0.5 };
		const equal = renameNaming(adapter('diffusers', [part('to_q', 1, half), part('to_k', 2, half), part('to_v', 3, half)]), 'bfl')
			.modules[0];
		expect(equal).toMatchObject({ alpha: 1.5, rank: 3, scaling: 0.5 });
		const unequal = renameNaming(adapter('diffusers', [part('to_q', 1, half), part('to_k', 2), part('to_v', 3)]), 'bfl').modules[0];
		expect(unequal).toMatchObject({ alpha: 3, rank: 3, scaling: 1 });
		expect((await numbers(unequal?.factors.up)).slice(0, 4)).toEqual([5, 0, 0, 5.5]);
	});

	test('the delta is the same, and the way back after a file is bit for bit', async () => {
		const parts = [part('to_q', 1), part('to_k', 2), part('to_v', 3)];
		const fused = await reread(renameNaming(adapter('diffusers', parts), 'bfl'));
		const back = renameNaming(fused, 'diffusers');
		const whole = fused.modules[0];
		const rows = whole === undefined ? [] : await delta(whole);
		const deltas = await Promise.all(parts.map(delta));
		expect(rows).toEqual(deltas.flat());
		expect(back.modules.map((m) => [m.path, m.rank, m.alpha])).toEqual(parts.map((m) => [m.path, m.rank, m.alpha]));
		for (const [n, m] of back.modules.entries()) {
			expect(await numbers(m.factors.up)).toEqual(await numbers(parts[n]?.factors.up));
			expect(await numbers(m.factors.down)).toEqual(await numbers(parts[n]?.factors.down));
		}
		expect(back.form).toEqual(new Map());
	});

	test('bfl -> diffusers -> file -> bfl is bit for bit, and in memory the very tensors', async () => {
		const start = adapter('bfl', [
			qkv(),
			module('final_layer.adaLN_modulation.1', { down: counting([1, 2], 0, 'd'), up: counting([4, 1], 0, 'u') }),
		]);
		const split = renameNaming(start, 'diffusers');
		expect(split.modules.at(-1)?.path).toBe('norm_out.linear');
		expect(await numbers(split.modules.at(-1)?.factors.up)).toEqual([2, 3, 0, 1]);
		expect(renameNaming(split, 'bfl')).toEqual(start);
		const back = renameNaming(await reread(split), 'bfl');
		expect(back.modules.map((m) => [m.path, m.rank])).toEqual(start.modules.map((m) => [m.path, m.rank]));
		expect(await numbers(back.modules[0]?.factors.down)).toEqual(await numbers(start.modules[0]?.factors.down));
		expect(await numbers(back.modules[0]?.factors.up)).toEqual(await numbers(start.modules[0]?.factors.up));
	});

	test('linear1 without its MLP part: zero rows, four times the width', () => {
		const q = module('single_transformer_blocks.0.attn.to_q', { down: counting([1, 2], 0, 'd'), up: counting([2, 1], 0, 'u') });
		expect(renameNaming(adapter('diffusers', [q]), 'bfl').modules[0]?.factors.up?.shape).toEqual([14, 1]);
	});

	test('changed factors under an old form entry are refused when read', async () => {
		const split = await reread(renameNaming(adapter('bfl', [qkv()]), 'diffusers'));
		const [q, ...others] = split.modules;
		if (q === undefined) throw new Error('no module');
		const changed = { ...q, factors: { ...q.factors, down: counting([2, 4], 7, 'other') } };
		const fused = renameNaming({ ...split, modules: [changed, ...others] }, 'bfl');
		await expect(fused.modules[0]?.factors.down?.read()).rejects.toMatchObject({ code: 'E_LOSS' });
	});
});

describe('what stays and what is refused', () => {
	test('text encoders keep their names, UNet adapters their naming', () => {
		const text = module('text_model.encoder.layers.0.self_attn.q_proj', qkv().factors, { component: 'text_encoder' });
		const both = renameNaming(adapter('bfl', [text, qkv()]), 'diffusers');
		expect(both.modules[0]).toBe(text);
		const unet = adapter('diffusers', [module('conv_in', qkv().factors, { component: 'unet' })]);
		expect(renameNaming(unet, 'bfl')).toBe(unet);
	});

	const bytes = (dtype: DType, shape: readonly number[], n: number): Tensor => bytesTensor(dtype, shape, new Uint8Array(n));
	const refuse: readonly (readonly [string, Naming, Naming, TargetModule, string])[] = [
		[
			'LoKr',
			'bfl',
			'diffusers',
			module(
				'double_blocks.0.img_attn.qkv',
				{ lokr_w1: counting([3, 2], 0, 'a'), lokr_w2: counting([4, 2], 0, 'b') },
				{ family: 'lokr' as Family },
			),
			'E_UNSUPPORTED_ADAPTER',
		],
		[
			'input-axis DoRA',
			'bfl',
			'diffusers',
			module('double_blocks.0.img_attn.qkv', { ...qkv().factors, magnitude: counting([1, 4], 0, 'm') }, { magnitudeAxis: 'in' }),
			'E_UNSUPPORTED_ADAPTER',
		],
		[
			'rows that do not divide',
			'bfl',
			'diffusers',
			module('double_blocks.0.img_attn.qkv', { down: counting([1, 4], 0, 'd'), up: counting([10, 1], 0, 'u') }),
			'E_LORA_SHAPE',
		],
		['an unknown module', 'bfl', 'diffusers', module('double_blocks.0.img_attn.nothing', qkv().factors), 'E_MODULE_UNRESOLVED'],
		['an unresolved module', 'bfl', 'diffusers', { ...qkv(), resolved: false }, 'E_MODULE_UNRESOLVED'],
		[
			'an odd number of rows to swap',
			'bfl',
			'diffusers',
			module('final_layer.adaLN_modulation.1', { down: counting([1, 2], 0, 'd'), up: counting([3, 1], 0, 'u') }),
			'E_LORA_SHAPE',
		],
		[
			'factors of another height',
			'bfl',
			'diffusers',
			module('double_blocks.0.img_attn.qkv', { ...qkv().factors, up_bias: bytes('F32', [11], 44) }),
			'E_LORA_SHAPE',
		],
		['another model', 'sai', 'diffusers', qkv(), 'E_MODULE_UNRESOLVED'],
	];
	test.each(refuse)('%s', (_, from, to, m, code) => {
		expect(() => renameNaming(adapter(from, [m]), to)).toThrow(expect.objectContaining({ code }));
	});

	test('parts of two families or two dtypes', () => {
		const q = module('transformer_blocks.0.attn.to_q', { down: counting([1, 3], 0, 'd'), up: counting([2, 1], 0, 'u') });
		const half = module('transformer_blocks.0.attn.to_k', { down: bytes('F16', [1, 3], 6), up: bytes('F16', [2, 1], 4) });
		const full = module('transformer_blocks.0.attn.to_v', { diff: counting([2, 3], 0, 'x') }, { family: 'full' });
		expect(() => renameNaming(adapter('diffusers', [q, half]), 'bfl')).toThrow(expect.objectContaining({ code: 'E_LORA_DTYPE' }));
		expect(() => renameNaming(adapter('diffusers', [q, full]), 'bfl')).toThrow(expect.objectContaining({ code: 'E_UNSUPPORTED_ADAPTER' }));
	});
});
