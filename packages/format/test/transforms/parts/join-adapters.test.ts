import { describe, expect, it } from 'vitest';
import type { Embedding } from '../../../src/adapter.js';
import { soloInput } from '../../../src/load.js';
import { planAdapter } from '../../../src/plan-adapter.js';
import { embeddingsAsAdapter, joinAdapters } from '../../../src/transforms/parts/join-adapters.js';
import { splitAdapter } from '../../../src/transforms/parts/split-adapter.js';
import { f32, moduleOf } from '../../families/helpers.js';
import { adapterOf, useOf } from '../merge/merge-helpers.js';

const up = f32([2, 1], [1, 2]);
const down = f32([1, 2], [3, 4]);
const token: Embedding = { token: '<s>', slot: '', component: 'text_encoder', vectors: f32([2], [1, 2]) };
const unet = moduleOf('lora', { up, down }, { path: 'mid_block.attentions.0.proj_in', rank: 1 });
const te = moduleOf('lora', { up, down }, { component: 'text_encoder', path: 'text_model.encoder.layers.0.self_attn.q_proj', rank: 1 });
const whole = adapterOf([unet, te], {
	embeddings: [token],
	metadata: new Map([
		['a', 'b'],
		['sshs_model_hash', '1'],
	]),
	form: new Map([['kohya.x', 'y']]),
});

describe('splitAdapter and joinAdapters', () => {
	it('take apart and put together', async () => {
		const parts = splitAdapter(whole);
		expect(parts.map((p) => p.part)).toEqual(['unet', 'text_encoder', 'embeddings']);
		expect(parts.map((p) => p.adapter.modules)).toEqual([[unet], [te], []]);
		expect(parts.every((p) => p.adapter.metadata === whole.metadata)).toBe(true);
		const joined = await joinAdapters(parts.map((p) => useOf(p.adapter, p.part)));
		expect(joined.modules).toEqual(whole.modules);
		expect(joined.embeddings).toEqual(whole.embeddings);
		expect(joined.metadata).toBe(whole.metadata);
		expect(joined.form).toEqual(whole.form);
	});

	it('hashes alone do not make headers differ; other entries are kept apart', async () => {
		const [one, two] = splitAdapter(whole);
		if (one === undefined || two === undefined) throw new Error('two parts');
		const other = {
			...two.adapter,
			metadata: new Map([
				['a', 'b'],
				['sshs_model_hash', '2'],
			]),
		};
		expect((await joinAdapters([useOf(one.adapter, 'one'), useOf(other, 'two')])).metadata).toBe(whole.metadata);
		const differs = { ...two.adapter, metadata: new Map([['a', 'c']]) };
		const { metadata } = await joinAdapters([useOf(one.adapter, 'one'), useOf(differs, 'two')]);
		expect([metadata.get('lorakit.merged.one.a'), metadata.get('lorakit.merged.two.a')]).toEqual(['b', 'c']);
	});

	it('refuses overlap and what has one part', async () => {
		await expect(joinAdapters([useOf(whole, 'a'), useOf(whole, 'b')])).rejects.toThrow(
			/"a" and "b" both have unet mid_block.*"lora merge" adds/,
		);
		expect(() => splitAdapter(adapterOf([unet]))).toThrow(/has unet alone/);
		await expect(joinAdapters([])).rejects.toThrow(/at least one/);
	});

	it('reads a file of embeddings as an adapter of embeddings', () => {
		const file = {
			container: 'memory' as const,
			name: 'tok.safetensors',
			tensors: new Map([
				[
					'emb_params',
					f32(
						[1, 768],
						Array.from({ length: 768 }, () => 0),
					),
				],
			]),
			metadata: new Map<string, string>(),
			top: 'dict' as const,
			wrapper: undefined,
			nonTensors: [],
			small: new Map(),
			smallComplete: true,
			warnings: [],
		};
		expect(embeddingsAsAdapter(soloInput(file))?.embeddings.map((e) => e.token)).toEqual(['tok']);
		expect(embeddingsAsAdapter(soloInput({ ...file, tensors: new Map([['lora_unet_x.alpha', f32([], [1])]]) }))).toBeUndefined();
	});
});

describe('planAdapter', () => {
	it('writes what is in memory and accounts for every tensor', () => {
		const plan = planAdapter(whole, { to: 'kohya' });
		const [main] = plan.files;
		expect([...(main?.tensors.keys() ?? [])].filter((k) => k.startsWith('lora_'))).toHaveLength(6);
		expect(plan.receipt.counts.tensors).toMatchObject({ total: 5, lost: 0 });
		expect(plan.to).toBe('kohya');
	});

	it('names a tensor that has no place by what it is', () => {
		const full = adapterOf([moduleOf('full', { diff: f32([2, 2], [1, 2, 3, 4]) }, { path: unet.path, rule: 'none' })]);
		expect(() => planAdapter(full, { to: 'diffusers' })).toThrow(/diffusers cannot hold "unet mid_block\.attentions\.0\.proj_in diff"/);
	});
});
