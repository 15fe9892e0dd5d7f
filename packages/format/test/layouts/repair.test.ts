import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { readSafetensors } from '../../src/containers/index.js';
import { kohya } from '../../src/layouts/kohya.js';
import { damagedKeys, repairKeys } from '../../src/layouts/repair.js';
import { repairName } from '../../src/layouts/repair-names.js';
import type { StateDict } from '../../src/state-dict.js';
import type { Tensor } from '../../src/tensor.js';
import { contents, fileOf, inputOf, lora, peftLora, type Spec, sha } from './kohya-helpers.js';

const BLOCK = 'down_blocks_0_attentions_0_transformer_blocks_0_attn1';
const DOTTED = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1';

describe('damaged names', () => {
	it.each([
		// prefix twice
		[`unet.unet.${DOTTED}.to_q.lora_A.weight`, `unet.${DOTTED}.to_q.lora_A.weight`],
		[
			'base_model.model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
			'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
		],
		[`lora_unet_lora_unet_${BLOCK}_to_q.lora_down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		['lora_te_lora_te_text_model_encoder_layers_0_mlp_fc1.alpha', 'lora_te_text_model_encoder_layers_0_mlp_fc1.alpha'],
		[
			'transformer.base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight',
			'transformer.transformer_blocks.0.attn.to_q.lora_A.weight',
		],
		['diffusion_model.diffusion_model.blocks.0.self_attn.q.lora_A.weight', 'diffusion_model.blocks.0.self_attn.q.lora_A.weight'],
		[`unet.lora_unet_${BLOCK}_to_q.lora_down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[`lora_unet_unet_${BLOCK}_to_q.lora_down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[`unet.unet.unet.${DOTTED}.to_q.lora_A.weight`, `unet.${DOTTED}.to_q.lora_A.weight`],
		// diffusers' attention processors under kohya's prefix
		[`lora_unet_${BLOCK}_processor_to_q_lora.down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[`lora_unet_${BLOCK}_processor_to_out_lora.up.weight`, `lora_unet_${BLOCK}_to_out_0.lora_up.weight`],
		[`lora_unet_${BLOCK}_processor_to_k_lora_down.weight`, `lora_unet_${BLOCK}_to_k.lora_down.weight`],
		[`lora_unet_unet_${BLOCK}_processor_to_k_lora_down_weight`, `lora_unet_${BLOCK}_to_k.lora_down.weight`],
		[`lora_unet_${DOTTED}.processor.to_v_lora.down.weight`, `lora_unet_${BLOCK}_to_v.lora_down.weight`],
		// PEFT's and diffusers' leaves flattened
		[`lora_unet_${BLOCK}_to_q_lora_A.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[`lora_unet_${BLOCK}_to_out_0_lora_B.weight`, `lora_unet_${BLOCK}_to_out_0.lora_up.weight`],
		[`lora_unet_${BLOCK}_to_q_lora_A_default_weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[
			'lora_te_text_model_encoder_layers_0_self_attn_q_proj_lora_linear_layer.down.weight',
			'lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight',
		],
		// ComfyUI #3494, in both of its spellings
		[`lora_unet_${BLOCK}.to_k.lora_magnitude_vector`, `lora_unet_${BLOCK}_to_k.dora_scale`],
		[`lora_unet_${BLOCK}_to_out.0.lora_magnitude_vector`, `lora_unet_${BLOCK}_to_out_0.dora_scale`],
		// ComfyUI #4347
		[`lora_unet_${BLOCK}_to_k_.alpha`, `lora_unet_${BLOCK}_to_k.alpha`],
		[`lora_unet_${BLOCK}_to_k_.lora_down.weight`, `lora_unet_${BLOCK}_to_k.lora_down.weight`],
		// paths flattened behind a dotted prefix
		[`unet.${BLOCK}_to_q.lora_A.weight`, `unet.${DOTTED}.to_q.lora_A.weight`],
		[`unet.${BLOCK}_to_q_lora_A.weight`, `unet.${DOTTED}.to_q.lora_A.weight`],
		['transformer.transformer_blocks_0_attn_to_q.lora_A.weight', 'transformer.transformer_blocks.0.attn.to_q.lora_A.weight'],
		[
			'text_encoder.text_model_encoder_layers_0_self_attn_q_proj.lora_linear_layer.down.weight',
			'text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight',
		],
		[`unet_${BLOCK}_to_q.lora.down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		[`${BLOCK}_processor_to_q_lora.down.weight`, `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		// every "_" made "."
		['unet.down.blocks.0.attentions.0.transformer.blocks.0.attn1.to.q.lora.down.weight', `unet.${DOTTED}.to_q.lora.down.weight`],
		['down.blocks.0.attentions.0.transformer.blocks.0.attn1.to.q.lora_down.weight', `lora_unet_${BLOCK}_to_q.lora_down.weight`],
		['unet.conv.in.lora_A.weight', 'unet.conv_in.lora_A.weight'],
		['unet.time.embedding.linear.1.lora_A.weight', 'unet.time_embedding.linear_1.lora_A.weight'],
		[
			'text_encoder.text.model.encoder.layers.0.self.attn.q.proj.lora_linear_layer.up.weight',
			'text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight',
		],
		['transformer.transformer.blocks.0.attn.to.q.lora_A.weight', 'transformer.transformer_blocks.0.attn.to_q.lora_A.weight'],
		// attention processors' "to_out" is to_out.0
		[`lora_unet_${BLOCK}_to_out.lora_down.weight`, `lora_unet_${BLOCK}_to_out_0.lora_down.weight`],
		[`unet.${DOTTED}.to_out.lora.down.weight`, `unet.${DOTTED}.to_out.0.lora.down.weight`],
		// the alias bug
		['sformer_blocks.0.attn.to_q.lora_A.weight', 'transformer_blocks.0.attn.to_q.lora_A.weight'],
		['diffusion_model.sformer_blocks.0.attn.to_q.lora_A.weight', 'diffusion_model.transformer_blocks.0.attn.to_q.lora_A.weight'],
	])('%s', (from, to) => {
		expect(repairName(from)?.to).toBe(to);
		// What it becomes is sound.
		expect(repairName(to)).toBeUndefined();
	});

	it.each([
		`lora_unet_${BLOCK}_to_q.lora_down.weight`,
		`lora_unet_${BLOCK}_to_q.lora_A.weight`,
		'lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_out_0.alpha',
		'lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight',
		'lora_unet__blocks_0_self_attn_q.lora_up.weight',
		'lora_unet_odd_part_3_that_nobody_knows.lora_up.weight',
		'lora_te2_text_projection.lora_down.weight',
		'lora_unet_double_stream_blocks_0_block_attn1_to_out.lora_down.weight',
		'unet.some.new.part.lora_A.weight',
		'text_encoder.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight',
		'transformer.blocks.0.attn1.to_q.lora_A.weight',
		'transformer.double_blocks.0.img_attn.qkv.0.lora_down.weight',
		'transformer.some.new.part.lora_A.weight',
		'lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight',
		`${DOTTED}.processor.to_q_lora.down.weight`,
		`unet.${DOTTED}.processor.to_q_lora.down.weight`,
		`unet.${DOTTED}.to_out.0.lora_A.weight`,
		'unet.time_embedding.linear_1.lora_A.weight',
		'text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight',
		'text_encoder.text_model.encoder.layers.0.self_attn.k_proj.to_k_lora.down.weight',
		'transformer.transformer_blocks.0.norm1_context.linear.lora_A.weight',
		'transformer.single_transformer_blocks.0.proj_mlp.lora_B.weight',
		'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
		'base_model.model.transformer.h.0.attn.c_attn.lora_A.weight',
		'base_model.model.double_blocks.0.img_attn.qkv.lora_A.weight',
		'diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight',
		'double_blocks.0.processor.qkv_lora1.down.weight',
		'lycoris_transformer_blocks_7_attn_to_v.lokr_w1',
		'unet.input_blocks.1.1.proj_in.lora_down.weight',
		'unet:0:up',
		'bundle_emb.a_1_b.clip_l',
		'<s1>',
		'',
		'lora_unet_',
		'lora_unet_.lora_down.weight',
	])('%s is sound', (name) => {
		expect(repairName(name)).toBeUndefined();
	});
});

describe('files', () => {
	/** Break every name of a file. */
	function broken(file: StateDict, how: (name: string) => string): StateDict {
		const tensors = new Map<string, Tensor>();
		const small = new Map<string, readonly number[]>();
		for (const [name, tensor] of file.tensors) {
			tensors.set(how(name), tensor);
			const values = file.small.get(name);
			if (values !== undefined) small.set(how(name), values);
		}
		return { ...file, tensors, small };
	}

	it.each<[string, (name: string) => string]>([
		['prefix twice', (n) => n.replace(/^(lora_unet_|lora_te_)/, '$1$1')],
		['dots back in the module', (n) => n.replace(/_(attn[12])_(to_[qkv])\./, '_$1.$2.').replace('_to_out_0.', '_to_out.0.')],
		['PEFT leaves flattened', (n) => n.replace('.lora_down.', '_lora_A.').replace('.lora_up.', '_lora_B.')],
		['trailing underscores', (n) => n.replace('.', '_.')],
		["a dotted prefix before kohya's", (n) => (n.startsWith('lora_unet_') ? `unet.${n}` : n)],
	])('a real kohya file with %s comes back whole', async (_, how) => {
		const url = new URL('../../../../fixtures/adapters/kohya/kohya_attn_bf16_part.safetensors', import.meta.url);
		const good = await readSafetensors(bytesSource(new Uint8Array(readFileSync(url)), 'kohya'));
		expect(damagedKeys(good)).toEqual([]);
		expect(repairKeys(good)).toEqual({ file: good, repairs: [] });
		const bad = broken(good, how);
		expect(damagedKeys(bad).length).toBeGreaterThan(0);
		const { file, repairs } = repairKeys(bad);
		expect([...file.tensors.keys()]).toEqual([...good.tensors.keys()]);
		expect(repairs.length).toBe([...bad.tensors.keys()].filter((k) => !good.tensors.has(k)).length);
		expect(kohya.decode(inputOf(file), {}).modules).toEqual(kohya.decode(inputOf(good), {}).modules);
	});

	it("a magnitude of PEFT's convolution is put the way dora_scale says the output axis", async () => {
		const file = await fileOf({ 'lora_unet_down_blocks_0_resnets_0.conv1.lora_magnitude_vector': ['F32', [1, 8, 1, 1]] });
		const [entry] = repairKeys(file).file.tensors;
		expect([entry?.[0], entry?.[1].shape]).toEqual(['lora_unet_down_blocks_0_resnets_0_conv1.dora_scale', [8, 1, 1, 1]]);
	});

	it('a repair whose name is taken is not made', async () => {
		const file = await fileOf({ ...lora(`lora_unet_${BLOCK}_to_q`, 8, 8), [`lora_unet_${BLOCK}_to_q_lora_A.weight`]: ['F32', [2, 8]] });
		expect(repairKeys(file).repairs).toEqual([]);
	});
});

describe('wrongly split q, k, v', () => {
	const stem = 'transformer.transformer_blocks.0.attn.';
	const fusedUp: Spec = ['F32', [6, 1], [1, 2, 3, 4, 5, 6]];
	const down: Spec = ['F32', [1, 2], [7, 8]];

	async function values(tensor: Tensor | undefined): Promise<number[]> {
		return [...new Float32Array((await tensor?.read())?.slice().buffer ?? new ArrayBuffer(0))];
	}

	it('each part holds all rows: its own are taken', async () => {
		const specs: Record<string, Spec> = {};
		for (const p of ['to_q', 'to_k', 'to_v']) {
			specs[`${stem}${p}.lora_A.weight`] = down;
			specs[`${stem}${p}.lora_B.weight`] = fusedUp;
		}
		const bad = await fileOf(specs);
		expect(damagedKeys(bad).map((d) => d.from)).toEqual(['to_q', 'to_k', 'to_v'].map((p) => `${stem}${p}.lora_B.weight`));
		const { file } = repairKeys(bad);
		expect(file.tensors.size).toBe(6);
		expect(await values(file.tensors.get(`${stem}to_q.lora_B.weight`))).toEqual([1, 2]);
		expect(await values(file.tensors.get(`${stem}to_k.lora_B.weight`))).toEqual([3, 4]);
		expect(await values(file.tensors.get(`${stem}to_v.lora_B.weight`))).toEqual([5, 6]);
		expect(file.tensors.get(`${stem}to_v.lora_B.weight`)?.derivation).toMatchObject({
			how: 'rows 4 to 5 of the fused projection',
			errorBound: 0,
		});
		expect(repairKeys(file).repairs).toEqual([]);
	});

	it('only q is there and holds all rows, also under flat names and in a file on disk', async () => {
		const flat = 'lora_unet_double_blocks_0_img_attn_to_';
		const specs: Record<string, Spec> = {
			[`${flat}q.lora_down.weight`]: down,
			[`${flat}q.lora_up.weight`]: fusedUp,
			[`${flat}q.alpha`]: ['F32', [], [1]],
		};
		const { file } = repairKeys(await fileOf(specs));
		expect([...file.tensors.keys()].sort()).toEqual(
			['q', 'k', 'v'].flatMap((p) => ['alpha', 'lora_down.weight', 'lora_up.weight'].map((l) => `${flat}${p}.${l}`)).sort(),
		);
		expect(await values(file.tensors.get(`${flat}k.lora_up.weight`))).toEqual([3, 4]);
		expect(await values(file.tensors.get(`${flat}v.lora_down.weight`))).toEqual([7, 8]);
		expect(file.small.get(`${flat}v.alpha`)).toEqual([1]);
	});

	it('rows of a tensor in a source are cut by offset, not copied', async () => {
		const url = new URL('../../../../fixtures/adapters/kohya/kohya_attn_bf16_part.safetensors', import.meta.url);
		const good = await readSafetensors(bytesSource(new Uint8Array(readFileSync(url)), 'kohya'));
		const up = good.tensors.get('lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight');
		if (up === undefined) throw new TypeError('test');
		// (64, 4) is no multiple of 3 rows: take it as (192, ...) of 4/3... use 48 of 64 rows' bytes instead.
		const fused: Tensor = { ...up, shape: [48, 4], nbytes: (up.nbytes / 64) * 48 };
		const tensors = new Map([
			['x.to_q.lora_up.weight', fused],
			['x.to_q.lora_down.weight', { ...fused, shape: [4, 16], nbytes: (up.nbytes / 64) * 16 }],
		]);
		const { file } = repairKeys({ ...good, tensors, small: new Map() });
		const k = file.tensors.get('x.to_k.lora_up.weight');
		expect(k?.range?.offset).toBe((up.range?.offset ?? 0) + (up.nbytes / 64) * 16);
		const all = await up.read();
		expect(k === undefined ? [] : [...(await k.read())]).toEqual([...all.subarray((up.nbytes / 64) * 16, (up.nbytes / 64) * 32)]);
	});

	it.each<[string, Record<string, Spec>]>([
		['square parts', { ...peftLora(`${stem}to_q`, 8, 8), ...peftLora(`${stem}to_k`, 8, 8), ...peftLora(`${stem}to_v`, 8, 8) }],
		['cross attention', { ...peftLora(`${stem}to_q`, 8, 8), ...peftLora(`${stem}to_k`, 8, 16), ...peftLora(`${stem}to_v`, 8, 16) }],
		[
			'grouped queries',
			{
				...peftLora('base_model.model.model.layers.0.self_attn.q_proj', 24, 8),
				...peftLora('base_model.model.model.layers.0.self_attn.k_proj', 8, 8),
				...peftLora('base_model.model.model.layers.0.self_attn.v_proj', 8, 8),
			},
		],
		['fused under its own name', peftLora('diffusion_model.double_blocks.0.img_attn.qkv', 24, 8)],
	])('%s is left alone', async (_, specs) => {
		const file = await fileOf(specs);
		expect(await contents(repairKeys(file).file.tensors)).toEqual(await contents(file.tensors));
		expect(damagedKeys(file)).toEqual([]);
	});

	it('the rows together are the fused bytes', async () => {
		const bad = await fileOf({ [`${stem}to_q.lora_A.weight`]: ['F16', [2, 8]], [`${stem}to_q.lora_B.weight`]: ['F16', [24, 2]] });
		const fused = await bad.tensors.get(`${stem}to_q.lora_B.weight`)?.read();
		const { file } = repairKeys(bad);
		const parts: number[] = [];
		for (const p of ['q', 'k', 'v']) for (const b of (await file.tensors.get(`${stem}to_${p}.lora_B.weight`)?.read()) ?? []) parts.push(b);
		expect(parts).toEqual([...(fused ?? [])]);
		const [a, b] = [file.tensors.get(`${stem}to_q.lora_A.weight`), file.tensors.get(`${stem}to_v.lora_A.weight`)];
		expect(a === undefined ? '' : await sha(a)).toBe(b === undefined ? '-' : await sha(b));
	});
});
