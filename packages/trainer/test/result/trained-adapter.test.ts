import { FormatError } from '@lorakit/format';
import { describe, expect, test } from 'vitest';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { planResult } from '../../src/result/plan-result.js';
import { type AdapterDescription, trainedAdapter } from '../../src/result/trained-adapter.js';
import { attentionOf, type CaseModule, fixture, fixtureJson, meaning, NARROW, stateDict, trainables, written } from './support.js';

const CASES = fixtureJson<Readonly<Record<string, readonly CaseModule[]>>>('cases.json');

async function load(name: string): Promise<{ readonly tensors: readonly TrainableTensor[]; readonly description: AdapterDescription }> {
	return {
		tensors: await trainables(fixture(`${name}-factors.safetensors`)),
		description: { name, architecture: 'sd1', modules: CASES[name] ?? [] },
	};
}

async function saved(name: string, layout?: string): Promise<ReadonlyMap<string, Uint8Array>> {
	const { tensors, description } = await load(name);
	return written(planResult(trainedAdapter(tensors, description), { layout }));
}

describe('the file that diffusers saves after training', () => {
	test('attention: the same names, types, shapes and bytes', async () => {
		const ours = await stateDict((await saved('attention')).get('pytorch_lora_weights.safetensors') ?? new Uint8Array());
		const theirs = await stateDict(fixture('attention.safetensors'));
		expect([...ours.tensors.keys()]).toEqual([...theirs.tensors.keys()]);
		for (const [name, tensor] of theirs.tensors) {
			const own = ours.tensors.get(name);
			expect([own?.dtype, own?.shape], name).toEqual([tensor.dtype, tensor.shape]);
			expect([...((await own?.read()) ?? [])], name).toEqual([...(await tensor.read())]);
		}
		for (const [key, value] of theirs.metadata) expect(ours.metadata.get(key)).toBe(value);
	});

	test('alpha: lora_adapter_metadata as PEFT and diffusers write it', async () => {
		const ours = await stateDict((await saved('alpha')).get('pytorch_lora_weights.safetensors') ?? new Uint8Array());
		const theirs = await stateDict(fixture('alpha.safetensors'));
		// transformers 5 has no level text_model; format writes the names of the models that are published.
		const names = [...theirs.tensors.keys()].map((name) => name.replace('text_encoder.', 'text_encoder.text_model.'));
		expect([...ours.tensors.keys()]).toEqual(names);
		const [own, other] = [ours, theirs].map((s) => JSON.parse(s.metadata.get('lora_adapter_metadata') ?? '') as Record<string, unknown>);
		const keys = ['r', 'lora_alpha', 'peft_type', 'use_rslora', 'use_dora', 'rank_pattern', 'alpha_pattern'];
		for (const component of ['unet', 'text_encoder']) {
			for (const key of keys) expect(own?.[`${component}.${key}`], key).toEqual(other?.[`${component}.${key}`]);
		}
	});

	// PEFT's scaling is a quotient of Python floats, as ours: equal to the bit. The factors are bytes.
	test.each(Object.keys(CASES))('%s: every module means what PEFT computed with', async (name) => {
		const { modules } = await meaning((await saved(name)).get('pytorch_lora_weights.safetensors') ?? new Uint8Array());
		const theirs = await meaning(fixture(`${name}.safetensors`));
		expect([...modules.keys()].sort()).toEqual([...theirs.modules.keys()].sort());
		for (const { component, path, scaling } of CASES[name] ?? []) {
			const own = modules.get(`${component} ${path}`);
			expect(own?.scaling, path).toBe(scaling);
			expect(own?.factors, path).toEqual(theirs.modules.get(`${component} ${path}`)?.factors);
		}
	});
});

