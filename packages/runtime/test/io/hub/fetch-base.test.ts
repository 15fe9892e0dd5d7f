import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { baseFiles } from '../../../src/io/hub/base-files.js';
import { fetchBase } from '../../../src/io/hub/index.js';
import { openBase } from '../../../src/io/open-base.js';
import { type FakeRepo, type HubServer, startHub } from './hub-server.js';
import { COMMIT, hubEnv, refusal, utf8 } from './support.js';

let server: HubServer;
beforeEach(async () => {
	server = await startHub();
});
afterEach(() => server.close());

const SHAPES = fileURLToPath(new URL('../../../../../fixtures/runtime/tiny-shapes', import.meta.url));

/** `tiny-shapes` as a repository, with what real ones have beside. */
function shapesRepo(): FakeRepo {
	const files = new Map<string, Uint8Array>();
	for (const entry of fs.readdirSync(SHAPES, { recursive: true, withFileTypes: true })) {
		const file = path.join(entry.parentPath, entry.name);
		if (entry.isFile()) files.set(path.relative(SHAPES, file).split(path.sep).join('/'), fs.readFileSync(file));
	}
	for (const name of [
		'unet/diffusion_pytorch_model.bin',
		'unet/diffusion_pytorch_model.fp16.safetensors',
		'unet/diffusion_pytorch_model.non_ema.safetensors',
		'unet/diffusion_flax_model.msgpack',
		'vae/diffusion_pytorch_model.fp16.safetensors',
		'text_encoder/model.fp16.safetensors',
		'text_encoder/pytorch_model.bin',
		'safety_checker/model.safetensors',
		'feature_extractor/preprocessor_config.json',
		'v1-5-pruned.safetensors',
	]) {
		files.set(name, utf8(name));
	}
	const lfs = new Set([...files.keys()].filter((name) => /\.(?:safetensors|bin|msgpack)$/.test(name)));
	return { commit: COMMIT, files, lfs };
}

const BASE = 'me/tiny-shapes';
const NEEDED = [
	'model_index.json',
	'scheduler/scheduler_config.json',
	'text_encoder/config.json',
	'text_encoder/model.safetensors',
	'tokenizer/merges.txt',
	'tokenizer/special_tokens_map.json',
	'tokenizer/tokenizer_config.json',
	'tokenizer/vocab.json',
	'unet/config.json',
	'unet/diffusion_pytorch_model.safetensors',
	'vae/config.json',
	'vae/diffusion_pytorch_model.safetensors',
];

function filesOf(folder: string): string[] {
	return fs
		.readdirSync(folder, { recursive: true, withFileTypes: true })
		.filter((entry) => !entry.isDirectory())
		.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
		.sort();
}

