import { describe, expect, test } from 'vitest';
import { cloneofsimoCandidates, type PairShape, parseUnetConfig, unetModulesInOrder } from '../../src/modules/index.js';
import { field, type Lists, type NamedShape, pairOf, type UnetRow } from './field-lists.js';

describe.each([
	['sd15', 'sd1'],
	['sd21', 'sd2'],
	['sdxl', 'sdxl'],
])('%s', (base, family) => {
	const rows = field<UnetRow[]>(`${base}-unet.json`);
	const lists = field<Lists>(`${base}-lists.json`);
	test.each(Object.keys(lists))('%s is found from shapes alone', (name) => {
		const picked = (lists[name] ?? []).map((i) => rows[i] ?? (['?', 0, 0] as const));
		const pairs = picked.map(([, ...shape]) => pairOf(shape as number[], 4));
		const { candidates } = cloneofsimoCandidates(pairs, { component: 'unet' });
		expect(candidates).toHaveLength(1);
		expect(candidates[0]?.paths).toEqual(picked.map(([path]) => path));
		expect(candidates[0]).toMatchObject({ family, confidence: 1 });
		const orders = name.includes('old_and_new') ? ['old', 'new'] : [name.includes('le_0_14') ? 'old' : 'new'];
		expect(candidates[0]?.orders).toEqual(orders);
	});
});

const tiny = field<{ config: unknown; modules: NamedShape[]; lists: Lists }>('tiny-unet.json');

test.each(Object.entries(tiny.lists))('tiny %s', (name, list) => {
	const picked = list.map((i) => tiny.modules[i] ?? (['?'] as const));
	const pairs = picked.map(([, ...shape]) => pairOf(shape as number[], 2));
	const { candidates } = cloneofsimoCandidates(pairs, { component: 'unet' });
	expect(candidates.map((c) => c.paths)).toEqual([picked.map(([path]) => path)]);
	expect(candidates[0]).toMatchObject({ family: 'sd1or2', order: name.includes('le_0.14') ? 'old' : 'new' });
	const config = parseUnetConfig(tiny.config);
	const base = { name: 'tiny', family: 'sd1or2', components: new Map(), unetConfig: config };
	expect(cloneofsimoCandidates(pairs, { component: 'unet', base }).candidates).toMatchObject([{ confidence: 1 }]);
});

describe.each(['tiny-sd', 'tiny-sd2', 'tiny-sdxl'])('%s', (name) => {
	const { config, unet } = field<{ config: unknown; unet: NamedShape[] }>(`${name}-base.json`);
	const shapes = new Map(unet.map(([path, ...shape]) => [path.replace(/\.weight$/, ''), shape]));
	test.each([
		['old', ['CrossAttention', 'Attention', 'GEGLU']],
		['new', ['CrossAttention', 'Attention', 'GEGLU']],
		['new', ['CrossAttention', 'Attention', 'GEGLU', 'ResnetBlock2D']],
		['old', ['GEGLU']],
	] as const)('%s %j', (order, targets) => {
		const wanted: readonly string[] = targets;
		const conv = wanted.includes('ResnetBlock2D');
		const modules = unetModulesInOrder(parseUnetConfig(config), order).filter(
			(m) => (m.kind === 'linear' || (conv && m.kind === 'conv2d')) && m.classes.some((c) => wanted.includes(c)),
		);
		const pairs = modules.map(({ path }) => pairOf(shapes.get(path) ?? [], 1));
		const said = wanted.length === 1 ? targets : undefined;
		const { candidates } = cloneofsimoCandidates(pairs, { component: 'unet', targets: said });
		expect(candidates).toHaveLength(1);
		expect(candidates[0]?.paths).toEqual(modules.map((m) => m.path));
		expect(candidates[0]?.family).toBe(name === 'tiny-sdxl' ? 'sdxl' : 'sd1or2');
	});
});

describe('text encoders', () => {
	const square = (d: number, n: number): PairShape[] => Array.from({ length: n }, () => pairOf([d, d], 4));
	test.each([
		[768, 48, 'sd1'],
		[1024, 92, 'sd2'],
		[1280, 128, 'sdxl'],
		[32, 8, 'sd1or2'],
	])('width %i, %i pairs', (d, n, family) => {
		const { candidates } = cloneofsimoCandidates(square(d, n), { component: 'text_encoder' });
		expect(candidates).toHaveLength(1);
		expect(candidates[0]).toMatchObject({ family, targets: ['CLIPAttention'] });
		const leaves = ['k_proj', 'v_proj', 'q_proj', 'out_proj'];
		expect(candidates[0]?.paths).toEqual(
			Array.from({ length: n }, (_, i) => `text_model.encoder.layers.${Math.floor(i / 4)}.self_attn.${leaves[i % 4]}`),
		);
	});
	test('seven pairs are no whole layers', () => {
		const { candidates, nearest } = cloneofsimoCandidates(square(768, 7), { component: 'text_encoder' });
		expect(candidates).toEqual([]);
		expect(nearest).toContain('the list ends after 7 pairs');
	});
});

describe('what does not fit', () => {
	const rows = field<UnetRow[]>('sd15-unet.json');
	const list = field<Lists>('sd15-lists.json')['unet_with_GEGLU__diffusers_ge_0_15'] ?? [];
	const pairs = list.map((i) => pairOf((rows[i]?.slice(1) ?? []) as number[], 4));
	test('a wrong shape is named with its place', () => {
		const broken = [...pairs];
		broken[77] = pairOf([321, 320], 4);
		const { candidates, nearest } = cloneofsimoCandidates(broken, { component: 'unet' });
		expect(candidates).toEqual([]);
		expect(nearest).toContain('pair 77');
	});
	test('the wrong order, one pair short and an empty list', () => {
		expect(cloneofsimoCandidates(pairs, { component: 'unet', order: 'old' }).nearest).toContain('pair 4 does not fit');
		expect(cloneofsimoCandidates(pairs.slice(1), { component: 'unet' }).candidates).toEqual([]);
		expect(cloneofsimoCandidates([], { component: 'unet' })).toEqual({ candidates: [], nearest: 'the list is empty' });
		expect(cloneofsimoCandidates(pairs, { component: 'unet', targets: ['Nothing'] }).candidates).toEqual([]);
	});
});