describe('other layouts', () => {
	test.each([
		['kohya', 'alpha.safetensors'],
		['diffusers-old-prefixed', 'pytorch_lora_weights.safetensors'],
	])('%s: the same deltas', async (layout, file) => {
		const { modules } = await meaning((await saved('alpha', layout)).get(file) ?? new Uint8Array());
		expect(modules.size).toBe(CASES['alpha']?.length);
		const tensors = new Map((await load('alpha')).tensors.map((t) => [t.name, t.values]));
		for (const { component, path, scaling } of CASES['alpha'] ?? []) {
			const own = modules.get(`${component} ${path}`);
			const up = tensors.get(`${component}.${path}:up`) ?? [];
			expect(own?.factors['down']).toEqual([...(tensors.get(`${component}.${path}:down`) ?? [])]);
			// Scalings of this case are powers of two, so folding is exact too.
			expect(own?.factors['up']?.map((x) => x * (own?.scaling ?? 0))).toEqual([...up].map((x) => x * scaling));
		}
	});

	test('rsLoRA to kohya: alpha is alpha sqrt(rank)', async () => {
		const bytes = (await saved('rslora', 'kohya')).get('rslora.safetensors') ?? new Uint8Array();
		const { adapter } = await meaning(bytes);
		// sqrt(4) is exact.
		expect(new Set(adapter.modules.map((m) => m.alpha))).toEqual(new Set([12]));
		expect(new Set(adapter.modules.map((m) => m.scaling))).toEqual(new Set([3]));
	});

	test('peft: adapter_model.safetensors and adapter_config.json', async () => {
		const files = await saved('locon', 'peft');
		expect([...files.keys()]).toEqual(['adapter_model.safetensors', 'adapter_config.json']);
		const config = new TextDecoder().decode(files.get('adapter_config.json'));
		const { modules } = await meaning(files.get('adapter_model.safetensors') ?? new Uint8Array(), config);
		for (const { component, path, scaling } of CASES['locon'] ?? []) expect(modules.get(`${component} ${path}`)?.scaling).toBe(scaling);
	});

	test('a torch file has the tensors, and a note says what it lacks', async () => {
		const { tensors, description } = await load('attention');
		const plan = planResult(trainedAdapter(tensors, { ...description, metadata: new Map([['format', 'pt']]) }), {
			layout: 'diffusers-attn-procs',
			container: 'torch-zip',
		});
		expect(plan.files.map(({ name }) => name)).toEqual(['pytorch_lora_weights.bin']);
		expect(plan.notes).toEqual([expect.stringContaining('no header')]);
		const { modules } = await meaning((await written(plan)).get('pytorch_lora_weights.bin') ?? new Uint8Array());
		expect(modules.size).toBe(CASES['attention']?.length);
	});

	test('what a layout cannot hold is refused before it is written', async () => {
		const { tensors, description } = await load('locon');
		const adapter = trainedAdapter(tensors, description);
		expect(() => planResult(adapter, { layout: 'diffusers-attn-procs' })).toThrow(FormatError);
		expect(() => planResult(adapter, { layout: 'no-such-layout' })).toThrow(/no layout/);
	});
});

describe('learned tokens', () => {
	const rows: TrainableTensor = {
		name: 'added_rows',
		group: 'tokens',
		shape: [3, 4],
		values: Float32Array.from({ length: 12 }, (_, i) => i),
	};
	const tokens = [
		{ token: '<a>', vectors: 1 },
		{ token: '<b>', vectors: 2 },
	];

	test('beside: a file each, under their own names, as diffusers loads them', async () => {
		const plan = planResult(trainedAdapter([rows], { name: 'x', architecture: 'sd1', modules: [], tokens }));
		expect(plan.main).toBeUndefined();
		const files = await written(plan);
		expect([...files.keys()]).toEqual(['learned_embeds_a.safetensors', 'learned_embeds_b.safetensors']);
		const a = await stateDict(files.get('learned_embeds_a.safetensors') ?? new Uint8Array());
		const b = await stateDict(files.get('learned_embeds_b.safetensors') ?? new Uint8Array());
		expect([...a.tensors].map(([name, t]) => [name, t.dtype, t.shape])).toEqual([['<a>', 'F32', [4]]]);
		expect([...b.tensors].map(([name, t]) => [name, t.dtype, t.shape])).toEqual([['<b>', 'F32', [2, 4]]]);
		expect([...new Float32Array(((await b.tensors.get('<b>')?.read()) ?? new Uint8Array()).slice().buffer)]).toEqual([
			4, 5, 6, 7, 8, 9, 10, 11,
		]);
	});

	test('pivotal: beside the adapter in diffusers, inside too in kohya, and only there when asked', async () => {
		const { tensors, description } = await load('attention');
		const adapter = trainedAdapter([...tensors, rows], { ...description, tokens });
		const names = (layout: string, embeddings?: 'beside' | 'inside' | 'both') =>
			planResult(adapter, { layout, embeddings }).files.map(({ name }) => name);
		expect(names('diffusers')).toEqual([
			'pytorch_lora_weights.safetensors',
			'learned_embeds_a.safetensors',
			'learned_embeds_b.safetensors',
		]);
		expect(names('kohya')).toEqual(['attention.safetensors', 'learned_embeds_a.safetensors', 'learned_embeds_b.safetensors']);
		expect(names('kohya', 'inside')).toEqual(['attention.safetensors']);
		const inside = await meaning(
			(await written(planResult(adapter, { layout: 'kohya', embeddings: 'inside' }))).get('attention.safetensors') ?? new Uint8Array(),
		);
		expect(inside.adapter.embeddings.map(({ token }) => token)).toEqual(['<a>', '<b>']);
		const beside = await meaning(
			(await written(planResult(adapter, { layout: 'kohya', embeddings: 'beside' }))).get('attention.safetensors') ?? new Uint8Array(),
		);
		expect(beside.adapter.embeddings).toEqual([]);
		expect(() => names('diffusers', 'inside')).toThrow(/no place for learned tokens/);
	});

	test('float32 whatever the adapter is, as cloneofsimo saves them', async () => {
		const { modules, tensors } = attentionOf(NARROW, 2);
		const one = { ...rows, shape: [1, 4], values: rows.values.slice(0, 4) };
		const tokens = [{ token: '<s1>', vectors: 1 }];
		const adapter = trainedAdapter([...tensors, one], { name: 'my style', architecture: 'sd1', modules, tokens });
		const plan = planResult(adapter, { layout: 'cloneofsimo', dtype: 'F16' });
		expect(plan.notes).toEqual([]);
		const files = await written(plan);
		const { tensors: all, metadata } = await stateDict(files.get('my-style.safetensors') ?? new Uint8Array());
		expect(all.get('<s1>')?.dtype).toBe('F32');
		expect(metadata.get('<s1>')).toBe('<embed>');
		expect(new Set([...all].filter(([name]) => name !== '<s1>').map(([, t]) => t.dtype))).toEqual(new Set(['F16']));
		expect((await stateDict(files.get('learned_embeds.safetensors') ?? new Uint8Array())).tensors.get('<s1>')?.dtype).toBe('F32');
	});

	test('alpha goes into the factors where a layout has no place for it, and kohya\u2019s entry follows', async () => {
		const { modules, tensors } = attentionOf(NARROW, 2, 6);
		const metadata = new Map([
			['ss_network_dim', '2'],
			['ss_network_alpha', '6.0'],
		]);
		const plan = planResult(trainedAdapter(tensors, { name: 'x', architecture: 'sd1', modules, metadata }), { layout: 'cloneofsimo' });
		expect(plan.notes).toEqual(['cloneofsimo-safetensors has no place for alpha, so it is multiplied into the factors']);
		const bytes = (await written(plan)).get('x.safetensors') ?? new Uint8Array();
		expect((await stateDict(bytes)).metadata.get('ss_network_alpha')).toBe('2.0');
		const read = await meaning(bytes);
		const before = new Map(tensors.map((t) => [t.name, t.values]));
		for (const { path } of modules) {
			const own = read.modules.get(`unet ${path}`);
			expect(own?.scaling).toBe(1);
			// 6 / 2 times sixteenths: exact.
			expect(own?.factors['up']).toEqual([...(before.get(`unet.${path}:up`) ?? [])].map((x) => x * 3));
		}
	});

	test('two text encoders share a file: clip_l and clip_g', async () => {
		const second: TrainableTensor = {
			name: 'text_encoder_2.added_rows',
			group: 'tokens',
			shape: [1, 6],
			values: new Float32Array(6).fill(2),
		};
		const first = { ...rows, shape: [1, 4], values: rows.values.slice(0, 4) };
		const plan = planResult(
			trainedAdapter([first, second], { name: 'x', architecture: 'sdxl', modules: [], tokens: [{ token: '<s1>', vectors: 1 }] }),
		);
		const { tensors } = await stateDict((await written(plan)).get('learned_embeds.safetensors') ?? new Uint8Array());
		expect([...tensors].map(([name, t]) => [name, t.shape])).toEqual([
			['clip_g', [1, 6]],
			['clip_l', [1, 4]],
		]);
	});
});

