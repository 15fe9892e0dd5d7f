/**
 * The cache is the one of Python's huggingface_hub. `data/python-cache.json` is what huggingface_hub 1.33.0 made of this
 * repository; it is compared always. With LORAKIT_PYTHON (a Python that has huggingface_hub) the recording itself is checked, and
 * each side reads what the other has fetched.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Environment } from '@lorakit/format/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchAdapter, fetchBase } from '../../../src/io/hub/index.js';
import { etagOf, type FakeRepo, type HubServer, startHub } from './hub-server.js';
import { COMMIT, hubEnv, listing, safetensors, utf8 } from './support.js';

const RECORDED: Readonly<Record<string, string>> = JSON.parse(fs.readFileSync(new URL('data/python-cache.json', import.meta.url), 'utf8'));
const PYTHON = process.env['LORAKIT_PYTHON'];
const SCRIPT = fileURLToPath(new URL('python_hub.py', import.meta.url));

const NAME = 'lorakit-test/own.lora_1';
const FILES = ['README.md', 'weights/adapter_config.json', 'weights/adapter_model.safetensors'];
const REPO: FakeRepo = {
	commit: COMMIT,
	files: new Map([
		['README.md', utf8('---\nbase_model: lorakit-test/base\n---\nGr\u00fc\u00dfe\n')],
		['weights/adapter_config.json', utf8('{"r": 4}')],
		['weights/adapter_model.safetensors', safetensors({ format: 'pt' }, 5000)],
	]),
	lfs: new Set(['weights/adapter_model.safetensors']),
};
const BASE: FakeRepo = {
	commit: 'd'.repeat(40),
	files: new Map([
		['model_index.json', utf8('{"unet":["d","U"],"vae":["d","V"],"text_encoder":["t","C"],"tokenizer":["t","T"]}')],
		...['unet/diffusion_pytorch_model', 'vae/diffusion_pytorch_model', 'text_encoder/model'].map(
			(name, i) => [`${name}.safetensors`, safetensors({}, 100 + i)] as const,
		),
		['tokenizer/merges.txt', utf8('#version: 0.2\n')],
	]),
	lfs: new Set(['unet/diffusion_pytorch_model.safetensors']),
};

let server: HubServer;
beforeEach(async () => {
	server = await startHub();
	server.repos.set(NAME, REPO);
	server.repos.set('lorakit-test/base', BASE);
});
afterEach(() => server.close());

/** Without Python's locks and temporary files, and without the mark of the cache, whose text is each one's own. */
function comparable(cache: string): Record<string, string> {
	return Object.fromEntries(Object.entries(listing(cache)).filter(([name]) => !name.startsWith('.locks/') && name !== 'CACHEDIR.TAG'));
}

describe('the cache of the Hub', () => {
	it('is laid out as Python lays it out', async () => {
		const env = hubEnv(server);
		await fetchAdapter(NAME, { env });
		expect(comparable(env.HF_HUB_CACHE)).toEqual(RECORDED);
		expect(fs.readFileSync(path.join(env.HF_HUB_CACHE, 'CACHEDIR.TAG'), 'utf8')).toMatch(/^Signature: 8a477f597d28d172789f06886806bc55\n/);
		expect(fs.readFileSync(path.join(env.HF_HUB_CACHE, 'models--lorakit-test--own.lora_1/refs/main'), 'utf8')).toBe(COMMIT);
	});

	it('is found by us where Python has filled it: online nothing is fetched, offline nothing is asked', async () => {
		const env = hubEnv(server);
		// As recorded: the blobs by their names, the links, the ref.
		for (const [name, text] of Object.entries(RECORDED)) {
			const file = path.join(env.HF_HUB_CACHE, name);
			fs.mkdirSync(path.dirname(file), { recursive: true });
			if (text.startsWith('-> ')) fs.symlinkSync(text.slice(3), file);
			else if (name.endsWith('refs/main')) fs.writeFileSync(file, COMMIT);
			else {
				const of = FILES.find((each) => etagOf(REPO, each) === path.basename(name));
				fs.writeFileSync(file, REPO.files.get(of ?? '') ?? '');
			}
		}
		const online = await fetchAdapter(NAME, { env });
		expect(server.seen.filter(({ url, at }) => at === 'storage' || url.includes('/resolve/'))).toEqual([]);
		server.seen.length = 0;
		expect(await fetchAdapter(NAME, { env, offline: true })).toEqual(online);
		expect(server.seen).toEqual([]);
	});

	describe.runIf(PYTHON !== undefined)('beside a real huggingface_hub (LORAKIT_PYTHON)', () => {
		it('is recorded rightly', async () => {
			const env = hubEnv(server);
			await python(env, 'fetch', NAME, ...FILES);
			expect(comparable(env.HF_HUB_CACHE)).toEqual(RECORDED);
		});

		it('Python to us: nothing is fetched again', async () => {
			const env = hubEnv(server);
			const { paths } = await python(env, 'fetch', NAME, ...FILES);
			await python(env, 'snapshot', 'lorakit-test/base', '*');
			server.seen.length = 0;
			const adapter = await fetchAdapter(NAME, { env });
			expect(adapter.file).toBe(paths[2]);
			const folder = await fetchBase('lorakit-test/base', { env });
			expect(server.seen.filter(({ url, at }) => at === 'storage' || url.includes('/resolve/'))).toEqual([]);
			server.seen.length = 0;
			expect(await fetchAdapter(NAME, { env, offline: true })).toEqual(adapter);
			expect(await fetchBase('lorakit-test/base', { env, offline: true })).toBe(folder);
			expect(server.seen).toEqual([]);
		});

		it('we to Python: nothing is fetched again, and offline all is found', async () => {
			const env = hubEnv(server);
			const adapter = await fetchAdapter(NAME, { env });
			const folder = await fetchBase('lorakit-test/base', { env });
			server.seen.length = 0;
			const { paths } = await python(env, 'fetch', NAME, ...FILES);
			expect(paths[2]).toBe(adapter.file);
			expect(server.seen.filter(({ method, url, at }) => at === 'storage' || (method === 'GET' && url.includes('/resolve/')))).toEqual([]);
			server.seen.length = 0;
			const offline = { ...env, HF_HUB_OFFLINE: '1' };
			expect((await python(offline, 'fetch', NAME, ...FILES)).paths).toEqual(paths);
			expect((await python(offline, 'snapshot', 'lorakit-test/base', '*')).paths).toEqual([folder]);
			expect(server.seen).toEqual([]);
		});
	});
});

async function python(env: Environment, ...args: string[]): Promise<{ readonly version: string; readonly paths: readonly string[] }> {
	const { stdout } = await promisify(execFile)(PYTHON ?? 'python3', [SCRIPT, ...args], {
		env: { ...process.env, ...env, HF_HUB_DISABLE_TELEMETRY: '1', HF_HUB_DISABLE_PROGRESS_BARS: '1', HF_HUB_DISABLE_XET: '1' },
	});
	return JSON.parse(stdout.trim().split('\n').pop() ?? '');
}
