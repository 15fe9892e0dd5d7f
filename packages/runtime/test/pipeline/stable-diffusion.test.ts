import fs from 'node:fs';
import path from 'node:path';
import { type Embedding, FormatError, openStateDict } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import {
	createClipTokenizer,
	createFloat64Engine,
	createStableDiffusion,
	createTorchGenerator,
	type Engine,
	f32Tensor,
	generate,
	pixelsOf,
	type StableDiffusion,
} from '../../src/index.js';
import { openBase } from '../../src/io/open-base.js';
import { apart, FIXTURES, tinyShapes, use } from '../fixtures.js';

async function hexagon(token = '<hex>'): Promise<Embedding> {
	const { tensors } = await openStateDict(await openSource(path.join(FIXTURES, 'adapters/hexagon.safetensors')));
	const [vectors] = tensors.values();
	if (vectors === undefined) throw new Error('no embedding');
	return { token, slot: '', component: 'text_encoder', vectors };
}

function picture(name: string): { readonly width: number; readonly height: number; readonly data: Uint8Array } {
	const { width, height, data, channels } = decode(fs.readFileSync(path.join(FIXTURES, 'runs', name)));
	if (channels !== 3 || !(data instanceof Uint8Array)) throw new Error(`${name} is no 8-bit RGB`);
	return { width, height, data };
}

/** The same token, learned otherwise. */
function changed(embedding: Embedding): Embedding {
	const { vectors } = embedding;
	return { ...embedding, vectors: { ...vectors, read: async () => (await vectors.read()).map((byte) => byte ^ 1) } };
}

describe('what is refused changes nothing', () => {
	let model: StableDiffusion;
	beforeAll(async () => {
		model = await tinyShapes(createFloat64Engine());
	});
	afterAll(() => model.close());

	const SIZE = { height: 64, width: 64 };
	const states = async (): Promise<ArrayLike<number>> =>
		(await model.encodePrompt('a striped red <hex>', undefined, SIZE)).conditioning.states(false).data;

	it('embeddings', async () => {
		await model.setEmbeddings([await hexagon()]);
		const before = await states();
		await expect(model.setEmbeddings([await hexagon('a b'), changed(await hexagon('a b'))])).rejects.toMatchObject({
			code: 'E_NAME_COLLISION',
		});
		expect(model.tokens.placeholders).toEqual([{ token: '<hex>', vectors: 1 }]);
		// The refused ones are not tried again.
		await model.setAdapters([]);
		expect(await states()).toEqual(before);
	});

	it('adapters whose tokens are there already', async () => {
		await model.setEmbeddings([await hexagon()]);
		const before = await states();
		const striped = await use('striped', 1);
		const carrying = { ...striped, adapter: { ...striped.adapter, embeddings: [changed(await hexagon())] } };
		await expect(model.setAdapters([carrying])).rejects.toMatchObject({ code: 'E_NAME_COLLISION' });
		expect(await states()).toEqual(before);
	});

	it('a token of too many vectors is not read', async () => {
		const { vectors } = await hexagon();
		const huge = { ...vectors, shape: [76, 64], read: () => Promise.reject(new Error('it was read')) };
		await expect(model.setEmbeddings([{ ...(await hexagon()), vectors: huge }])).rejects.toMatchObject({ code: 'E_LIMIT' });
	});

	it('learned tokens with a tokenizer that has not as many tokens as the text encoder', async () => {
		const base = await openBase(path.join(FIXTURES, 'tiny-shapes'));
		const [files] = base.tokenizers;
		const added = JSON.stringify({ '<one more>': base.textEncoders[0]?.vocabSize });
		const tokenizer = createClipTokenizer({ vocab: files?.vocab ?? '', merges: files?.merges ?? '', addedTokens: added });
		const other = createStableDiffusion(base, createFloat64Engine(), { tokenizers: [tokenizer] });
		await expect(other.setEmbeddings([await hexagon()])).rejects.toMatchObject({ code: 'E_BASE_MISMATCH' });
		await other.close();
		await base.close();
	});
});

