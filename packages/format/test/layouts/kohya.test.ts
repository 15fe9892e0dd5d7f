import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { TargetModule } from '../../src/adapter.js';
import { bytesSource } from '../../src/byte-source.js';
import { readSafetensors } from '../../src/containers/index.js';
import { FormatError } from '../../src/errors.js';
import { kohya } from '../../src/layouts/kohya.js';
import { nativeDotted } from '../../src/layouts/native-dotted.js';
import { omi } from '../../src/layouts/omi.js';
import { bytesTensor } from '../../src/tensor.js';
import { contents, fileOf, inputOf, KEEP, lora, type Spec, sha, tensorOf, thereAndBack } from './kohya-helpers.js';

const UNET = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';

async function decode(specs: Readonly<Record<string, Spec>>, metadata: Readonly<Record<string, string>> = {}) {
	return kohya.decode(inputOf(await fileOf(specs, metadata)), {});
}

describe('names', () => {
	// kohya's flat name -> component, path (LAYOUTS.md §2.3 to 2.6, §3).
	it.each([
		[UNET, 'unet', 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q'],
		['lora_unet_mid_block_attentions_0_proj_in', 'unet', 'mid_block.attentions.0.proj_in'],
		['lora_unet_down_blocks_1_resnets_0_time_emb_proj', 'unet', 'down_blocks.1.resnets.0.time_emb_proj'],
		[
			'lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj',
			'unet',
			'up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj',
		],
		['lora_unet_conv_in', 'unet', 'conv_in'],
		['lora_unet_time_embedding_linear_1', 'unet', 'time_embedding.linear_1'],
		[
			'lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_out_0',
			'unet',
			'down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_out.0',
		],
		['lora_unet_middle_block_1_proj_out', 'unet', 'mid_block.attentions.0.proj_out'],
		['lora_unet_output_blocks_2_2_conv', 'unet', 'up_blocks.0.upsamplers.0.conv'],
		['lora_unet_input_blocks_3_0_op', 'unet', 'down_blocks.0.downsamplers.0.conv'],
		['lora_unet_input_blocks_1_0_in_layers_2', 'unet', 'down_blocks.0.resnets.0.conv1'],
		['lora_unet_label_emb_0_0', 'unet', 'add_embedding.linear_1'],
		['lora_unet_double_blocks_0_img_attn_qkv', 'transformer', 'double_blocks.0.img_attn.qkv'],
		['lora_unet_single_blocks_37_linear1', 'transformer', 'single_blocks.37.linear1'],
		['lora_unet_single_blocks_37_modulation_lin', 'transformer', 'single_blocks.37.modulation.lin'],
		['lora_unet_joint_blocks_0_x_block_attn_qkv', 'transformer', 'joint_blocks.0.x_block.attn.qkv'],
		['lora_unet_joint_blocks_0_context_block_adaLN_modulation_1', 'transformer', 'joint_blocks.0.context_block.adaLN_modulation.1'],
		['lora_unet_blocks_0_self_attn_q', 'transformer', 'blocks.0.self_attn.q'],
		['lora_unet__blocks_0_cross_attn_k_img', 'transformer', 'blocks.0.cross_attn.k_img'],
		['lora_unet_transformer_blocks_0_attn_add_k_proj', 'transformer', 'transformer_blocks.0.attn.add_k_proj'],
		['lora_unet_layers_0_attention_to_q', 'transformer', 'layers.0.attention.to_q'],
		['lora_transformer_single_transformer_blocks_0_attn_to_q', 'transformer', 'single_transformer_blocks.0.attn.to_q'],
		['lora_te_text_model_encoder_layers_0_self_attn_q_proj', 'text_encoder', 'text_model.encoder.layers.0.self_attn.q_proj'],
		['lora_te1_text_model_encoder_layers_11_mlp_fc1', 'text_encoder', 'text_model.encoder.layers.11.mlp.fc1'],
		['lora_te2_text_model_encoder_layers_31_mlp_fc2', 'text_encoder_2', 'text_model.encoder.layers.31.mlp.fc2'],
		['lora_te2_text_projection', 'text_encoder_2', 'text_projection'],
		['lora_te3_encoder_block_0_layer_0_SelfAttention_q', 'text_encoder_2', 'encoder.block.0.layer.0.SelfAttention.q'],
		['lora_te2_encoder_block_0_layer_1_DenseReluDense_wi_0', 'text_encoder_2', 'encoder.block.0.layer.1.DenseReluDense.wi_0'],
		['lora_prior_te_text_model_encoder_layers_0_mlp_fc1', 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1'],
	])('%s', async (name, component, path) => {
		const file = await fileOf(lora(name, 8, 8, 2, 1));
		const claim = kohya.claim(inputOf(file));
		expect(claim.names.size).toBe(3);
		expect(claim.confidence).toBe(1);
		const adapter = kohya.decode(inputOf(file), {});
		expect(adapter.modules.map((m) => [m.component, m.path, m.resolved])).toEqual([[component, path, true]]);
		expect(adapter.unknown.size).toBe(0);
		// Names as they were, whatever they were.
		const encoded = kohya.encode?.(adapter, KEEP);
		expect(await contents(encoded?.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
		expect([...(encoded?.files[0]?.metadata ?? [])]).toEqual([]);
		expect(encoded?.losses).toEqual([]);
	});

	it("the third encoder is SD3 where there is a second CLIP, else Flux' T5", async () => {
		const te = {
			...lora('lora_te2_text_model_encoder_layers_0_mlp_fc1', 8, 8),
			...lora('lora_te3_encoder_block_0_layer_0_SelfAttention_q', 8, 8),
		};
		expect((await decode(te)).modules.map((m) => m.component)).toEqual(['text_encoder_2', 'text_encoder_3']);
		const flux = {
			...lora('lora_unet_double_blocks_0_img_attn_qkv', 24, 8),
			...lora('lora_te3_encoder_block_0_layer_0_SelfAttention_q', 8, 8),
		};
		expect((await decode(flux)).modules.map((m) => m.component)).toEqual(['transformer', 'text_encoder_2']);
	});

	it('a name that no table knows stays flat, with a warning, and is written back', async () => {
		const specs = lora('lora_unet_odd_part_3_that_nobody_knows', 8, 8, 2, 1);
		const adapter = await decode(specs);
		expect(adapter.modules.map((m) => [m.path, m.resolved])).toEqual([['odd_part_3_that_nobody_knows', false]]);
		expect(adapter.warnings.map((w) => w.code)).toContain('W_UNRESOLVED');
		expect([...(kohya.encode?.(adapter, KEEP).files[0]?.tensors.keys() ?? [])].sort()).toEqual(Object.keys(specs).sort());
	});

	it('sgm and diffusers spellings of one module are duplicates', async () => {
		const specs = {
			...lora('lora_unet_input_blocks_4_1_proj_in', 8, 8),
			...lora('lora_unet_down_blocks_1_attentions_0_proj_in', 8, 8),
		};
		await expect(decode(specs)).rejects.toMatchObject({ code: 'E_LORA_DUPLICATE_MODULE' });
	});

	it('SDXL is written in sgm names, an SDXL file in diffusers names stays so, through another layout too', async () => {
		const sgm = {
			...lora('lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k', 640, 2048, 2, 1),
			...lora('lora_te1_text_model_encoder_layers_0_mlp_fc1', 3072, 768, 2, 1),
			...lora('lora_te2_text_model_encoder_layers_0_mlp_fc1', 5120, 1280, 2, 1),
		};
		const adapter = await decode(sgm);
		expect(adapter.base.family).toBe('sdxl');
		expect([...adapter.form]).toEqual([]);
		const dotted = { ...sgm };
		for (const [name, spec] of Object.entries(
			lora('lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_k', 640, 2048, 2, 1),
		)) {
			delete dotted[name.replace('down_blocks_1_attentions_0', 'input_blocks_4_1')];
			dotted[name] = spec;
		}
		const file = await fileOf(dotted);
		expect(kohya.decode(inputOf(file), {}).form.get('kohya.blocks')).toBe('diffusers');
		const back = await thereAndBack(file, kohya, omi);
		expect([...back.middle.tensors.keys()]).toContain('unet.input_blocks.4.1.transformer_blocks.1.attn2.to_k.lora_down.weight');
		expect(back.tensors).toEqual(await contents(file.tensors));
		expect(back.metadata).toEqual({});
	});
});

describe('leaves', () => {
	const base = UNET;
	it.each<[string, Record<string, Spec>]>([
		[
			'locon',
			{ 'lora_down.weight': ['F32', [2, 8, 1, 1]], 'lora_mid.weight': ['F32', [2, 2, 3, 3]], 'lora_up.weight': ['F32', [8, 2, 1, 1]] },
		],
		[
			'loha',
			{
				hada_w1_a: ['F32', [8, 2]],
				hada_w1_b: ['F32', [2, 8]],
				hada_w2_a: ['F32', [8, 2]],
				hada_w2_b: ['F32', [2, 8]],
				alpha: ['F32', [], [1]],
			},
		],
		['lokr', { lokr_w1: ['F32', [4, 4]], lokr_w2: ['F32', [2, 2]], alpha: ['F32', [], [3]] }],
		['full', { diff: ['F32', [8, 8]], diff_b: ['F32', [8]] }],
		['norm', { w_norm: ['F32', [8]], b_norm: ['F32', [8]] }],
		[
			'glora',
			{
				'a1.weight': ['F32', [8, 2]],
				'a2.weight': ['F32', [2, 8]],
				'b1.weight': ['F32', [8, 2]],
				'b2.weight': ['F32', [2, 8]],
				alpha: ['F32', [], [1]],
			},
		],
		['oft', { oft_blocks: ['F32', [2, 4, 4]], alpha: ['F32', [], [0.5]] }],
		['boft', { oft_blocks: ['F32', [3, 2, 4, 4]], rescale: ['F32', [8, 1]] }],
		['ia3', { weight: ['F32', [8]], on_input: ['I64', [], [0]] }],
		['whole', { set_weight: ['F32', [8]] }],
		[
			'lora',
			{ 'lora_down.weight': ['F32', [2, 8]], 'lora_up.weight': ['F32', [8, 2]], scale: ['F32', [], [0.25]], alpha: ['F32', [], [1]] },
		],
		['lora', { 'lora_A.weight': ['F32', [2, 8]], 'lora_B.weight': ['F32', [8, 2]] }],
		[
			'lora',
			{
				'lora_down.weight': ['F32', [2, 8]],
				'lora_up.weight': ['F32', [8, 2]],
				bias_indices: ['F32', [2, 3]],
				bias_values: ['F32', [3]],
				bias_size: ['I64', [2], [8, 8]],
			},
		],
	])('%s is carried bit for bit', async (family, leaves) => {
		const specs = Object.fromEntries(Object.entries(leaves).map(([leaf, spec]) => [`${base}.${leaf}`, spec]));
		const file = await fileOf(specs);
		const adapter = kohya.decode(inputOf(file), {});
		expect(adapter.modules.map((m) => m.family)).toEqual([family]);
		expect(adapter.unknown.size).toBe(0);
		const encoded = kohya.encode?.(adapter, KEEP);
		expect(encoded?.losses).toEqual([]);
		for (const [name, tensor] of file.tensors) expect(encoded?.files[0]?.tensors.get(name)).toBe(tensor);
		expect(encoded?.files[0]?.tensors.size).toBe(file.tensors.size);
		for (const via of [omi, nativeDotted]) {
			const back = await thereAndBack(file, kohya, via);
			expect(back.losses).toEqual([]);
			expect(back.tensors).toEqual(await contents(file.tensors));
			expect(back.metadata).toEqual({});
		}
	});

	it('a leaf that nobody knows is unknown, warned of, and a loss when written', async () => {
		const adapter = await decode({ ...lora(base, 8, 8), [`${base}.mystery`]: ['F32', [3]] });
		expect([...adapter.unknown.keys()]).toEqual([`${base}.mystery`]);
		expect(adapter.warnings.map((w) => w.code)).toContain('W_UNKNOWN_KEY');
		expect(kohya.encode?.(adapter, KEEP).losses.map((l) => l.what)).toEqual([`${base}.mystery`]);
	});

	it('lora_A beside lora_down of one module are duplicates', async () => {
		const specs = {
			...lora(base, 8, 8),
			[`${base}.lora_A.weight`]: ['F32', [2, 8]] as Spec,
			[`${base}.lora_B.weight`]: ['F32', [8, 2]] as Spec,
		};
		await expect(decode(specs)).rejects.toBeInstanceOf(FormatError);
		await expect(decode(specs)).rejects.toMatchObject({ code: 'E_LORA_DUPLICATE_MODULE' });
	});
});

describe('alpha', () => {
	it.each<[string, Spec | undefined, number | null, number]>([
		['F32', ['F32', [], [1]], 1, 0.5],
		['F16 as rounded', ['F16', [], [0.3]], 0.300048828125, 0.1500244140625],
		['I64', ['I64', [], [4]], 4, 2],
		['shape (1)', ['F32', [1], [1]], 1, 0.5],
		['none', undefined, null, 1],
		['zero is off', ['F32', [], [0]], 0, 0],
		['negative', ['F32', [], [-1]], -1, -0.5],
	])('%s', async (_, alpha, value, scaling) => {
		const file = await fileOf({ ...lora(UNET, 8, 8), ...(alpha === undefined ? {} : { [`${UNET}.alpha`]: alpha }) });
		const [module] = kohya.decode(inputOf(file), {}).modules;
		expect([module?.alpha, module?.scaling]).toEqual([value, scaling]);
		for (const via of [kohya, omi, nativeDotted])
			expect((await thereAndBack(file, kohya, via)).tensors).toEqual(await contents(file.tensors));
	});

	it("comes back through a layout that says it as a number, in the file's dtype and shape", async () => {
		// What decode leaves of a file whose target kept alpha in metadata: no tensor, the form entries.
		const file = await fileOf({
			...lora(UNET, 8, 8, 2, 0.3, 'F16'),
			...lora(UNET.replace('to_q', 'to_k'), 8, 8),
			[`${UNET.replace('to_q', 'to_v')}.lora_down.weight`]: ['F32', [2, 8]],
			[`${UNET.replace('to_q', 'to_v')}.lora_up.weight`]: ['F32', [8, 2]],
			[`${UNET.replace('to_q', 'to_v')}.alpha`]: ['I64', [1], [4]],
		});
		const adapter = kohya.decode(inputOf(file), {});
		const numbers = adapter.modules.map(
			(m): TargetModule => ({
				...m,
				alphaTensor: undefined,
				alpha: m.alpha ?? m.rank ?? null,
				alphaSource: 'metadata',
				rule: 'alpha/rank',
			}),
		);
		const encoded = kohya.encode?.({ ...adapter, modules: numbers }, KEEP);
		expect(await contents(encoded?.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
	});

	it('of rsLoRA becomes alpha times the square root of the rank, float32, with the bound', async () => {
		const adapter = await decode(lora(UNET, 8, 8, 3));
		const modules = adapter.modules.map(
			(m): TargetModule => ({ ...m, alpha: 4, alphaSource: 'config', rule: 'alpha/sqrt(rank)', scaling: 4 / Math.sqrt(3) }),
		);
		const encoded = kohya.encode?.(
			{ ...adapter, form: new Map(), modules, consumed: [{ key: 'config:lora_alpha', how: 'consumed', note: '' }] },
			KEEP,
		);
		const alpha = encoded?.files[0]?.tensors.get(`${UNET}.alpha`);
		expect(alpha?.dtype).toBe('F32');
		const [value] = new Float32Array((await alpha?.read())?.slice().buffer ?? new ArrayBuffer(0));
		expect(value).toBe(Math.fround(6.928203230275509));
		expect(encoded?.absorbed).toEqual([{ from: 'config:lora_alpha', into: 'alpha tensors and names', errorBound: 2 ** -52 + 2 ** -24 }]);
	});

	it('of a PEFT LoKr with both factors full cannot be said', async () => {
		const adapter = await decode({ [`${UNET}.lokr_w1`]: ['F32', [4, 4]], [`${UNET}.lokr_w2`]: ['F32', [2, 2]] });
		const modules = adapter.modules.map((m): TargetModule => ({ ...m, alpha: 2, alphaSource: 'config', rule: 'alpha/rank', scaling: 0.5 }));
		const losses = kohya.encode?.({ ...adapter, modules }, KEEP).losses ?? [];
		expect(losses.map((l) => l.what)).toEqual([`${UNET}.lokr_w1`, `${UNET}.lokr_w2`]);
		expect(losses[0]?.why).toContain('--alpha fold');
	});
});

describe('DoRA', () => {
	it.each<[string, readonly number[], 'out' | 'in', readonly number[], readonly number[]]>([
		['output axis', [8, 1], 'out', [2, 6], [8, 1]],
		['input axis', [1, 6], 'in', [2, 6], [1, 6]],
		['a vector', [8], 'out', [2, 6], [8]],
		['convolution', [8, 1, 1, 1], 'out', [2, 6, 3, 3], [8, 1, 1, 1]],
	])('%s', async (_, magnitude, axis, down, written) => {
		const file = await fileOf({
			[`${UNET}.lora_down.weight`]: ['F32', down],
			[`${UNET}.lora_up.weight`]: ['F32', down.length === 4 ? [8, 2, 1, 1] : [8, 2]],
			[`${UNET}.dora_scale`]: ['F32', magnitude],
		});
		const adapter = kohya.decode(inputOf(file), {});
		expect(adapter.modules[0]?.magnitudeAxis).toBe(axis);
		expect(kohya.encode?.(adapter, KEEP).files[0]?.tensors.get(`${UNET}.dora_scale`)?.shape).toEqual(written);
	});

	it.each<[string, readonly number[], readonly number[], readonly number[]]>([
		['PEFT vector', [8], [2, 6], [8, 1]],
		['PEFT convolution', [1, 8, 1, 1], [2, 6, 3, 3], [8, 1, 1, 1]],
	])('%s is reshaped so that its axis can be read', async (_, magnitude, down, written) => {
		const file = await fileOf({ 'x.lora_down.weight': ['F32', down], 'x.lora_up.weight': ['F32', [8, 2]], m: ['F32', magnitude] });
		const [d, u, m] = [...file.tensors.values()];
		if (d === undefined || u === undefined || m === undefined) throw new TypeError('test');
		const adapter = await decode(lora(UNET, 8, 8));
		const modules = adapter.modules.map((x): TargetModule => ({ ...x, factors: { down: d, up: u, magnitude: m }, magnitudeAxis: 'out' }));
		const out = kohya.encode?.({ ...adapter, form: new Map(), modules }, KEEP).files[0]?.tensors.get(`${UNET}.dora_scale`);
		expect(out?.shape).toEqual(written);
		expect(out === undefined ? '' : await sha(out)).toBe(await sha(m));
	});
});

describe('what its readers lack is a loss', () => {
	it.each(['peft-oft', 'peft-boft', 'peft-ia3', 'embedding'] as const)('%s', async (family) => {
		const adapter = await decode(lora(UNET, 8, 8));
		const modules = adapter.modules.map((m): TargetModule => ({ ...m, family }));
		const encoded = kohya.encode?.({ ...adapter, modules }, KEEP);
		expect(encoded?.losses.map((l) => l.what)).toEqual([`${UNET}.lora_down.weight`, `${UNET}.lora_up.weight`]);
		expect(encoded?.losses[0]?.why).toContain(family);
		expect(encoded?.files[0]?.tensors.size).toBe(0);
	});

	it('lora_B.bias, whole weights, components without a prefix, metadata in a torch file', async () => {
		const adapter = await decode(lora(UNET, 8, 8), { ss_output_name: 'cat', format: 'pt' });
		const bias = tensorOf('b', ['F32', [8]]);
		const [first] = adapter.modules;
		if (first === undefined) throw new TypeError('test');
		const modules: TargetModule[] = [
			{ ...first, factors: { ...first.factors, up_bias: bias } },
			{ ...first, path: 'x', family: 'whole', factors: { weight: tensorOf('w', ['F32', [8]]) }, rank: undefined, rule: 'none' },
			{ ...first, component: 'connectors', factors: { down: tensorOf('c', ['F32', [2, 8]]) } },
		];
		const losses = kohya.encode?.({ ...adapter, modules }, { ...KEEP, container: 'torch-zip' }).losses ?? [];
		expect(losses.map((l) => l.what)).toEqual(['b', 'w', 'c', 'metadata:ss_output_name']);
	});
});

describe('metadata', () => {
	const lora4 = lora(UNET, 8, 8, 4, 2);
	it.each<[string, Record<string, Spec>, Record<string, string>, readonly string[]]>([
		['agrees', lora4, { ss_network_dim: '4', ss_network_alpha: '2.0' }, []],
		['other rank everywhere', lora4, { ss_network_dim: '128', ss_network_alpha: '2' }, ['W_METADATA_CONTRADICTS']],
		['other alpha everywhere', lora4, { ss_network_dim: '4', ss_network_alpha: '64' }, ['W_METADATA_CONTRADICTS']],
		['per-block ranks explain it', lora4, { ss_network_dim: '128', ss_network_args: '{"block_dims": "4,4"}' }, []],
		['Dynamic', lora4, { ss_network_dim: 'Dynamic', ss_network_alpha: 'Dynamic' }, []],
		[
			'one module has it',
			{ ...lora4, ...lora(UNET.replace('to_q', 'to_k'), 8, 8, 2, 1) },
			{ ss_network_dim: '2', ss_network_alpha: '1' },
			[],
		],
		[
			'broken JSON',
			lora4,
			{ ss_tag_frequency: '{"a": {"b": 1}', ss_bucket_info: 'NaN', ss_network_args: 'None' },
			['W_METADATA_PARSE', 'W_METADATA_PARSE'],
		],
	])('%s', async (_, specs, metadata, codes) => {
		const adapter = await decode(specs, metadata);
		expect(adapter.warnings.map((w) => w.code)).toEqual(codes);
		expect(Object.fromEntries(adapter.metadata)).toEqual(metadata);
	});

	it('of another layout is carried under a name that no reader obeys, and comes back', async () => {
		const adapter = await decode(lora4, { lora_adapter_metadata: '{"unet.r": 4}', 'modelspec.title': 'x' });
		const encoded = kohya.encode?.(adapter, KEEP).files[0];
		expect(Object.fromEntries(encoded?.metadata ?? [])).toEqual({
			'lorakit.carried.lora_adapter_metadata': '{"unet.r": 4}',
			'modelspec.title': 'x',
		});
		const again = await decode(lora4, Object.fromEntries(encoded?.metadata ?? []));
		expect(again.metadata.get('lora_adapter_metadata')).toBe('{"unet.r": 4}');
	});
});

describe('bundled embeddings', () => {
	it('are read and written back', async () => {
		const specs: Record<string, Spec> = {
			...lora(UNET, 8, 8, 2, 1),
			'bundle_emb.my.cat.string_to_param.*': ['F32', [2, 768]],
			'bundle_emb.style.clip_g': ['F32', [1, 1280]],
		};
		const file = await fileOf(specs);
		expect(kohya.claim(inputOf(file)).names.size).toBe(5);
		const adapter = kohya.decode(inputOf(file), {});
		expect(adapter.embeddings.map((e) => [e.token, e.slot, e.component])).toEqual([
			['my.cat', 'string_to_param.*', 'text_encoder'],
			['style', 'clip_g', 'text_encoder_2'],
		]);
		for (const via of [kohya, omi, nativeDotted])
			expect((await thereAndBack(file, kohya, via)).tensors).toEqual(await contents(file.tensors));
	});

	it('alone are no LoRA', async () => {
		expect(kohya.claim(inputOf(await fileOf({ 'bundle_emb.x.clip_l': ['F32', [1, 768]] }))).names.size).toBe(0);
	});

	it('a bare token of cloneofsimo becomes (1, d) under string_to_param.*', async () => {
		const adapter = await decode(lora(UNET, 8, 8));
		const vectors = bytesTensor('F32', [4], new Uint8Array(16), '<s1>');
		const encoded = kohya.encode?.({ ...adapter, embeddings: [{ token: '<s1>', slot: '', component: 'text_encoder', vectors }] }, KEEP);
		expect(encoded?.files[0]?.tensors.get('bundle_emb.<s1>.string_to_param.*')?.shape).toEqual([1, 4]);
		expect(encoded?.losses).toEqual([]);
		// and goes back as the bare vector that it was
		const file = {
			...(await fileOf({})),
			tensors: encoded?.files[0]?.tensors ?? new Map(),
			metadata: encoded?.files[0]?.metadata ?? new Map(),
		};
		const [again] = kohya.decode(inputOf(file), {}).embeddings;
		expect([again?.token, again?.slot, again?.vectors.shape]).toEqual(['<s1>', '', [4]]);
	});
});

// Files of the real savers (fixtures/adapters/*/manifest.json): factor hashes as the reference recorded them.
describe.each(['kohya', 'lycoris'])('fixtures/adapters/%s', (area) => {
	const dir = new URL(`../../../../fixtures/adapters/${area}/`, import.meta.url);
	interface Entry {
		readonly file: string;
		readonly modules: Readonly<
			Record<
				string,
				{ readonly rank?: number | null; readonly alpha: number; readonly scaling: number; readonly down?: string; readonly up?: string }
			>
		>;
	}
	const manifest = JSON.parse(readFileSync(new URL('manifest.json', dir), 'utf8')) as { readonly files: readonly Entry[] };
	it.each(manifest.files.map((f) => [f.file, f] as const))('%s', async (name, entry) => {
		const file = await readSafetensors(bytesSource(new Uint8Array(readFileSync(new URL(name, dir))), name));
		const adapter = kohya.decode(inputOf(file), {});
		const got: Record<string, unknown> = {};
		for (const m of adapter.modules) {
			const { down, up } = m.factors;
			got[`${m.component}.${m.path}`] = {
				...(entry.modules[`${m.component}.${m.path}`]?.rank === undefined ? {} : { rank: m.rank ?? null }),
				alpha: m.alpha,
				scaling: m.scaling,
				...(down === undefined || up === undefined ? {} : { down: await sha(down), up: await sha(up) }),
			};
		}
		expect(got).toEqual(entry.modules);
		expect(adapter.warnings).toEqual([]);
		for (const via of [kohya, omi, nativeDotted]) {
			const back = await thereAndBack(file, kohya, via);
			expect(back.tensors).toEqual(await contents(file.tensors));
			expect(back.metadata).toEqual(Object.fromEntries([...file.metadata].sort()));
		}
	});
});
