import { describe, expect, it } from 'vitest';
import type { Adapter } from '../../src/adapter.js';
import { diffusers } from '../../src/layouts/diffusers.js';
import { diffusersOld } from '../../src/layouts/diffusers-old.js';
import type { Encoded, EncodeOptions } from '../../src/layouts/layout.js';
import { codeOf, codes, contents, dict, fixture, input, type Literal, messageOf, moduleAt, pairs, sha256 } from './peft-helpers.js';

const A1 = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1';
const KEEP: EncodeOptions = { container: 'safetensors', alpha: 'keep' };
const FOUR = ['to_q', 'to_k', 'to_v', 'to_out.0'].map((m) => `${A1}.${m}`);
const PT = { format: 'pt' };

function encode(adapter: Adapter, options: EncodeOptions = KEEP): Encoded {
	return diffusers.encode?.(adapter, options) as Encoded;
}

/** Written and read again by the same layout, names, bytes and header are the source's. */
async function expectSame(file: ReturnType<typeof dict>): Promise<void> {
	const encoded = encode(diffusers.decode(input(file), {}));
	expect(encoded.losses).toEqual([]);
	expect(await contents(encoded.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
	expect(Object.fromEntries(encoded.files[0]?.metadata ?? [])).toEqual(Object.fromEntries(file.metadata));
}

describe('diffusers reads alpha from lora_adapter_metadata', () => {
	const metadata = {
		'unet.r': 2,
		'unet.lora_alpha': 6,
		'unet.rank_pattern': { 'attn1.to_v': 3 },
		'unet.alpha_pattern': { '^down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k': 1 },
		'text_encoder.r': 2,
		'text_encoder.lora_alpha': 4,
		'text_encoder.use_rslora': true,
	};
	const file = dict(
		{
			...pairs([`unet.${A1}.to_q`, `unet.${A1}.to_k`], '.lora.down.weight', '.lora.up.weight'),
			...pairs([`unet.${A1}.to_v`], '.lora.down.weight', '.lora.up.weight', 3),
			...pairs(['text_encoder.text_model.encoder.layers.0.mlp.fc1'], '.lora_A.weight', '.lora_B.weight'),
		},
		{ ...PT, lora_adapter_metadata: JSON.stringify(metadata) },
	);
	const adapter = diffusers.decode(input(file), {});

	it.each([
		['unet', `${A1}.to_q`, 2, 6, 'alpha/rank', 3],
		['unet', `${A1}.to_k`, 2, 1, 'alpha/rank', 0.5],
		['unet', `${A1}.to_v`, 3, 6, 'alpha/rank', 2],
		['text_encoder', 'text_model.encoder.layers.0.mlp.fc1', 2, 4, 'alpha/sqrt(rank)', 4 / Math.SQRT2],
	])('%s %s', (component, path, rank, alpha, rule, scaling) => {
		expect(moduleAt(adapter, component, path)).toMatchObject({ rank, alpha, rule, scaling, alphaSource: 'metadata' });
	});

	it('consumes the entry, warns of nothing, and writes the very text again', async () => {
		expect(codes(adapter)).toEqual([]);
		expect(adapter.metadata.has('lora_adapter_metadata')).toBe(false);
		await expectSame(file);
	});

	it('generates an entry that says the same when the source has none of its own', () => {
		const written = encode({ ...adapter, form: new Map() }).files[0]?.metadata.get('lora_adapter_metadata') ?? '';
		expect(JSON.parse(written)).toEqual({
			'text_encoder.alpha_pattern': {},
			'text_encoder.bias': 'none',
			'text_encoder.lora_alpha': 4,
			'text_encoder.peft_type': 'LORA',
			'text_encoder.r': 2,
			'text_encoder.rank_pattern': {},
			'text_encoder.target_modules': ['encoder.layers.0.mlp.fc1'], // PEFT matches by suffix; see matchedName
			'text_encoder.use_dora': false,
			'text_encoder.use_rslora': true,
			'unet.alpha_pattern': { [`${A1}.to_k`]: 1 },
			'unet.bias': 'none',
			'unet.lora_alpha': 6,
			'unet.peft_type': 'LORA',
			'unet.r': 2,
			'unet.rank_pattern': { [`${A1}.to_v`]: 3 },
			'unet.target_modules': [`${A1}.to_k`, `${A1}.to_q`, `${A1}.to_v`],
			'unet.use_dora': false,
			'unet.use_rslora': false,
		});
		// As Python's json.dumps(indent=2, sort_keys=True) lays it out.
		expect(written.startsWith('{\n  "text_encoder.alpha_pattern": {},\n  "text_encoder.bias": "none",\n')).toBe(true);
	});

	it('drops the source text when it no longer agrees', () => {
		const doubled = {
			...adapter,
			modules: adapter.modules.map((m) => (m.component === 'unet' ? { ...m, alpha: (m.alpha ?? 0) * 2, scaling: m.scaling * 2 } : m)),
		};
		expect(JSON.parse(encode(doubled).files[0]?.metadata.get('lora_adapter_metadata') ?? '')).toMatchObject({ 'unet.lora_alpha': 12 });
	});
});

describe('diffusers and alpha', () => {
	const plain = dict(
		pairs(
			FOUR.map((m) => `unet.${m}`),
			'.lora_A.weight',
			'.lora_B.weight',
		),
		PT,
	);

	it('warns that nothing says alpha, and writes no metadata for scaling 1', () => {
		const adapter = diffusers.decode(input(plain), {});
		expect(codes(adapter)).toEqual(['W_ALPHA_UNKNOWN']);
		expect(adapter.modules.every((m) => m.scaling === 1 && m.rule === 'one' && m.alpha === null)).toBe(true);
		const header = encode({ ...adapter, form: new Map() }).files[0]?.metadata;
		expect([...(header?.keys() ?? [])]).toEqual(['format']);
	});

	it('warns where the entry contradicts the tensors, and trusts the tensors', () => {
		const said = dict(
			pairs(
				FOUR.map((m) => `unet.${m}`),
				'.lora_A.weight',
				'.lora_B.weight',
			),
			{ ...PT, lora_adapter_metadata: '{"unet.r": 64, "unet.lora_alpha": 4}' },
		);
		const adapter = diffusers.decode(input(said), {});
		expect(codes(adapter)).toEqual(['W_METADATA_CONTRADICTS']);
		expect(moduleAt(adapter, 'unet', `${A1}.to_q`)).toMatchObject({ rank: 2, scaling: 2 });
	});

	it.each([
		'{',
		'[]',
		'null',
		'"x"',
		'{"unet.r": -1, "unet.lora_alpha": 1}',
		'{"unet.r": 2, "unet.lora_alpha": "much"}',
		'{"unet.r": 2, "unet.alpha_pattern": [1]}',
	])('an entry that is %s leaves alpha unknown', (text) => {
		const adapter = diffusers.decode(
			input(dict(pairs(['unet.conv_in'], '.lora_A.weight', '.lora_B.weight'), { ...PT, lora_adapter_metadata: text })),
			{},
		);
		expect(codes(adapter)).toContain('W_METADATA_PARSE');
		expect(codes(adapter)).toContain('W_ALPHA_UNKNOWN');
		expect(adapter.modules[0]?.scaling).toBe(1);
	});

	it('reads alpha tensors and writes them back', async () => {
		const file = dict({ ...pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'), [`unet.${A1}.to_q.alpha`]: [[], [1]] }, PT);
		const adapter = diffusers.decode(input(file), {});
		expect(adapter.modules[0]).toMatchObject({ alpha: 1, scaling: 0.5, alphaSource: 'tensor' });
		await expectSame(file);
	});

	it('--alpha tensors writes F32 scalars beside the factors and no metadata', async () => {
		const said = dict(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'), {
			...PT,
			lora_adapter_metadata: '{"unet.r": 2, "unet.lora_alpha": 3}',
		});
		const { files, losses } = encode(diffusers.decode(input(said), {}), { container: 'safetensors', alpha: 'tensors' });
		const alpha = files[0]?.tensors.get(`unet.${A1}.to_q.alpha`);
		expect(losses).toEqual([]);
		expect(alpha).toMatchObject({ dtype: 'F32', shape: [] });
		expect([...((await alpha?.read()) ?? [])]).toEqual([0, 0, 0x40, 0x40]);
		expect(files[0]?.metadata.has('lora_adapter_metadata')).toBe(false);
	});

	it('a torch file cannot say a scaling other than 1', () => {
		const said = dict(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'), {
			...PT,
			lora_adapter_metadata: '{"unet.r": 2, "unet.lora_alpha": 3}',
		});
		const { losses } = encode(diffusers.decode(input(said), {}), { container: 'torch-zip', alpha: 'keep' });
		expect(losses.map((l) => l.what)).toEqual([`alpha of unet ${A1}.to_q`, 'metadata:lora_adapter_metadata']);
	});
});

describe('diffusers spelling', () => {
	it.each<[string, Record<string, Literal>]>([
		[
			'the training scripts',
			{
				...pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'),
				...pairs(['unet.conv_in', 'unet.down_blocks.0.attentions.0.proj_in'], '.lora_A.weight', '.lora_B.weight'),
			},
		],
		[
			'PEFT throughout',
			pairs([`unet.${A1}.to_q`, 'text_encoder.text_model.encoder.layers.0.self_attn.q_proj'], '.lora_A.weight', '.lora_B.weight'),
		],
		[
			'a mixture by no rule',
			{
				...pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'),
				...pairs([`unet.${A1}.to_k`], '.lora_A.weight', '.lora_B.weight'),
			},
		],
		[
			'text encoder MLPs in PEFT spelling',
			{
				...pairs(
					['text_encoder.text_model.encoder.layers.0.self_attn.q_proj'],
					'.lora_linear_layer.down.weight',
					'.lora_linear_layer.up.weight',
				),
				...pairs(['text_encoder.text_model.encoder.layers.0.mlp.fc1'], '.lora_A.weight', '.lora_B.weight'),
			},
		],
		['transformers >= 5', pairs(['text_encoder.encoder.layers.0.mlp.fc1'], '.lora_A.weight', '.lora_B.weight')],
		[
			'text_encoder_1',
			pairs(
				['text_encoder_1.text_model.encoder.layers.0.mlp.fc1', 'text_encoder_2.text_model.encoder.layers.0.mlp.fc1'],
				'.lora_A.weight',
				'.lora_B.weight',
			),
		],
		['save_lora_adapter', pairs([`${A1}.to_q`], '.lora_A.weight', '.lora_B.weight')],
		[
			'a transformer',
			pairs(
				['transformer.transformer_blocks.0.attn.to_q', 'transformer_2.transformer_blocks.0.attn.to_q'],
				'.lora_A.weight',
				'.lora_B.weight',
			),
		],
		['names of an adapter', pairs(['transformer.transformer_blocks.0.attn.to_q'], '.lora_A.default.weight', '.lora_B.default.weight')],
		[
			'DoRA and bias',
			{
				...pairs([`unet.${A1}.to_q`], '.lora_A.weight', '.lora_B.weight'),
				[`unet.${A1}.to_q.lora_magnitude_vector`]: [[8]],
				[`unet.${A1}.to_q.lora_B.bias`]: [[8]],
			},
		],
		[
			'DoRA with .weight',
			{ ...pairs([`unet.${A1}.to_q`], '.lora_A.weight', '.lora_B.weight'), [`unet.${A1}.to_q.lora_magnitude_vector.weight`]: [[8]] },
		],
		[
			'DoRA of a convolution',
			{
				'unet.conv_in.lora_A.weight': [[2, 4, 3, 3]],
				'unet.conv_in.lora_B.weight': [[8, 2, 1, 1]],
				'unet.conv_in.lora_magnitude_vector': [[1, 8, 1, 1]],
			},
		],
	])('%s comes back as it was', async (_, tensors) => {
		await expectSame(dict(tensors, PT));
		await expectSame(dict(tensors));
	});

	it('writes lora.down only where nothing else stands in the UNet: diffusers drops it behind a first lora_A', () => {
		const base = diffusers.decode(input(dict(pairs([`unet.${A1}.to_q`], '.lora_A.weight', '.lora_B.weight'))), {});
		const mixed = diffusers.decode(input(dict(pairs([`unet.${A1}.to_q`, 'unet.conv_in'], '.lora_A.weight', '.lora_B.weight'))), {});
		const names = (a: Adapter): readonly string[] => [...(encode({ ...a, form: new Map() }).files[0]?.tensors.keys() ?? [])];
		expect(names(base)).toEqual([`unet.${A1}.to_q.lora.down.weight`, `unet.${A1}.to_q.lora.up.weight`]);
		expect(names(mixed)).toContain(`unet.${A1}.to_q.lora_A.weight`);
		expect(names(mixed)).toContain('unet.conv_in.lora_A.weight');
	});
});

describe('diffusers refuses', () => {
	it('several adapters in one file, naming them', () => {
		const file = dict({
			...pairs(['unet.conv_in'], '.lora_A.cat.weight', '.lora_B.cat.weight'),
			...pairs(['unet.conv_in'], '.lora_A.dog.weight', '.lora_B.dog.weight'),
		});
		expect(codeOf(() => diffusers.decode(input(file), {}))).toBe('E_LORA_MULTIPLE_ADAPTERS');
		expect(messageOf(() => diffusers.decode(input(file), {}))).toContain('"cat", "dog"');
		const cat = diffusers.decode(input(file), { adapterName: 'cat' });
		expect(cat.modules).toHaveLength(1);
		expect([...cat.unknown.keys()]).toEqual(['unet.conv_in.lora_A.dog.weight', 'unet.conv_in.lora_B.dog.weight']);
	});

	it('a module in two spellings', () => {
		const file = dict({
			...pairs(['unet.conv_in'], '.lora_A.weight', '.lora_B.weight'),
			...pairs(['unet.conv_in'], '.lora.down.weight', '.lora.up.weight'),
		});
		expect(codeOf(() => diffusers.decode(input(file), {}))).toBe('E_LORA_DUPLICATE_MODULE');
	});

	it('families that its readers do not know, by name', () => {
		const from = diffusers.decode(
			input(
				dict({
					'unet.conv_in.hada_w1_a': [[8, 2]],
					'unet.conv_in.hada_w1_b': [[2, 8]],
					'unet.conv_in.hada_w2_a': [[8, 2]],
					'unet.conv_in.hada_w2_b': [[2, 8]],
				}),
			),
			{},
		);
		const { losses } = encode({ ...from, source: { ...from.source, layout: 'kohya' } });
		expect(losses).toHaveLength(4);
		expect(losses[0]?.why).toContain('loha (1 module): family not supported');
	});

	it('a magnitude per input column', () => {
		const from = diffusers.decode(
			input(dict({ ...pairs(['unet.conv_in'], '.lora_A.weight', '.lora_B.weight'), 'unet.conv_in.lora_magnitude_vector': [[8]] })),
			{},
		);
		const { losses } = encode({ ...from, modules: from.modules.map((m) => ({ ...m, magnitudeAxis: 'in' as const })) });
		expect(losses.map((l) => l.what)).toEqual(['unet.conv_in.lora_magnitude_vector']);
	});

	it('keeps what it does not understand as unknown', () => {
		const adapter = diffusers.decode(input(dict({ ...pairs(['unet.conv_in'], '.lora_A.weight', '.lora_B.weight'), whatever: [[3]] })), {});
		expect([...adapter.unknown.keys()]).toEqual(['whatever']);
		expect(encode(adapter).losses.map((l) => l.what)).toEqual(['whatever']);
	});
});

describe('diffusers or diffusers-old', () => {
	const old = (file: ReturnType<typeof dict>): string =>
		diffusers.claim(input(file)).confidence > diffusersOld.claim(input(file)).confidence ? 'diffusers' : 'diffusers-old';
	const four = pairs(
		FOUR.map((m) => `unet.${m}`),
		'.lora.down.weight',
		'.lora.up.weight',
	);
	it.each<[string, Record<string, Literal>, Record<string, string>, string]>([
		['all four of an attention', four, PT, 'diffusers-old'],
		['a choice among the four', pairs([`unet.${A1}.to_q`, `unet.${A1}.to_v`], '.lora.down.weight', '.lora.up.weight'), PT, 'diffusers'],
		[
			'other modules in lora.down',
			{ ...four, ...pairs(['unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2'], '.lora.down.weight', '.lora.up.weight') },
			PT,
			'diffusers-old',
		],
		['lora_adapter_metadata', four, { lora_adapter_metadata: '{"unet.r": 2, "unet.lora_alpha": 2}' }, 'diffusers'],
		['lora_A anywhere', { ...four, ...pairs(['unet.conv_in'], '.lora_A.weight', '.lora_B.weight') }, PT, 'diffusers'],
	])('%s', (_, tensors, metadata, expected) => {
		expect(old(dict(tensors, metadata))).toBe(expected);
	});

	it('the two readings are one adapter', () => {
		const file = dict(four, PT);
		const a = diffusers.decode(input(file), {}).modules;
		expect(diffusersOld.decode(input(file), {}).modules).toEqual(a);
	});
});

describe('a file by diffusers 0.40-dev', () => {
	it('peft_no_metadata: trained with alpha 16 and rank 4, which is lost', async () => {
		const file = await fixture('diffusers/peft_no_metadata.safetensors');
		expect(diffusers.claim(input(file))).toMatchObject({ confidence: 0.9 });
		const adapter = diffusers.decode(input(file), {});
		expect(adapter.modules).toHaveLength(64);
		const module = moduleAt(adapter, 'unet', `${A1}.to_q`);
		// From the reference set's digest.
		expect(module).toMatchObject({ rank: 4, alpha: null, scaling: 1 });
		expect(await sha256(module.factors.down)).toBe('be4fa88de0ae5b042fc1144458a25c147b954211fd866a2bd72c8c3cff58a05c');
		expect(await sha256(module.factors.up)).toBe('a45914fb25731645852846992b094cb6ef4a9985565504865cd9b5e6f2c78a97');
		expect(codes(adapter)).toEqual(['W_ALPHA_UNKNOWN']);
		await expectSame(file);
	});
});