describe('fetchBase', () => {
	it('fetches what inference needs and nothing else, and it opens', async () => {
		server.repos.set(BASE, shapesRepo());
		const env = hubEnv(server);
		const folder = await fetchBase(BASE, { env });
		expect(path.basename(folder)).toBe(COMMIT);
		expect(filesOf(folder)).toEqual(NEEDED);
		const base = await openBase(folder);
		try {
			const local = await openBase(SHAPES);
			try {
				expect(base.unet).toEqual(local.unet);
			} finally {
				await local.close();
			}
		} finally {
			await base.close();
		}
		// The folder of the repository too, by refs/main.
		await (await openBase(path.join(env.HF_HUB_CACHE, 'models--me--tiny-shapes'))).close();
		server.seen.length = 0;
		expect(await fetchBase(BASE, { env, offline: true })).toBe(folder);
		expect(server.seen).toEqual([]);
		expect(await fetchBase(BASE, { env })).toBe(folder);
		expect(server.seen.filter(({ url }) => url.includes('/resolve/'))).toEqual([]);
	});

	it('fetches the variant that is asked for', async () => {
		server.repos.set(BASE, shapesRepo());
		const folder = await fetchBase(BASE, { env: hubEnv(server), variant: 'fp16' });
		expect(filesOf(folder).filter((name) => name.endsWith('.safetensors'))).toEqual([
			'text_encoder/model.fp16.safetensors',
			'unet/diffusion_pytorch_model.fp16.safetensors',
			'vae/diffusion_pytorch_model.fp16.safetensors',
		]);
	});

	it('takes torch weights where there are no others, and shards with their index', () => {
		const index = JSON.stringify({
			unet: ['diffusers', 'X'],
			vae: ['diffusers', 'X'],
			text_encoder: ['t', 'X'],
			text_encoder_2: [null, null],
		});
		const paths = [
			'unet/config.json',
			'unet/diffusion_pytorch_model-00001-of-00002.safetensors',
			'unet/diffusion_pytorch_model-00002-of-00002.safetensors',
			'unet/diffusion_pytorch_model.safetensors.index.json',
			'vae/diffusion_pytorch_model.bin',
			'text_encoder/pytorch_model.bin',
			'text_encoder_2/model.safetensors',
			'tokenizer/deep/er.json',
			'tokenizer/tokenizer.json',
		];
		expect(baseFiles(paths, index, 'a/b', undefined)).toEqual({
			texts: ['unet/diffusion_pytorch_model.safetensors.index.json', 'unet/config.json', 'tokenizer/tokenizer.json'],
			weights: [
				'unet/diffusion_pytorch_model-00001-of-00002.safetensors',
				'unet/diffusion_pytorch_model-00002-of-00002.safetensors',
				'vae/diffusion_pytorch_model.bin',
				'text_encoder/pytorch_model.bin',
			],
		});
	});

	it('refuses what is no such model before its weights are fetched', async () => {
		const env = hubEnv(server);
		const big = ['transformer/diffusion_pytorch_model.safetensors', utf8('flux')] as const;
		const with_ = (index: string): void =>
			void server.repos.set(BASE, { commit: COMMIT, files: new Map([['model_index.json', utf8(index)], big]) });
		with_('{"_class_name":"FluxPipeline","transformer":["diffusers","FluxTransformer2DModel"],"vae":["diffusers","AutoencoderKL"]}');
		expect((await refusal(() => fetchBase(BASE, { env }))).message).toContain(
			'has no unet: it is no Stable Diffusion 1.x, 2.x or XL model',
		);
		with_('{"unet":["d","U"],"vae":["d","V"],"text_encoder":["t","C"]}');
		expect((await refusal(() => fetchBase(BASE, { env }))).message).toContain('has no weights for unet');
		for (const bad of ['<html>', '[]', 'null', '7']) {
			with_(bad);
			expect((await refusal(() => fetchBase(BASE, { env: hubEnv(server) }))).code).toBe('E_HUB');
		}
		expect(server.seen.some(({ url }) => url.includes('safetensors'))).toBe(false);
		server.repos.set(BASE, { commit: COMMIT, files: new Map([['sd15.safetensors', utf8('x')]]) });
		expect((await refusal(() => fetchBase(BASE, { env }))).message).toBe(
			`${BASE} is no diffusers model, it has no model_index.json; for the single file in it give --base hf://${BASE}/sd15.safetensors.`,
		);
		expect((await refusal(() => fetchBase(`${BASE}/sd15.safetensors`, { env }))).code).toBe('E_USAGE');
	});

	it('says where a model went whose owner took it away', async () => {
		for (const [from, to] of [
			['runwayml/stable-diffusion-v1-5', 'stable-diffusion-v1-5/stable-diffusion-v1-5'],
			['runwayml/stable-diffusion-inpainting', 'stable-diffusion-v1-5/stable-diffusion-inpainting'],
		] as const) {
			expect((await refusal(() => fetchBase(from, { env: hubEnv(server) }))).message).toContain(`the same model is at ${to}`);
		}
	});

	it('does not take a part of a model in the cache for the whole', async () => {
		server.repos.set(BASE, shapesRepo());
		const env = hubEnv(server);
		const folder = await fetchBase(BASE, { env });
		fs.rmSync(path.join(folder, 'vae/diffusion_pytorch_model.safetensors'));
		const error = await refusal(() => fetchBase(BASE, { env, offline: true }));
		expect(error.message).toBe(`The cache has only a part of ${BASE}; run once with the network.`);
		expect((await refusal(() => fetchBase('me/never', { env, offline: true }))).message).toContain('is not in the cache');
	});
});
