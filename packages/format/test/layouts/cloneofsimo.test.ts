import { describe, expect, it } from 'vitest';
import type { Adapter } from '../../src/adapter.js';
import { cloneofsimoList } from '../../src/layouts/cloneofsimo-list.js';
import { cloneofsimoSafetensors } from '../../src/layouts/cloneofsimo-safetensors.js';
import { diffusersOld } from '../../src/layouts/diffusers-old.js';
import type { Encoded, Layout } from '../../src/layouts/layout.js';
import type { StateDict } from '../../src/state-dict.js';
import { codeOf, codes, contents, dict, fixture, input, type Literal, messageOf, moduleAt, reread, sha256 } from './peft-helpers.js';

/** Channels, context and rank of the tiny SD1-shaped model of these tests. */
const C = [8, 16, 24] as const;
const CTX = 12;

interface Place {
	readonly path: string;
	readonly out: number;
	readonly in: number;
}

/**
 * The attention and GEGLU modules in cloneofsimo's order, written out here by hand from LAYOUTS §2.1 (down, up, mid;
 * two attentions a down block, three an up block), independently of the tables under test.
 */
function places(order: 'old' | 'new', geglu: boolean): Place[] {
	const blocks: (readonly [string, number])[] = [];
	for (let i = 0; i < 3; i++) for (let j = 0; j < 2; j++) blocks.push([`down_blocks.${i}.attentions.${j}`, C[i] ?? 0]);
	for (let i = 1; i < 4; i++) for (let j = 0; j < 3; j++) blocks.push([`up_blocks.${i}.attentions.${j}`, C[3 - i] ?? 0]);
	blocks.push(['mid_block.attentions.0', C[2]]);
	const out: Place[] = [];
	for (const [block, c] of blocks) {
		const t = `${block}.transformer_blocks.0`;
		const attn = (n: number, k: number): Place[] => [
			{ path: `${t}.attn${n}.to_q`, out: c, in: c },
			{ path: `${t}.attn${n}.to_k`, out: c, in: k },
			{ path: `${t}.attn${n}.to_v`, out: c, in: k },
			{ path: `${t}.attn${n}.to_out.0`, out: c, in: c },
		];
		const ff = geglu ? [{ path: `${t}.ff.net.0.proj`, out: 8 * c, in: c }] : [];
		out.push(...attn(1, c), ...(order === 'old' ? [...ff, ...attn(2, CTX)] : [...attn(2, CTX), ...ff]));
	}
	return out;
}

const list = (order: 'old' | 'new', geglu = true, rank = 2): Record<string, Literal> => {
	const out: Record<string, Literal> = {};
	places(order, geglu).forEach((p, i) => {
		out[String(2 * i)] = [[p.out, rank]];
		out[String(2 * i + 1)] = [[rank, p.in]];
	});
	return out;
};

const torch = (tensors: Record<string, Literal>): StateDict => ({ ...dict(tensors, {}, 'list'), container: 'torch-zip' });
const text = (layers: number, width = 8): StateDict => {
	const out: Record<string, Literal> = {};
	for (let i = 0; i < layers * 4; i++) {
		out[String(2 * i)] = [[width, 2]];
		out[String(2 * i + 1)] = [[2, width]];
	}
	return torch(out);
};
const encode = (layout: Layout, adapter: Adapter, order?: 'old' | 'new'): Encoded =>
	layout.encode?.(adapter, { container: layout === cloneofsimoList ? 'torch-zip' : 'safetensors', alpha: 'keep', order }) as Encoded;

