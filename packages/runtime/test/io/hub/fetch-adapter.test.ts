import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchAdapter, type HubProgress } from '../../../src/io/hub/index.js';
import { type HubServer, startHub } from './hub-server.js';
import { ADAPTER, COMMIT, hubEnv, listing, postRepo, refusal, safetensors, utf8 } from './support.js';

let server: HubServer;
beforeEach(async () => {
	server = await startHub();
});
afterEach(() => server.close());

const NAME = 'sayakpaul/sd-model-finetuned-lora-t4';
const FAST = { backoffMs: 1 };

describe('fetchAdapter', () => {
	it('fetches the adapter and its card, and finds the base from the card', async () => {
		server.repos.set(NAME, postRepo());
		const env = hubEnv(server);
		const adapter = await fetchAdapter(NAME, { env });
		expect(adapter).toMatchObject({ repo: NAME, revision: COMMIT, base: { repo: 'CompVis/stable-diffusion-v1-4' }, warnings: [] });
		expect(adapter.card.license).toBe('creativeml-openrail-m');
		expect(Buffer.compare(fs.readFileSync(adapter.file), ADAPTER)).toBe(0);
		// Pictures and the like are not fetched.
		expect(server.seen.some(({ url }) => url.includes('image_0.png'))).toBe(false);
	});

	it('asks for nothing but the listing when all is in the cache', async () => {
		server.repos.set(NAME, postRepo());
		const env = hubEnv(server);
		await fetchAdapter(NAME, { env });
		server.seen.length = 0;
		await fetchAdapter(NAME, { env });
		expect(server.seen.map(({ url }) => new URL(url, 'http://x').pathname)).toEqual([
			`/api/models/${NAME}/revision/main`,
			`/api/models/${NAME}/tree/${COMMIT}`,
		]);
	});

	it('works without the network from the cache, by option and by HF_HUB_OFFLINE', async () => {
		server.repos.set(NAME, postRepo());
		const env = hubEnv(server);
		const online = await fetchAdapter(NAME, { env });
		server.seen.length = 0;
		for (const options of [{ env, offline: true }, { env: { ...env, HF_HUB_OFFLINE: '1' } }]) {
			expect(await fetchAdapter(NAME, options)).toEqual(online);
			expect(await fetchAdapter(`${NAME}@${COMMIT}`, options)).toEqual(online);
		}
		expect(server.seen).toEqual([]);
		const missing = await refusal(() => fetchAdapter('some/other', { env, offline: true }));
		expect(missing.code).toBe('E_HUB');
		expect(missing.message).toMatch(/^some\/other is not in the cache ".*hub", and nothing may be fetched \(--offline or HF_HUB_OFFLINE\)/);
		expect((await refusal(() => fetchAdapter(`${NAME}@v2`, { env, offline: true }))).message).toContain('at "v2" is not in the cache');
	});

	it('says with --offline what to do when the Hub cannot be reached', async () => {
		const env = hubEnv(server);
		await server.close();
		const error = await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
		expect(error.code).toBe('E_HTTP');
		expect(error.message).toContain('could not be fetched in 5 tries');
		expect(error.message).toContain('--offline');
		server = await startHub();
	});

	it('takes branches, tags, commits and refs/pr/N, and keeps them as refs', async () => {
		const refs = new Map([
			['v2', COMMIT],
			['refs/pr/1', COMMIT],
		]);
		server.repos.set(NAME, postRepo({ refs }));
		const env = hubEnv(server);
		for (const revision of ['v2', 'refs/pr/1', COMMIT]) expect((await fetchAdapter(`${NAME}@${revision}`, { env })).revision).toBe(COMMIT);
		expect((await fetchAdapter(NAME, { env, revision: 'v2' })).revision).toBe(COMMIT);
		const folder = path.join(env.HF_HUB_CACHE, `models--${NAME.replace('/', '--')}`);
		expect(fs.readFileSync(path.join(folder, 'refs/v2'), 'utf8')).toBe(COMMIT);
		expect(fs.readFileSync(path.join(folder, 'refs/refs/pr/1'), 'utf8')).toBe(COMMIT);
		expect(fs.existsSync(path.join(folder, 'refs', COMMIT))).toBe(false);
		expect((await refusal(() => fetchAdapter(`${NAME}@nope`, { env }))).message).toContain('no such branch, tag or commit');
	});

	it('fetches what belongs to the adapter: adapter_config.json and embeddings', async () => {
		const files = new Map([
			['adapter_model.safetensors', safetensors()],
			['adapter_config.json', utf8('{"base_model_name_or_path":"stabilityai/sdxl","revision":"fp16"}')],
			['adapter_model_emb.safetensors', safetensors()],
			['training_args.bin', utf8('no')],
		]);
		server.repos.set('me/peft', { commit: COMMIT, files });
		const adapter = await fetchAdapter('me/peft', { env: hubEnv(server) });
		expect(fs.readdirSync(path.dirname(adapter.file)).sort()).toEqual([
			'adapter_config.json',
			'adapter_model.safetensors',
			'adapter_model_emb.safetensors',
		]);
		expect(adapter.base).toEqual({ repo: 'stabilityai/sdxl', revision: 'fp16' });
	});

	it('chooses by name, takes a named file, and refuses several', async () => {
		const files = new Map([
			['a.safetensors', safetensors()],
			['sub/b file.safetensors', safetensors()],
			['c.safetensors', safetensors({}, 32)],
			['README.md', utf8('---\nbase_model: x/y\n---\n')],
		]);
		server.repos.set('me/many', { commit: COMMIT, files });
		const env = hubEnv(server);
		const several = await refusal(() => fetchAdapter('me/many', { env }));
		expect(several.code).toBe('E_HUB');
		expect(several.message).toBe(
			'"me/many" holds 2 adapters: "a.safetensors", "c.safetensors"; name one of them: me/many/FILE or me/many:FILE.',
		);
		for (const name of [
			'me/many/c.safetensors',
			'me/many:c.safetensors',
			'hf://me/many/c.safetensors',
			`${server.endpoint}/me/many/blob/main/c.safetensors`,
		]) {
			expect(path.basename((await fetchAdapter(name, { env })).file)).toBe('c.safetensors');
		}
		expect((await fetchAdapter('me/many:sub/b file.safetensors', { env })).file).toMatch(/sub\/b file\.safetensors$/);
		expect((await refusal(() => fetchAdapter('me/many:d.safetensors', { env }))).message).toBe(
			'me/many has no file "d.safetensors"; its weight files are "a.safetensors", "sub/b file.safetensors", "c.safetensors".',
		);
	});

	it('refuses a base that is a path on a machine, naming --base, unless the caller has a base', async () => {
		for (const local of ['/home/me/sd15', './model', '../sd', '~/sd15', 'C:\\models\\sd15', '\\\\server\\share', 'file:///x', 'a/b/c']) {
			server.repos.set(
				'me/local',
				postRepo({ files: new Map([...postRepo().files, ['README.md', utf8(`---\nbase_model: '${local}'\n---\n`)]]) }),
			);
			const env = hubEnv(server);
			const error = await refusal(() => fetchAdapter('me/local', { env }));
			expect(error.code).toBe('E_HUB');
			expect(error.message).toContain(JSON.stringify(local));
			expect(error.message).toContain('a path on the machine of its author');
			expect(error.message).toContain('--base');
			expect((await fetchAdapter('me/local', { env, findBase: false })).base).toBeUndefined();
		}
	});

	it('refuses an adapter that names no base', async () => {
		server.repos.set('me/silent', {
			commit: COMMIT,
			files: new Map([['lora.safetensors', safetensors({ ss_sd_model_name: 'v1-5-pruned.ckpt' })]]),
		});
		const error = await refusal(() => fetchAdapter('me/silent', { env: hubEnv(server) }));
		expect(error.message).toBe(
			'me/silent does not say which base it is for: neither its card nor its file names a repository; name the base with --base.',
		);
	});

	it('finds the base from the API, the tags, the header and the text of old cards, in this order', async () => {
		const old = '\n# LoRA\nThese are LoRA adaption weights for CompVis/stable-diffusion-v1-4. The weights were fine-tuned.\n';
		const clues: Parameters<typeof server.repos.set>[1] = {
			commit: COMMIT,
			files: new Map([
				['README.md', utf8(old)],
				['lora.safetensors', safetensors({ lora_adapter_metadata: '{"unet.base_model_name_or_path":"from/header"}' })],
			]),
			cardData: { base_model: ['from/api', 'other/api'] },
			tags: ['lora', 'base_model:from/tag', 'base_model:adapter:from/adapter-tag', 'base_model:finetune:x/y'],
		};
		const baseOf = async (repo: typeof clues) => {
			server.repos.set('me/clues', repo);
			const { base, warnings } = await fetchAdapter('me/clues', { env: hubEnv(server) });
			return [base?.repo, ...warnings.map(({ code }) => code)];
		};
		const apart = 'W_METADATA_CONTRADICTS';
		expect(await baseOf(clues)).toEqual(['from/api', 'W_AMBIGUOUS', apart, apart, apart, apart]);
		const { cardData: _card, ...noApi } = clues;
		expect(await baseOf(noApi)).toEqual(['from/adapter-tag', apart, apart, apart]);
		expect(await baseOf({ ...noApi, tags: ['base_model:from/tag'] })).toEqual(['from/tag', apart, apart]);
		expect(await baseOf({ ...noApi, tags: [] })).toEqual(['from/header', apart]);
		const { tags: _tags, ...noTags } = noApi;
		expect(await baseOf({ ...noTags, files: new Map([...clues.files, ['lora.safetensors', safetensors()]]) })).toEqual([
			'CompVis/stable-diffusion-v1-4',
		]);
	});

	it('does not take the adapter for its own base (the card of the post)', async () => {
		const text = `# LoRA text2image fine-tuning\nThese are LoRA adaption weights for https://huggingface.co/${NAME}. The weights\n`;
		server.repos.set(NAME, postRepo({ files: new Map([...postRepo().files, ['README.md', utf8(text)]]) }));
		expect((await refusal(() => fetchAdapter(NAME, { env: hubEnv(server) }))).message).toContain('does not say which base');
	});

	it('reads a torch file by the safe reader only, and still fetches one that is hostile', async () => {
		// protocol 2: os.system("touch PWNED")
		const evil = Buffer.from('\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch PWNED\x85R.', 'latin1');
		server.repos.set(
			'me/evil',
			postRepo({
				files: new Map([
					['pytorch_lora_weights.bin', evil],
					['README.md', utf8('---\nbase_model: a/b\n---\n')],
				]),
			}),
		);
		const adapter = await fetchAdapter('me/evil', { env: hubEnv(server) });
		expect(adapter.base?.repo).toBe('a/b');
		expect(fs.existsSync('PWNED')).toBe(false);
	});

	it('leaves out names that would be written elsewhere', async () => {
		const oid = '0'.repeat(40);
		const names = [
			'../../../evil.safetensors',
			'/etc/evil.safetensors',
			'C:/evil.safetensors',
			'a\\..\\evil.safetensors',
			'a//b.safetensors',
			'./x',
		];
		server.repos.set(NAME, postRepo({ extraEntries: names.map((name) => ({ type: 'file', path: name, size: 4, oid })) }));
		const env = hubEnv(server);
		const adapter = await fetchAdapter(NAME, { env });
		expect(adapter.warnings.map(({ code }) => code)).toEqual(names.map(() => 'W_FILE_LEFT_OUT'));
		for (const name of names.slice(0, 1)) {
			expect((await refusal(() => fetchAdapter(`${NAME}/${name}`, { env }))).code).toBe('E_HUB');
		}
		expect(Object.keys(listing(path.dirname(env.HF_HUB_CACHE))).filter((name) => name.includes('evil'))).toEqual([]);
	});

	it('refuses listings that are none', async () => {
		const env = hubEnv(server);
		for (const entry of [
			{ type: 'file', path: 'x', size: -1, oid: '0'.repeat(40) },
			{ type: 'file', path: 'x', size: 1e300, oid: '0'.repeat(40) },
			{ type: 'file', path: 'x', size: 1, oid: '../../x' },
			{ type: 'file', path: 7, size: 1, oid: '0'.repeat(40) },
			{ type: 'file', path: 'x', size: 1, oid: '0'.repeat(40), lfs: { oid: 'f'.repeat(63), size: 1 } },
		]) {
			server.repos.set(NAME, postRepo({ extraEntries: [entry] }));
			expect((await refusal(() => fetchAdapter(NAME, { env }))).message).toContain('an entry has no path, size or checksum');
		}
		const huge = { type: 'file', path: 'pytorch_lora_weights.safetensors', size: 9 * 1024 ** 3, oid: '0'.repeat(40) };
		server.repos.set(NAME, { commit: COMMIT, files: new Map([['README.md', utf8('x')]]), extraEntries: [huge] });
		expect((await refusal(() => fetchAdapter(NAME, { env }))).code).toBe('E_LIMIT');
	});

	it('bounds what the API sends, and follows its pages on the Hub only', async () => {
		server.repos.set(NAME, postRepo({ pageSize: 1 }));
		const env = hubEnv(server);
		expect((await fetchAdapter(NAME, { env })).revision).toBe(COMMIT);
		expect(server.seen.filter(({ url }) => url.includes('/tree/')).length).toBe(4);
		server.faults.next = 'http://127.0.0.2:9/steal';
		expect((await refusal(() => fetchAdapter(NAME, { env }))).message).toContain('continues its list on another server');
		server.faults.next = undefined;
		server.faults.padding = 17 * 1024 * 1024;
		expect((await refusal(() => fetchAdapter(NAME, { env }))).message).toContain('sends more than 16777216 bytes');
	});

	it('says what is wrong with an answer that is none of the Hub', async () => {
		const bad = async (body: string, type = 'application/json') =>
			refusal(() =>
				fetchAdapter(NAME, {
					env: hubEnv(server),
					fetch: async () => new Response(body, { status: 200, headers: { 'content-type': type } }),
					...FAST,
				}),
			);
		for (const body of ['<html>login</html>', '{}', '[]', 'null', '{"sha":"../../etc"}', '{"sha":7}', '{"sha":"']) {
			const error = await bad(body);
			expect(error.code).toBe('E_HUB');
			expect(error.message).toContain('is HF_ENDPOINT a Hub?');
		}
	});

	it('explains 401, 403, 404 and gated repositories, with and without a token', async () => {
		server.repos.set('me/gated', postRepo({ token: 'hf_right', errorCode: 'GatedRepo' }));
		server.repos.set('me/private', postRepo({ token: 'hf_right' }));
		const ask = async (name: string, more = {}) =>
			(await refusal(() => fetchAdapter(name, { env: hubEnv(server, more), ...FAST }))).message;
		expect(await ask('me/none')).toMatch(/^me\/none on .*: the Hub has no such repository, or it is private \(401\).*set HF_TOKEN/);
		expect(await ask('me/none', { HF_TOKEN: 'hf_x' })).toContain('(404)');
		expect(await ask('me/gated')).toContain('accept its terms');
		expect(await ask('me/gated', { HF_TOKEN: 'hf_wrong' })).toContain('check that the account of your token may read it');
		expect(await ask('me/private')).toContain('or it is private (401)');
		expect((await fetchAdapter('me/private', { env: hubEnv(server, { HF_TOKEN: 'hf_right' }) })).revision).toBe(COMMIT);
		// A token of another shape than the public Hub's, from the file of `hf auth login`.
		const env = hubEnv(server);
		fs.mkdirSync(env['HF_HOME'] ?? '', { recursive: true });
		fs.writeFileSync(path.join(env['HF_HOME'] ?? '', 'token'), 'own-mirror-token\n');
		server.repos.set('me/private', postRepo({ token: 'own-mirror-token' }));
		expect((await fetchAdapter('me/private', { env })).revision).toBe(COMMIT);
	});

	it('sends the token to the Hub and never to the storage', async () => {
		server.repos.set(NAME, postRepo());
		await fetchAdapter(NAME, { env: hubEnv(server, { HF_TOKEN: 'hf_secret' }) });
		const storage = server.seen.filter(({ at }) => at === 'storage');
		expect(storage.length).toBe(1);
		for (const { headers } of storage) expect(JSON.stringify(headers)).not.toContain('hf_secret');
		const hub = server.seen.filter(({ at }) => at === 'hub');
		expect(hub.map(({ headers }) => headers.authorization)).toEqual(hub.map(() => 'Bearer hf_secret'));
	});

	it('refuses names that are none', async () => {
		const env = hubEnv(server);
		for (const name of ['', 'lora', '/home/me/lora', './lora', 'C:\\lora', 'a/../b', 'hf://', 'https://example.org/a/b', 'a b/c']) {
			expect((await refusal(() => fetchAdapter(name, { env }))).code).toBe('E_HUB');
		}
		expect(server.seen).toEqual([]);
	});

	it('tells how far it is', async () => {
		server.repos.set(NAME, postRepo());
		const seen: HubProgress[] = [];
		await fetchAdapter(NAME, { env: hubEnv(server), onProgress: (progress) => seen.push(progress) });
		const weights = seen.filter(({ file }) => file === 'pytorch_lora_weights.safetensors');
		expect(weights[0]).toMatchObject({ received: 0, size: ADAPTER.byteLength, totalReceived: 0, totalSize: ADAPTER.byteLength });
		expect(weights.at(-1)).toMatchObject({ received: ADAPTER.byteLength, totalReceived: ADAPTER.byteLength });
		for (const [i, { received }] of weights.entries()) expect(received).toBeGreaterThanOrEqual(weights[i - 1]?.received ?? 0);
	});
});
