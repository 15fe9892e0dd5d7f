import fs from 'node:fs';
import path from 'node:path';
import { type Embedding, openStateDict } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import type { StableDiffusion } from '../../src/index.js';
import { apart, FIXTURES, recorded, tinyShapes } from '../fixtures.js';

const want = recorded('embedding.safetensors');
const { prompts } = JSON.parse(fs.readFileSync(path.join(FIXTURES, 'embedding.json'), 'utf8')) as { readonly prompts: readonly string[] };

async function embeddings(name: string): Promise<readonly Embedding[]> {
	const { tensors } = await openStateDict(await openSource(path.join(FIXTURES, 'adapters', `${name}.safetensors`)));
	return Array.from(tensors, ([token, vectors]) => ({ token, slot: '', component: 'text_encoder', vectors }));
}

/** transformers 5 with the rows added to its table: fixtures/runtime/make_embedding.py. */
describe('learned tokens', () => {
	let model: StableDiffusion;
	beforeAll(async () => {
		model = await tinyShapes(createFloat64Engine());
	});
	afterAll(() => model.close());

	it('one vector and two vectors give the ids and the states of transformers', async () => {
		await model.setEmbeddings([...(await embeddings('hexagon')), ...(await embeddings('duo'))]);
		for (const [row, prompt] of prompts.entries()) {
			const encoded = await model.encodePrompt(prompt, undefined, { height: 64, width: 64 });
			expect([...(encoded.ids[0]?.[0] ?? [])]).toEqual([...(want.get('ids')?.data.subarray(77 * row, 77 * (row + 1)) ?? [])]);
			const states = want.get('states')?.data.subarray(77 * 64 * row, 77 * 64 * (row + 1)) ?? [];
			// The bar of the reference sets for text states.
			expect(apart(encoded.conditioning.states(false).data, states)).toBeLessThan(3e-5);
		}
	});

	it('a token that comes twice is one, with other vectors it is refused', async () => {
		const own = await embeddings('hexagon');
		await model.setEmbeddings([...own, ...own]);
		expect(model.tokens.placeholders).toEqual([{ token: '<hex>', vectors: 1 }]);
		const others = own.map((e) => ({
			...e,
			vectors: { ...e.vectors, read: async () => (await e.vectors.read()).map((byte) => byte ^ 1) },
		}));
		await expect(model.setEmbeddings([...own, ...others])).rejects.toMatchObject({ code: 'E_NAME_COLLISION' });
	});
});
