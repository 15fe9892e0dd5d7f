import { createHash } from 'node:crypto';
import { bytesTensor, type Tensor } from '@lorakit/format';
import { parseVaeConfig, type WeightPlace, type Weights } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { encodingWeights, type LatentKeyParts, latentKey, type TextKeyParts, textKey, weightsIdentity } from '../../src/data/cache-key.js';

const LATENT: LatentKeyParts = {
	picture: 'a'.repeat(64),
	plan: { filter: 'lanczos', resized: { width: 83, height: 64 }, crop: { left: 10, top: 0, width: 64, height: 64 }, flip: false },
	vae: 'b'.repeat(64),
	engine: 'onnx cpu',
	dtype: 'f32',
};
const TEXT: TextKeyParts = { ids: [[1, 2, 3]], encoders: ['c'], clipSkip: 0, engine: 'onnx cpu', dtype: 'f32' };

describe('keys of a cache', () => {
	it('differ with everything that decides the content', () => {
		const { plan } = LATENT;
		const others: readonly Partial<LatentKeyParts>[] = [
			{ picture: 'c'.repeat(64) },
			{ vae: 'c'.repeat(64) },
			{ engine: 'onnx cuda' },
			{ dtype: 'f16' },
			{ plan: { ...plan, filter: 'bilinear' } },
			{ plan: { ...plan, resized: { width: 84, height: 64 } } },
			{ plan: { ...plan, resized: { width: 64, height: 83 } } },
			{ plan: { ...plan, crop: { ...plan.crop, left: 0, top: 10 } } },
			{ plan: { ...plan, crop: { ...plan.crop, height: 56 } } },
			{ plan: { ...plan, flip: true } },
		];
		const texts: readonly Partial<TextKeyParts>[] = [
			{ ids: [[1, 2], [3]] },
			{ ids: [[12, 3]] },
			{ encoders: ['c', 'd'] },
			{ clipSkip: 1 },
			{ engine: 'tfjs cpu' },
			{ dtype: 'f16' },
		];
		const keys = [
			latentKey(LATENT),
			...others.map((change) => latentKey({ ...LATENT, ...change })),
			textKey(TEXT),
			...texts.map((change) => textKey({ ...TEXT, ...change })),
		];
		expect(new Set(keys).size).toBe(keys.length);
		for (const key of keys) expect(key).toMatch(/^[0-9a-f]{64}$/);
		expect(latentKey({ ...LATENT, plan: { ...plan, crop: { height: 64, width: 64, top: 0, left: 10 } } })).toBe(keys[0]);
	});

	it('are the same with another implementation of SHA-256', () => {
		const node = () => {
			const hash = createHash('sha256');
			return { update: (bytes: Uint8Array) => void hash.update(bytes), digestHex: () => hash.digest('hex') };
		};
		expect(latentKey(LATENT, node)).toBe(latentKey(LATENT));
		expect(textKey(TEXT, node)).toBe(textKey(TEXT));
	});
});

describe('the identity of weights', () => {
	const { config } = parseVaeConfig({ _class_name: 'AutoencoderKL' });
	const tensor = (...values: number[]): Tensor => bytesTensor('F32', [values.length], new Uint8Array(Float32Array.from(values).buffer));
	const weights = (places: Readonly<Record<string, Partial<WeightPlace> & { readonly tensor: Tensor }>>): Weights => ({
		shape: (_, name) => places[name]?.tensor.shape,
		names: () => Object.keys(places),
		locate: (_, name) => {
			const place = places[name];
			return place === undefined ? undefined : { file: 'f', name, shape: place.tensor.shape, ...place };
		},
	});
	const identity = (places: Parameters<typeof weights>[0], keep?: (name: string) => boolean) =>
		weightsIdentity(weights(places), 'vae', config, { keep });

	it('is that of values, names and configuration, not of files or their order', async () => {
		const base = await identity({ 'encoder.a': { tensor: tensor(1, 2) }, 'decoder.b': { tensor: tensor(3) } });
		expect(await identity({ 'decoder.b': { tensor: tensor(3), file: 'other' }, 'encoder.a': { tensor: tensor(1, 2) } })).toBe(base);
		const others = [
			await identity({ 'encoder.a': { tensor: tensor(1, 2.5) }, 'decoder.b': { tensor: tensor(3) } }),
			await identity({ 'encoder.c': { tensor: tensor(1, 2) }, 'decoder.b': { tensor: tensor(3) } }),
			await identity({ 'encoder.a': { tensor: tensor(1, 2), transposed: true }, 'decoder.b': { tensor: tensor(3) } }),
			await weightsIdentity(weights({ 'encoder.a': { tensor: tensor(1, 2) }, 'decoder.b': { tensor: tensor(3) } }), 'vae', {
				...config,
				layersPerBlock: 2,
			}),
		];
		expect(new Set([base, ...others]).size).toBe(5);
	});

	it('of what encodes does not change with the decoder', async () => {
		const one = await identity({ 'encoder.a': { tensor: tensor(1, 2) }, 'decoder.b': { tensor: tensor(3) } }, encodingWeights);
		expect(await identity({ 'encoder.a': { tensor: tensor(1, 2) }, 'decoder.b': { tensor: tensor(4) } }, encodingWeights)).toBe(one);
		expect(await identity({ 'encoder.a': { tensor: tensor(1, 3) }, 'decoder.b': { tensor: tensor(3) } }, encodingWeights)).not.toBe(one);
	});

	it('tells rows of one tensor apart', async () => {
		const qkv = tensor(1, 2, 3, 4);
		const place = (from: number): { tensor: Tensor; shape: readonly number[]; rows: readonly [number, number] } => ({
			tensor: qkv,
			shape: [2],
			rows: [from, 2],
		});
		const one = await identity({ q: place(0), k: place(2) });
		expect(await identity({ q: place(2), k: place(0) })).not.toBe(one);
	});
});