describe('what is refused', () => {
	const tensor = (name: string, shape: readonly number[]): TrainableTensor => ({
		name,
		group: 'unet',
		shape,
		values: new Float32Array(shape.reduce((a, b) => a * b, 1)),
	});
	const module = { component: 'unet', path: 'mid_block.attentions.0.transformer_blocks.0.attn1.to_q', rank: 2, alpha: 2 };
	const key = `unet.${module.path}`;
	const down = tensor(`${key}:down`, [2, 8]);
	const up = tensor(`${key}:up`, [8, 2]);
	const run = (tensors: readonly TrainableTensor[], modules: AdapterDescription['modules'], tokens?: AdapterDescription['tokens']) =>
		trainedAdapter(tensors, { name: 'x', architecture: 'sd1', modules, tokens });

	test.each<readonly [string, () => unknown]>([
		['E_LORA_UNPAIRED', () => run([down], [module])],
		['E_LORA_UNPAIRED', () => run([down, up], [])],
		['E_LORA_RANK', () => run([down, up], [{ ...module, rank: 3 }])],
		['E_LORA_ALPHA', () => run([down, up], [{ ...module, alpha: Number.NaN }])],
		['E_LORA_SHAPE', () => run([tensor(`${key}:down`, [2, 8, 3, 3]), up], [module])],
		['E_LORA_SHAPE', () => run([down, up, tensor(`${key}:magnitude`, [7])], [module])],
		['E_UNKNOWN_KEY', () => run([tensor('unet.conv_in.weight', [2, 2])], [])],
		['E_EMPTY_ADAPTER', () => run([], [])],
		['E_SHAPE', () => run([tensor('added_rows', [2, 4])], [], [{ token: '<a>', vectors: 1 }])],
		['E_SHAPE', () => run([down, up], [module], [{ token: '<a>', vectors: 1 }])],
	])('%s', (code, make) => {
		let thrown: unknown;
		try {
			make();
		} catch (error) {
			thrown = error;
		}
		expect(thrown).toBeInstanceOf(FormatError);
		expect((thrown as FormatError).code).toBe(code);
	});

	test('the values are a snapshot', async () => {
		const values = new Float32Array(16).fill(1);
		const adapter = run([{ ...down, values }, up], [module]);
		values.fill(9);
		const bytes = (await adapter.modules[0]?.factors.down?.read()) ?? new Uint8Array();
		expect(new Set(new Float32Array(bytes.slice().buffer))).toEqual(new Set([1]));
	});
});
