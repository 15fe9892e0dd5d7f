import { describe, expect, it } from 'vitest';
import { type BaseModel, findModules, indexBase, segmentName } from '../../src/bases/index.js';
import { type BaseEntries, folder, singleFile } from './helpers.js';

/** `NAME tensorRow+rows>moduleRow` of each run of a module's weight (or other leaf). */
function runs(base: BaseModel, component: string, path: string, leaf: 'weight' | 'bias' = 'weight'): string[] | undefined {
	return indexBase(base)
		.find(component, path)
		?.parts.get(leaf)
		?.segments.map((s) => `${s.name} ${s.tensorRow}+${s.rows}>${s.moduleRow}`);
}

function found(base: BaseModel, component: string, path: string, resolved = true): string[] {
	const { found: map } = findModules(base, [{ component, path, resolved }]);
	return [...map.values()].flatMap((m) => [...m.parts].flatMap(([leaf, p]) => p.segments.map((s) => `${leaf} ${segmentName(s)}`)));
}

const W = { shape: [4, 4] };
const BFL: BaseEntries = {
	'double_blocks.0.img_attn.qkv.weight': { shape: [12, 4] },
	'double_blocks.0.img_attn.qkv.bias': { shape: [12] },
	'single_blocks.0.linear1.weight': { shape: [28, 4] },
	'single_blocks.0.linear1.bias': { shape: [28] },
	'final_layer.adaLN_modulation.1.weight': { shape: [8, 4] },
};
const DIFFUSERS: BaseEntries = {
	'transformer_blocks.0.attn.to_q.weight': W,
	'transformer_blocks.0.attn.to_k.weight': W,
	'transformer_blocks.0.attn.to_v.weight': W,
	'single_transformer_blocks.0.attn.to_q.weight': W,
	'single_transformer_blocks.0.attn.to_k.weight': W,
	'single_transformer_blocks.0.attn.to_v.weight': W,
	'single_transformer_blocks.0.proj_mlp.weight': { shape: [16, 4] },
	'norm_out.linear.weight': { shape: [8, 4] },
};

describe('a transformer under its other naming', () => {
	it.each([
		['transformer_blocks.0.attn.to_k', ['double_blocks.0.img_attn.qkv.weight 4+4>0']],
		['single_transformer_blocks.0.attn.to_v', ['single_blocks.0.linear1.weight 8+4>0']],
		['single_transformer_blocks.0.proj_mlp', ['single_blocks.0.linear1.weight 12+16>0']],
		['single_blocks.0.linear1_qkv', ['0+4>0', '4+4>4', '8+4>8'].map((r) => `single_blocks.0.linear1.weight ${r}`)],
		['single_blocks.0.linear1', ['single_blocks.0.linear1.weight 0+28>0']],
		// shift, scale against scale, shift
		['norm_out.linear', ['4+4>0', '0+4>4'].map((r) => `final_layer.adaLN_modulation.1.weight ${r}`)],
	])('BFL file, %s', (path, expected) => {
		expect(runs(singleFile(BFL), 'transformer', path)).toEqual(expected);
	});

	it('cuts biases as it cuts weights', () => {
		expect(runs(singleFile(BFL), 'transformer', 'single_transformer_blocks.0.proj_mlp', 'bias')).toEqual([
			'single_blocks.0.linear1.bias 12+16>0',
		]);
	});

	it.each([
		['double_blocks.0.img_attn.qkv', ['q', 'k', 'v'].map((l, n) => `transformer_blocks.0.attn.to_${l}.weight 0+4>${4 * n}`)],
		[
			'single_blocks.0.linear1',
			[
				...['q', 'k', 'v'].map((l, n) => `single_transformer_blocks.0.attn.to_${l}.weight 0+4>${4 * n}`),
				'single_transformer_blocks.0.proj_mlp.weight 0+16>12',
			],
		],
		['single_blocks.0.linear1_qkv', ['q', 'k', 'v'].map((l, n) => `single_transformer_blocks.0.attn.to_${l}.weight 0+4>${4 * n}`)],
		['final_layer.adaLN_modulation.1', ['norm_out.linear.weight 4+4>0', 'norm_out.linear.weight 0+4>4']],
	])('diffusers folder, %s', (path, expected) => {
		expect(runs(folder({ transformer: DIFFUSERS }), 'transformer', path)).toEqual(expected);
	});
});