describe('clip skip', () => {
	it('is for the prompt alone, and needs no second session', async () => {
		const inner = createFloat64Engine();
		let loads = 0;
		const engine: Engine = {
			...inner,
			load(...args) {
				loads++;
				return inner.load(...args);
			},
		};
		const model = await tinyShapes(engine);
		const SIZE = { height: 64, width: 64 };
		const both = async (clipSkip?: number) =>
			(await model.encodePrompt('a red star', 'blue', { ...SIZE, clipSkip })).conditioning.states(true);
		const skipped = await both(1);
		expect(loads).toBe(1);
		const plain = await both();
		expect(loads).toBe(1);
		const half = plain.data.length / 2;
		expect(skipped.data.subarray(0, half)).toEqual(plain.data.subarray(0, half));
		expect(apart(skipped.data.subarray(half), plain.data.subarray(half))).toBeGreaterThan(1e-3);
		await model.close();
	});
});

describe('the VAE in half precision', () => {
	/** Pixels of the same latents, by the VAE of a base on an engine. */
	async function pixelsBy(folder: string, engine: Engine, forceUpcast?: boolean): Promise<ArrayLike<number>> {
		const base = await openBase(path.join(FIXTURES, folder));
		const vae = forceUpcast === undefined ? base.vae : { ...base.vae, forceUpcast };
		const model = createStableDiffusion({ ...base, vae }, engine, { tokenizers: [] });
		const latents = f32Tensor(
			[1, 4, 8, 8],
			Float32Array.from({ length: 256 }, (_, i) => Math.sin(i)),
		);
		const { data } = await model.decode(latents);
		await model.close();
		await base.close();
		return data;
	}

	it('is in float32 where an SDXL base asks for that, and for no other', async () => {
		const [single, half] = [await createOnnxEngine(), await createOnnxEngine({ precision: 'fp16' })];
		const sdxl = await pixelsBy('tiny-sdxl-weights', single);
		expect(await pixelsBy('tiny-sdxl-weights', half, true)).toEqual(sdxl);
		expect(apart(await pixelsBy('tiny-sdxl-weights', half, false), sdxl)).toBeGreaterThan(0);
		// diffusers' pipelines of Stable Diffusion 1 and 2 do not ask.
		expect(apart(await pixelsBy('tiny-shapes', half, true), await pixelsBy('tiny-shapes', single))).toBeGreaterThan(0);
	});
});

describe('generate', () => {
	let model: StableDiffusion;
	beforeAll(async () => {
		model = await tinyShapes(await createOnnxEngine());
	});
	afterAll(() => model.close());

	const from = picture('base-heun20.png');
	const request = async () => ({
		prompt: await model.encodePrompt('a red star', undefined, { height: 64, width: 64, count: 2 }),
		scheduler: 'dpmsolver++' as const,
		steps: 10,
		guidance: 7.5,
		height: 64,
		width: 64,
		count: 2,
		generators: [createTorchGenerator(1)],
		init: { pixels: f32Tensor([1, 3, 64, 64], pixelsOf(from.data, from.height, from.width)), strength: 0.6 },
	});

	/** diffusers with num_images_per_prompt=2 and one generator: fixtures/runtime/make_img2img.py. */
	it("two pictures from one picture by one generator are diffusers' within one grey level", async () => {
		const loop = generate(model, await request());
		for (;;) {
			const { value, done } = await loop.next();
			if (done !== true) continue;
			for (const n of [0, 1]) expect(apart(value.pictures[n] ?? [], picture(`img2img-two-${n}.png`).data)).toBeLessThanOrEqual(1);
			return;
		}
	});

	it.each([
		['a count that is none', { count: 1.5 }, '1.5 pictures'],
		['no pictures', { count: 0 }, '0 pictures'],
		['a guidance that is none', { guidance: Number.NaN }, 'Guidance NaN'],
		['a start of another size', { init: { pixels: f32Tensor([1, 3, 8, 8], new Float32Array(192)), strength: 0.5 } }, '(1, 3, 8, 8)'],
	])('refuses %s', async (_, wrong, words) => {
		const refused = generate(model, { ...(await request()), ...wrong }).next();
		await expect(refused).rejects.toBeInstanceOf(FormatError);
		await expect(refused).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining(words) });
	});
});
