import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { openBase } from '../../src/io/index.js';
import { encodeWeighted } from '../../src/pipeline/encode-weighted.js';
import { createStableDiffusion } from '../../src/pipeline/stable-diffusion.js';
import { createClipTokenizer, parseWeightedPrompt } from '../../src/tokenizer/index.js';

const FIXTURES = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures/runtime');

interface Expected {
	readonly prompt: string;
	readonly negative: string | null;
	readonly clip_skip: number;
	readonly chunks: number;
	readonly states: readonly number[];
	readonly negative_states: readonly number[];
}

const recorded = JSON.parse(readFileSync(path.join(FIXTURES, 'weighted.json'), 'utf8')) as {
	readonly stride: number;
	readonly cases: readonly Expected[];
};

async function openModel() {
	const base = await openBase(path.join(FIXTURES, 'tiny-shapes'));
	const [files] = base.tokenizers;
	const tokenizer = createClipTokenizer({
		vocab: files?.vocab ?? '',
		merges: files?.merges ?? '',
		config: files?.tokenizerConfig,
		specialTokens: files?.specialTokensMap,
	});
	return { base, model: createStableDiffusion(base, createFloat64Engine(), { tokenizers: [tokenizer] }) };
}

describe('encodeWeighted', () => {
	it.each(recorded.cases)(
		'has the states that A1111 makes of $prompt',
		async ({ prompt, negative, clip_skip, chunks, states, negative_states }) => {
			const { base, model } = await openModel();
			const encoded = await encodeWeighted(
				model,
				parseWeightedPrompt(prompt).segments,
				negative === null ? undefined : parseWeightedPrompt(negative).segments,
				{ clipSkip: clip_skip, height: 64, width: 64 },
			);
			const got = encoded.conditioning.states(true);
			expect(got.shape).toEqual([2, 77 * chunks, 64]);
			const half = got.data.length / 2;
			let worst = 0;
			// The negative half comes first.
			for (const [from, want] of [
				[half, states],
				[0, negative_states],
			] as const) {
				expect(want.length).toBe(Math.ceil(half / recorded.stride));
				for (const [i, x] of want.entries()) worst = Math.max(worst, Math.abs(x - (got.data[from + i * recorded.stride] ?? Number.NaN)));
			}
			// The bar of text states against torch; the expectation is float64, the engine's weights and outputs float32.
			expect(worst).toBeLessThan(3e-5);
			expect(encoded.ids[0]?.map((ids) => ids.length)).toEqual([77 * chunks, 77 * chunks]);
			expect(encoded.truncated).toEqual([]);
			await model.close();
			await base.close();
		},
	);

	it('without weights is what encodePrompt gives', async () => {
		const { base, model } = await openModel();
		const size = { height: 64, width: 64 };
		const plain = await model.encodePrompt('a red circle', 'black background', size);
		const [prompt, negative] = [parseWeightedPrompt('a red circle').segments, parseWeightedPrompt('black background').segments];
		const weighted = await encodeWeighted(model, prompt, negative, size);
		expect(weighted.conditioning.states(true).data).toEqual(plain.conditioning.states(true).data);
		await model.close();
		await base.close();
	});

	it('refuses weights that leave no mean', async () => {
		const { base, model } = await openModel();
		const segments = [{ kind: 'text' as const, text: 'a red circle', weight: Number.POSITIVE_INFINITY }];
		await expect(encodeWeighted(model, segments, undefined, { height: 64, width: 64 })).rejects.toMatchObject({ code: 'E_NONFINITE' });
		await model.close();
		await base.close();
	});
});