describe('findModules by the names of the tensors', () => {
	it.each<readonly [string, BaseEntries, string, boolean, readonly string[]]>([
		[
			'as it stands',
			{ 'enc.a.weight': W, 'enc.a.bias': { shape: [4] } },
			'enc.a',
			true,
			['weight base.safetensors:enc.a.weight', 'bias base.safetensors:enc.a.bias'],
		],
		['behind a prefix', { 'model.enc.a.weight': W }, 'enc.a', true, ['weight base.safetensors:model.enc.a.weight']],
		[
			'behind a long prefix',
			{ 'model.diffusion_model.odd.a.weight': W },
			'odd.a',
			true,
			['weight base.safetensors:model.diffusion_model.odd.a.weight'],
		],
		['as it stands before a prefix', { 'ema.enc.a.weight': W, 'enc.a.weight': W }, 'enc.a', true, ['weight base.safetensors:enc.a.weight']],
		['flattened', { 'net.enc_x.a.weight': W }, 'enc_x_a', false, ['weight base.safetensors:net.enc_x.a.weight']],
		['not there', { 'enc.b.weight': W }, 'enc.a', true, []],
		['a part of a name is no name', { 'xenc.a.weight': W }, 'enc.a', true, []],
	])('%s', (_, entries, path, resolved, expected) => {
		expect(found(singleFile(entries), 'model', path, resolved)).toEqual(expected);
	});

	it('takes the one prefix that fits all', () => {
		const base = singleFile({ 'x.a.weight': W, 'y.a.weight': W, 'y.b.weight': W });
		const { found: map } = findModules(
			base,
			['a', 'b'].map((path) => ({ component: 'model', path, resolved: true })),
		);
		expect([...map.values()].map((m) => m.parts.get('weight')?.segments[0]?.name)).toEqual(['y.a.weight', 'y.b.weight']);
	});

	it.each<readonly [string, BaseEntries, string, boolean]>([
		['two prefixes', { 'x.enc.a.weight': W, 'y.enc.a.weight': W }, 'enc.a', true],
		['two flattened names', { 'enc.x_a.weight': W, 'enc_x.a.weight': W }, 'enc_x_a', false],
		['two leaves', { 'enc.a.weight': W, 'enc.a.scale': W }, 'enc.a', true],
	])('refuses %s, naming both', (_, entries, path, resolved) => {
		const [a, b] = Object.keys(entries);
		expect(() => found(singleFile(entries), 'model', path, resolved)).toThrow(expect.objectContaining({ code: 'E_AMBIGUOUS' }));
		expect(() => found(singleFile(entries), 'model', path, resolved)).toThrow(new RegExp(`${a}.*${b}`));
	});

	it('never gives one encoder the tensors of another', () => {
		const base = singleFile({ 'text_model.encoder.layers.0.mlp.fc1.weight': W });
		expect(found(base, 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1')).toHaveLength(1);
		expect(found(base, 'text_encoder_2', 'text_model.encoder.layers.0.mlp.fc1')).toEqual([]);
	});

	it('a folder of shards is one model; the same name twice is ambiguous', () => {
		const base = folder({ unet: { 'conv_in.weight': W } });
		expect(found(base, 'unet', 'conv_in')).toEqual(['weight unet/model.safetensors:conv_in.weight']);
		const [file] = base.files;
		if (file === undefined) throw new Error('no file');
		const twice = { ...base, files: [file, { ...file, path: 'unet/other.safetensors' }] };
		expect(() => found(twice, 'unet', 'conv_in')).toThrow(/model\.safetensors:conv_in.*other\.safetensors:conv_in/);
	});
});