describe.each(['old', 'new'] as const)('a list in %s order', (order) => {
	const file = torch(list(order));
	const adapter = cloneofsimoList.decode(input(file), {});

	it('gives every pair its module', () => {
		const expected = places(order, true);
		expect(adapter.modules).toHaveLength(expected.length);
		expected.forEach((p, i) => {
			const m = moduleAt(adapter, 'unet', p.path);
			expect([p.path, m.factors.up?.origin, m.factors.down?.origin]).toEqual([p.path, String(2 * i), String(2 * i + 1)]);
		});
		expect(adapter.modules.every((m) => m.scaling === 1 && m.rule === 'one')).toBe(true);
		expect(adapter.form.get('cloneofsimo.order')).toBe(order === 'old' ? 'old' : undefined);
	});

	it('comes back as it was, also through another layout', async () => {
		for (const middle of [cloneofsimoSafetensors, diffusersOld]) {
			const there = encode(middle, adapter);
			expect(there.losses).toEqual([]);
			const back = encode(cloneofsimoList, middle.decode(reread(there), {}));
			expect(back.losses).toEqual([]);
			expect(await contents(back.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
			expect(back.files[0]?.top).toBe('list');
		}
	});

	it('is written in the other order on request', () => {
		const other = order === 'old' ? 'new' : 'old';
		const { files } = encode(cloneofsimoList, adapter, other);
		expect([...(files[0]?.tensors.values() ?? [])].map((t) => t.shape)).toEqual(
			[...torch(list(other)).tensors.values()].map((t) => t.shape),
		);
	});
});

describe('lists', () => {
	it('of attention alone have one reading', () => {
		const adapter = cloneofsimoList.decode(input(torch(list('new', false))), {});
		expect(adapter.modules).toHaveLength(128);
		expect(adapter.form.size).toBe(0);
	});

	it('of a text encoder beside: k, v, q, out', () => {
		const adapter = cloneofsimoList.decode(input(torch(list('new')), { textEncoder: text(2) }), {});
		const te = adapter.modules.filter((m) => m.component === 'text_encoder');
		expect(te.map((m) => m.path)).toEqual(
			[0, 1].flatMap((n) => ['k_proj', 'v_proj', 'q_proj', 'out_proj'].map((p) => `text_model.encoder.layers.${n}.self_attn.${p}`)),
		);
		const { files, losses } = encode(cloneofsimoList, adapter);
		expect(losses).toEqual([]);
		expect(files.map((f) => [f.suffix, f.tensors.size, f.top])).toEqual([
			['', 288, 'list'],
			['.text_encoder.pt', 16, 'list'],
		]);
	});

	it('of a text encoder alone are known by their squares', () => {
		const adapter = cloneofsimoList.decode(input(text(12)), {});
		expect(adapter.modules).toHaveLength(48);
		expect(adapter.modules[2]).toMatchObject({ component: 'text_encoder', path: 'text_model.encoder.layers.0.self_attn.q_proj' });
		expect(encode(cloneofsimoList, adapter).files.map((f) => [f.suffix, f.tensors.size])).toEqual([['', 96]]);
	});

	it.each<[string, Record<string, Literal>, string]>([
		['an odd number of tensors', { ...list('new'), 288: [[8, 2]] }, 'E_LORA_UNPAIRED'],
		['too few pairs', Object.fromEntries(Object.entries(list('new')).filter(([k]) => Number(k) < 286)), 'E_MODULE_ORDER'],
		['a pair that fits nothing', { ...list('new'), 8: [[9, 2]], 9: [[2, 9]] }, 'E_MODULE_ORDER'],
	])('with %s are refused', (_, tensors, code) => {
		expect(codeOf(() => cloneofsimoList.decode(input(torch(tensors)), {}))).toBe(code);
	});

	it('say where the nearest reading failed', () => {
		expect(messageOf(() => cloneofsimoList.decode(input(torch({ ...list('new'), 8: [[9, 2]], 9: [[2, 9]] })), {}))).toContain(
			'pair 4 does not fit down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q',
		);
	});

	it('given the wrong --order are refused', () => {
		expect(codeOf(() => cloneofsimoList.decode(input(torch(list('new'))), { order: 'old' }))).toBe('E_MODULE_ORDER');
	});

	it('are no dicts', () => {
		expect(cloneofsimoList.claim(input(dict(list('new')))).confidence).toBe(0);
		expect(codeOf(() => cloneofsimoList.decode(input(dict(list('new'))), {}))).toBe('E_MODULE_ORDER');
	});
});

const safetensors = (order: 'old' | 'new', metadata: Record<string, string> = {}, extra: Record<string, Literal> = {}): StateDict => {
	const out: Record<string, Literal> = { ...extra };
	const said: Record<string, string> = { unet: '["CrossAttention", "Attention", "GEGLU"]' };
	places(order, true).forEach((p, i) => {
		out[`unet:${i}:up`] = [[p.out, 2]];
		out[`unet:${i}:down`] = [[2, p.in]];
		said[`unet:${i}:rank`] = '2';
	});
	return dict(out, { ...said, ...metadata });
};

describe('cloneofsimo safetensors', () => {
	it.each<[string, StateDict]>([
		['new', safetensors('new')],
		['old', safetensors('old')],
		['classes in another order', safetensors('old', { unet: '["GEGLU", "CrossAttention", "Attention"]' })],
		['tokens', safetensors('new', { '<s1>': '<embed>', '<s2>': '<embed>' }, { '<s1>': [[8]], '<s2>': [[8]] })],
		['entries of others', safetensors('new', { note: 'kept' })],
	])('%s comes back as it was, also through diffusers', async (_, file) => {
		const adapter = cloneofsimoSafetensors.decode(input(file), {});
		expect(cloneofsimoSafetensors.claim(input(file)).names.size).toBe(file.tensors.size);
		expect(codes(adapter)).toEqual([]);
		const through = diffusersOld.decode(reread(encode(diffusersOld, adapter)), {});
		for (const a of [adapter, { ...through, embeddings: adapter.embeddings }]) {
			const { files, losses, embeddingsBeside } = encode(cloneofsimoSafetensors, a);
			expect(losses).toEqual([]);
			expect(embeddingsBeside).toBe(false);
			expect(await contents(files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
			expect(Object.fromEntries(files[0]?.metadata ?? [])).toEqual(Object.fromEntries(file.metadata));
		}
	});

	it('sorts its indices by number', () => {
		const adapter = cloneofsimoSafetensors.decode(input(safetensors('new')), {});
		expect(moduleAt(adapter, 'unet', places('new', true)[10]?.path ?? '').factors.up?.origin).toBe('unet:10:up');
		expect(moduleAt(adapter, 'unet', places('new', true)[2]?.path ?? '').factors.up?.origin).toBe('unet:2:up');
	});

	it.each<[string, Record<string, string>, string]>([
		['rank entries that lie', { 'unet:3:rank': '4' }, 'W_METADATA_CONTRADICTS'],
		['classes that are not there', { unet: '["ResnetBlock2D"]' }, 'W_METADATA_CONTRADICTS'],
		['classes that are no JSON', { unet: 'GEGLU' }, 'W_METADATA_PARSE'],
	])('warns of %s and believes the tensors', (_, metadata, code) => {
		const adapter = cloneofsimoSafetensors.decode(input(safetensors('new', metadata)), {});
		expect(codes(adapter)).toEqual([code]);
		expect(adapter.modules).toHaveLength(144);
	});

	it('refuses a gap in the list', () => {
		const file = safetensors('new');
		const tensors = new Map([...file.tensors].filter(([name]) => name !== 'unet:7:down'));
		expect(messageOf(() => cloneofsimoSafetensors.decode(input({ ...file, tensors }), {}))).toContain('"unet:7:down" is missing');
	});

	it('puts tokens into .ti.pt', () => {
		const adapter = cloneofsimoSafetensors.decode(input(safetensors('new', { '<s1>': '<embed>' }, { '<s1>': [[8]] })), {});
		const { files, embeddingsBeside } = encode(cloneofsimoList, adapter);
		expect(files.map((f) => [f.suffix, f.top, [...f.tensors.keys()].length])).toEqual([
			['', 'list', 288],
			['.ti.pt', 'dict', 1],
		]);
		expect(embeddingsBeside).toBe(false);
		const back = cloneofsimoList.decode(reread(encode(cloneofsimoList, adapter), 'torch-zip'), {});
		expect(back.embeddings).toMatchObject([{ token: '<s1>', slot: '', component: 'text_encoder' }]);
	});
});

describe('what cloneofsimo cannot say', () => {
	const whole = cloneofsimoList.decode(input(torch(list('new'))), {});
	const without = (path: string): Adapter => ({ ...whole, modules: whole.modules.filter((m) => m.path !== path) });
	const renamed = (from: string, to: string): Adapter => ({
		...whole,
		modules: [...whole.modules, ...whole.modules.filter((m) => m.path === from).map((m) => ({ ...m, path: to }))],
	});
	const T = 'up_blocks.2.attentions.1.transformer_blocks.0';

	it('a missing module of a class: the first one is named', () => {
		expect(encode(cloneofsimoList, without(`${T}.attn2.to_k`)).losses[0]?.why).toContain(
			`a cloneofsimo list cannot leave modules out, and unet ${T}.attn2.to_k is missing`,
		);
		expect(encode(cloneofsimoList, without(`${T}.ff.net.0.proj`)).losses[0]?.why).toContain(`unet ${T}.ff.net.0.proj is missing`);
	});

	it('without GEGLU in one place, the attention still is a list', () => {
		const { files, losses } = encode(cloneofsimoList, without(`${T}.ff.net.0.proj`));
		expect(losses).toHaveLength(30);
		expect(files[0]?.tensors.size).toBe(256);
	});

	it.each(['down_blocks.0.attentions.0.proj_in', `${T}.ff.net.2`, 'conv_in'])('%s', (path) => {
		const { losses } = encode(cloneofsimoList, renamed(`${T}.attn1.to_q`, path));
		expect(losses).toHaveLength(2);
		expect(losses[0]?.why).toContain(`${path} stands in no class`);
	});

	it('a scaling', () => {
		const scaled = { ...whole, modules: whole.modules.map((m) => ({ ...m, scaling: 2, alpha: 4, rule: 'alpha/rank' as const })) };
		expect(encode(cloneofsimoSafetensors, scaled).losses).toHaveLength(144);
		expect(encode(cloneofsimoSafetensors, scaled).losses[0]?.why).toContain('--alpha fold');
	});

	it('header entries, in a .pt', () => {
		const said = {
			...whole,
			metadata: new Map([
				['format', 'pt'],
				['note', 'x'],
			]),
		};
		expect(encode(cloneofsimoList, said).losses.map((l) => l.what)).toEqual(['metadata:note']);
	});

	it('several vectors for one token: they go beside', () => {
		const [vectors] = dict({ t: [[3, 8]] }).tensors.values();
		if (vectors === undefined) throw new Error('no tensor');
		const bundle = { ...whole, embeddings: [{ token: 'style', slot: '', component: 'text_encoder', vectors }] };
		expect(encode(cloneofsimoList, bundle)).toMatchObject({ embeddingsBeside: true, losses: [] });
		expect(encode(cloneofsimoSafetensors, bundle)).toMatchObject({ embeddingsBeside: true, losses: [] });
	});
});

describe('files by cloneofsimo/lora', () => {
	it('same-adapter: attention alone', async () => {
		const file = await fixture('cloneofsimo/attention.safetensors');
		const adapter = cloneofsimoSafetensors.decode(input(file), {});
		const m = moduleAt(adapter, 'unet', 'mid_block.attentions.0.transformer_blocks.0.attn2.to_k');
		// From the reference set's digest.
		expect(await sha256(m.factors.down)).toBe('c110e5bb359917dc558106824f6ff33ebcbe568653a0b608132258a0d43d1331');
		expect(await sha256(m.factors.up)).toBe('d83955069ec79361b0bd009bbdf1c1e2c1f40e4910f6cf39252e9fcafa05ade7');
		expect(adapter.modules).toHaveLength(128);
	});

	it('a legacy torch list', async () => {
		const adapter = cloneofsimoList.decode(input(await fixture('cloneofsimo/legacy_nonzip_r1.pt')), {});
		const m = moduleAt(adapter, 'unet', 'up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj');
		expect(await sha256(m.factors.down)).toBe('37247b524b9714ae0e663e9d4ce2019f01334f9cdf7f7ec0a342792b0f9ea837');
	});

	it('a text encoder list alone, with its tokens', async () => {
		const adapter = cloneofsimoList.decode(
			input(await fixture('cloneofsimo/r4.text_encoder.pt'), { embeddings: [await fixture('cloneofsimo/r4.ti.pt')] }),
			{},
		);
		const q = moduleAt(adapter, 'text_encoder', 'text_model.encoder.layers.11.self_attn.q_proj');
		expect(await sha256(q.factors.down)).toBe('a2d4eb95bc5b7b3d107160b78a3272cdb23eac0f8c663d96cc89d6c1c341ef37');
		expect(adapter.embeddings.map((e) => e.token)).toEqual(['<s1>', '<s2>']);
	});
});
