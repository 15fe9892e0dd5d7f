import { describe, expect, it } from 'vitest';
import { diffusersAttnProcs } from '../../src/layouts/diffusers-attn-procs.js';
import { diffusersOld } from '../../src/layouts/diffusers-old.js';
import { diffusersOldPrefixed } from '../../src/layouts/diffusers-old-prefixed.js';
import type { Encoded, Layout } from '../../src/layouts/layout.js';
import { codes, contents, dict, input, type Literal, moduleAt, pairs } from './peft-helpers.js';

const A1 = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1';
const FOUR = ['to_q', 'to_k', 'to_v', 'to_out'];
const T = 'text_encoder.text_model.encoder.layers.0';
const PT = { format: 'pt' };

function encode(
	layout: Layout,
	adapter: Parameters<NonNullable<Layout['encode']>>[0],
	container: 'safetensors' | 'torch-zip' = 'safetensors',
): Encoded {
	return layout.encode?.(adapter, { container, alpha: 'keep' }) as Encoded;
}

const processors = pairs(
	FOUR.map((m) => `${A1}.processor.${m}_lora`),
	'.down.weight',
	'.up.weight',
);
const prefixed = pairs(
	FOUR.map((m) => `unet.${A1}.processor.${m}_lora`),
	'.down.weight',
	'.up.weight',
);

describe.each<[string, Layout, Record<string, Literal>, number]>([
	['attention processors', diffusersAttnProcs, processors, 1],
	[
		'0.17, text encoder (c)',
		diffusersOldPrefixed,
		{ ...prefixed, ...pairs([`${T}.self_attn.q_proj`, `${T}.mlp.fc1`], '.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight') },
		0.97,
	],
	[
		'0.17, text encoder (b)',
		diffusersOldPrefixed,
		{
			...prefixed,
			...pairs(
				FOUR.map((m) => `${T}.self_attn.${m}_lora`),
				'.down.weight',
				'.up.weight',
			),
		},
		0.97,
	],
	[
		'0.21',
		diffusersOld,
		{
			...pairs([`unet.${A1}.to_q`, 'unet.conv_in'], '.lora.down.weight', '.lora.up.weight'),
			...pairs([`${T}.mlp.fc1`], '.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight'),
			...pairs(['text_encoder.text_projection'], '.lora.down.weight', '.lora.up.weight'),
		},
		0.6,
	],
])('%s', (_, layout, tensors, confidence) => {
	it('claims every name and comes back as it was, scaling 1 and no warning', async () => {
		for (const metadata of [PT, {}]) {
			const file = dict(tensors, metadata);
			expect(layout.claim(input(file)).names.size).toBe(file.tensors.size);
			expect(layout.claim(input(file)).confidence).toBeGreaterThanOrEqual(confidence);
			const adapter = layout.decode(input(file), {});
			expect(adapter.modules.every((m) => m.scaling === 1)).toBe(true);
			expect(codes(adapter)).toEqual([]);
			const encoded = encode(layout, adapter);
			expect(encoded.losses).toEqual([]);
			expect(await contents(encoded.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
			expect(Object.fromEntries(encoded.files[0]?.metadata ?? [])).toEqual(metadata);
		}
	});
});

describe('diffusers 0.17, text encoder (a)', () => {
	const projections = ['q_proj', 'k_proj', 'v_proj', 'out_proj'];
	const tensors = pairs(
		projections.flatMap((p) => FOUR.map((m) => `${T}.self_attn.${p}.${m}_lora`)),
		'.down.weight',
		'.up.weight',
	);
	const file = dict(tensors, PT);
	const adapter = diffusersOldPrefixed.decode(input(file), {});

	it('reads the live quarter', () => {
		expect(adapter.modules.map((m) => m.path).sort()).toEqual(
			['k_proj', 'out_proj', 'q_proj', 'v_proj'].map((p) => `text_model.encoder.layers.0.self_attn.${p}`),
		);
		const q = moduleAt(adapter, 'text_encoder', 'text_model.encoder.layers.0.self_attn.q_proj');
		expect(q.factors.down?.origin).toBe(`${T}.self_attn.q_proj.to_q_lora.down.weight`);
		const out = moduleAt(adapter, 'text_encoder', 'text_model.encoder.layers.0.self_attn.out_proj');
		expect(out.factors.up?.origin).toBe(`${T}.self_attn.out_proj.to_out_lora.up.weight`);
	});

	it('names the other three quarters as dead', () => {
		expect(adapter.dead.size).toBe(24);
		expect(codes(adapter)).toEqual(['W_DEAD_TENSOR']);
		expect(adapter.unknown.size).toBe(0);
	});

	it('writes the live quarter under its own names', () => {
		expect([...(encode(diffusersOldPrefixed, adapter).files[0]?.tensors.keys() ?? [])]).toContain(
			`${T}.self_attn.q_proj.to_q_lora.down.weight`,
		);
	});
});

describe('layouts before PEFT say no to', () => {
	const from = (tensors: Record<string, Literal>, metadata: Record<string, string> = PT): ReturnType<Layout['decode']> =>
		diffusersOld.decode(input(dict(tensors, metadata)), {});
	it('modules they have no name for', () => {
		const adapter = from(pairs(['unet.conv_in', `unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'));
		expect(encode(diffusersAttnProcs, adapter).losses.map((l) => l.what)).toEqual([
			'unet.conv_in.lora.down.weight',
			'unet.conv_in.lora.up.weight',
		]);
	});

	it('a scaling', () => {
		const adapter = from(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'));
		const scaled = { ...adapter, modules: adapter.modules.map((m) => ({ ...m, scaling: 0.5, rule: 'alpha/rank' as const, alpha: 1 })) };
		for (const layout of [diffusersOld, diffusersAttnProcs, diffusersOldPrefixed]) {
			expect(encode(layout, scaled).losses[0]?.why).toContain('has no slot for alpha');
		}
	});

	it('header entries in a torch file, but for format', () => {
		const adapter = from(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'), { ...PT, note: 'kept' });
		expect(encode(diffusersOld, adapter, 'torch-zip').losses.map((l) => l.what)).toEqual(['metadata:note']);
	});

	it('warns that 0.12 to 0.16 load whole attentions only', () => {
		const adapter = from(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'));
		expect(encode(diffusersAttnProcs, adapter).warnings.map((w) => w.code)).toEqual(['W_RUNTIMES_DIFFER']);
	});

	it('carries lora_adapter_metadata of another layout under our own name', () => {
		const adapter = from(pairs([`unet.${A1}.to_q`], '.lora.down.weight', '.lora.up.weight'));
		const odd = { ...adapter, metadata: new Map([['lora_adapter_metadata', '{"unet.r": 1}']]) };
		expect([...(encode(diffusersOld, odd).files[0]?.metadata.keys() ?? [])]).toContain('lorakit.carried.lora_adapter_metadata');
	});
});
