import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import { makeRecipe, RECIPE_KEY, type Recipe, readRecipe, recipeMetadata } from '../../../src/transforms/fuse/recipe.js';
import { floats, folder, useOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const PATH = 'down_blocks.0.attentions.0.proj_in';
const schema = new URL('../../../schema/recipe.schema.json', import.meta.url);
const valid = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(JSON.parse(readFileSync(schema, 'utf8')));

const RECIPE: Recipe = {
	schema: 'lora.recipe/1',
	tool: 'lorakit',
	version: '1.2.3',
	base: { name: 'sd15', files: [{ path: 'unet/model.safetensors', sha256: B }] },
	adapters: [
		{ name: 'a.safetensors', sha256: A, layout: 'kohya', scale: 0.5, components: { unet: 2, text_encoder: 0 }, blocks: '1,0', modules: 1 },
	],
};

async function recipe(): Promise<Recipe> {
	const base = {
		...folder({ unet: { [`${PATH}.weight`]: { shape: [2, 2] } }, text_encoder: { 'x.weight': { shape: [1] } } }),
		name: '/home/me/models/sd15/',
	};
	const factors = { up: floats('F32', [2, 1], [1]), down: floats('F32', [1, 2], [1]) };
	const text = moduleOf('lora', factors, { path: 'text_model.encoder.layers.0.mlp.fc1', component: 'text_encoder' });
	const components = new Map([
		['unet', 2],
		['text_encoder', 0],
	]);
	const blocks = { text: '1,0', weightOf: () => 1 };
	const use = {
		...useOf([moduleOf('lora', factors, { path: PATH }), text], { scale: 0.5, components, blocks }),
		name: 'C:\\loras\\a.safetensors',
	};
	const plan = await planFuse(base, [use]);
	return makeRecipe({
		plan,
		uses: [use],
		adapterHashes: [A],
		baseHashes: new Map([['unet/model.safetensors', B]]),
		tool: 'lorakit',
		version: '1.2.3',
	});
}

describe('the recipe of a fused file', () => {
	it('says what was fused, without folders of this machine', async () => {
		expect(await recipe()).toEqual(RECIPE);
		valid(RECIPE);
		expect(valid.errors ?? []).toEqual([]);
	});

	it('is a header entry beside the others, and comes back', async () => {
		const metadata = recipeMetadata(new Map([['format', 'pt']]), RECIPE);
		expect([...metadata.keys()]).toEqual(['format', RECIPE_KEY]);
		expect(readRecipe(metadata)).toEqual(RECIPE);
		expect(readRecipe(new Map([['format', 'pt']]))).toBeUndefined();
	});

	it.each([
		[{ 'modelspec.title': 'My Base' }, 'My Base, a.safetensors'],
		[{ 'modelspec.architecture': 'stable-diffusion-v1' }, 'sd15, a.safetensors'],
		[{}, undefined],
	])('modelspec.merged_from of %j', (entries, expected) => {
		expect(recipeMetadata(new Map(Object.entries(entries)), RECIPE).get('modelspec.merged_from')).toBe(expected);
	});

	it.each([
		['{', 'is no JSON'],
		['[]', 'the recipe is no object'],
		['{}', 'schema is not'],
		[JSON.stringify({ ...RECIPE, base: 1 }), 'base is no object'],
		[JSON.stringify({ ...RECIPE, adapters: [{ ...RECIPE.adapters[0], scale: '1' }] }), 'scale is no number'],
		[JSON.stringify({ ...RECIPE, base: { name: 'x', files: [{ path: 'x', sha256: 'x' }] } }), 'sha256 is no SHA-256'],
		[' '.repeat(1_000_001), 'characters'],
	])('refuses %.40s', (text, message) => {
		expect(() => readRecipe(new Map([[RECIPE_KEY, text]]))).toThrow(expect.objectContaining({ code: 'E_METADATA' }));
		expect(() => readRecipe(new Map([[RECIPE_KEY, text]]))).toThrow(message);
	});
});
