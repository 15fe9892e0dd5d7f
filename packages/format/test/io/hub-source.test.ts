import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { classifySpec, formatHubSpec, openHubSource, openSource, parseHubSpec, resolveInput } from '../../src/io/index.js';
import { sendRange, serve, type TestServer } from './range-server.js';
import { pattern, refusal, sameBytes, tempDir, writeTree } from './temp-dir.js';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const BYTES = pattern(200_000);

interface FakeHub {
	readonly hub: TestServer;
	readonly cdn: TestServer;
	readonly env: Record<string, string>;
}

/** A Hub on one port, its CDN on another. `private` repositories want the token `hf_secret`. */
async function fakeHub(files: readonly string[], open = true): Promise<FakeHub> {
	const cdn = await serve((request, response) => sendRange(request, response, BYTES, '"blob"'));
	const hub = await serve((request, response) => {
		const url = new URL(request.url ?? '', 'http://hub');
		if (!open && request.headers.authorization !== 'Bearer hf_secret') {
			response.writeHead(401).end('Invalid username or password.');
			return;
		}
		const listing = /^\/api\/models\/own\/rep\/tree\/([^/]+)(?:\/(.*))?$/.exec(url.pathname);
		if (listing !== null) {
			const folder = listing[2] === undefined ? undefined : `${decodeURIComponent(listing[2])}/`;
			const recursive = url.searchParams.get('recursive') === 'true';
			const seen = files.filter((f) => (recursive ? true : folder === undefined ? !f.includes('/') : f.startsWith(folder)));
			const page = Number(url.searchParams.get('page') ?? 0);
			const entries = seen.slice(page * 2, page * 2 + 2).map((p) => ({ type: 'file', path: p, size: 1, oid: 'x' }));
			if (seen.length > page * 2 + 2) {
				url.searchParams.set('page', String(page + 1));
				response.setHeader('link', `<http://${request.headers.host}${url.pathname}${url.search}>; rel="next"`);
			}
			response.end(JSON.stringify([{ type: 'directory', path: 'sub' }, ...entries]));
			return;
		}
		const resolve = /^\/own\/rep\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
		if (resolve === null || !files.includes(decodeURIComponent(resolve[2] ?? ''))) response.writeHead(404).end();
		else response.writeHead(302, { location: `${cdn.url}/${resolve[2]}?X-Amz-Signature=1`, 'x-repo-commit': COMMIT }).end();
	});
	return { hub, cdn, env: { HF_ENDPOINT: hub.url, HF_HOME: tempDir() } };
}

describe('hf:// addresses', () => {
	it.each([
		['hf://own/rep', 'own/rep', 'main', ''],
		['hf://own/rep/', 'own/rep', 'main', ''],
		['hf://own/rep/a.safetensors', 'own/rep', 'main', 'a.safetensors'],
		['hf://own/rep@v1.0/sub/a b.pt', 'own/rep', 'v1.0', 'sub/a b.pt'],
		['hf://own/rep@refs/pr/12/a.pt', 'own/rep', 'refs/pr/12', 'a.pt'],
		['hf://own/rep@refs/pr/12', 'own/rep', 'refs/pr/12', ''],
		['hf://own/rep@feature%2Fx/a.pt', 'own/rep', 'feature/x', 'a.pt'],
		['hf://own/rep/dir@2/a@b.pt', 'own/rep', 'main', 'dir@2/a@b.pt'],
		['hf://own/rep@v1/a@b.pt', 'own/rep', 'v1', 'a@b.pt'],
		[`hf://own/rep@${COMMIT}/a.pt`, 'own/rep', COMMIT, 'a.pt'],
	])('%s', (spec, repo, revision, file) => {
		expect(parseHubSpec(spec)).toEqual({ repo, revision, path: file });
		expect(parseHubSpec(formatHubSpec({ repo, revision, path: file }))).toEqual({ repo, revision, path: file });
	});

	it.each([
		'hf://',
		'hf://own',
		'hf://own/',
		'hf://../rep/a',
		'hf://own/../../a',
		'hf://own/rep/../../../etc/passwd',
		'hf://own/rep@../../x/a',
		'hf://own/rep@..%2F..%2Fx/a',
		'hf://own/rep@%/a',
		'hf://own/rep@/a',
		'hf://own/rep/a//b',
		'hf://own/rep/a\\b',
		'hf://own/rep/a\nb',
		'hf://o wn/rep/a',
	])('refuses %j', async (spec) => {
		const error = await refusal(() => parseHubSpec(spec));
		expect(error.code).toBe('E_HUB');
		expect(error.message).toMatch(/^[^\n]*\.$/);
	});

	it('knows the pages of the site', () => {
		const hub = (spec: string, env = {}) => {
			const kind = classifySpec(spec, env);
			return kind.kind === 'hub' ? formatHubSpec(kind.hub) : kind.kind;
		};
		expect(hub('https://huggingface.co/own/rep/blob/main/a%20b.safetensors')).toBe('hf://own/rep/a b.safetensors');
		expect(hub('https://huggingface.co/own/rep/resolve/v1/sub/a.pt?download=true')).toBe('hf://own/rep@v1/sub/a.pt');
		expect(hub('https://hf.co/own/rep')).toBe('hf://own/rep');
		expect(hub('https://huggingface.co/own/rep/tree/main')).toBe('hf://own/rep');
		expect(hub('https://huggingface.co/datasets/own/rep/resolve/main/x')).toBe('http');
		expect(hub('https://example.org/own/rep/blob/main/x')).toBe('http');
		expect(hub('http://mirror:81/own/rep/resolve/main/x', { HF_ENDPOINT: 'http://mirror:81' })).toBe('hf://own/rep/x');
	});
});

describe('openHubSource', () => {
	it('reads through the redirect; the token stays at the Hub', async () => {
		const { hub, cdn, env } = await fakeHub(['sub/a b.safetensors'], false);
		const source = await openHubSource('hf://own/rep/sub/a b.safetensors', { env: { ...env, HF_TOKEN: ' hf_secret\n' }, backoffMs: 1 });
		expect([source.name, source.size, source.remote]).toEqual(['hf://own/rep/sub/a b.safetensors', 200_000, true]);
		expect(sameBytes(await source.read(150_000, 1000), BYTES.subarray(150_000, 151_000))).toBe(true);
		expect(hub.seen.map((s) => [s.path, s.authorization])).toEqual([['/own/rep/resolve/main/sub/a%20b.safetensors', 'Bearer hf_secret']]);
		expect(cdn.seen.map((s) => s.authorization)).toEqual([undefined, undefined]);
	});

	it('takes the token from HF_HOME/token, and none when told so', async () => {
		const { hub, env } = await fakeHub(['a.pt'], false);
		writeTree(env['HF_HOME'] ?? '', { token: 'hf_secret\n' });
		await openHubSource('hf://own/rep@refs/pr/3/a.pt', { env });
		expect(hub.seen[0]?.path).toBe('/own/rep/resolve/refs%2Fpr%2F3/a.pt');
		const error = await refusal(() => openHubSource('hf://own/rep/a.pt', { env: { ...env, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' } }));
		expect([error.code, error.message]).toEqual([
			'E_HTTP',
			'hf://own/rep/a.pt: the server answered 401, it wants a login; check its spelling; for a private or gated repository set HF_TOKEN.',
		]);
		expect(hub.seen.at(-1)?.authorization).toBeUndefined();
	});

	it('refuses a token that is none without showing it', async () => {
		const error = await refusal(() => openHubSource('hf://own/rep/a.pt', { env: { HF_TOKEN: 'hf secret', HF_HOME: tempDir() } }));
		expect(error.code).toBe('E_HUB');
		expect(error.message).not.toMatch(/secret/);
	});

	it('says 404 with the address', async () => {
		const { env } = await fakeHub(['a.pt']);
		expect((await refusal(() => openHubSource('hf://own/rep/b.pt', { env }))).message).toMatch(/^hf:\/\/own\/rep\/b\.pt: .*404/);
	});

	it('uses the cache folder without a request, by branch and by commit', async () => {
		const { hub, env } = await fakeHub(['a.pt']);
		const blob = path.join(env['HF_HOME'] ?? '', 'hub/models--own--rep/blobs/x');
		writeTree(env['HF_HOME'] ?? '', {
			'hub/models--own--rep/refs/main': COMMIT,
			'hub/models--own--rep/refs/refs/pr/1': COMMIT,
			'hub/models--own--rep/blobs/x': 'cached',
		});
		fs.mkdirSync(path.join(env['HF_HOME'] ?? '', `hub/models--own--rep/snapshots/${COMMIT}/sub`), { recursive: true });
		fs.symlinkSync(blob, path.join(env['HF_HOME'] ?? '', `hub/models--own--rep/snapshots/${COMMIT}/sub/c.pt`));
		for (const at of ['', `@${COMMIT}`, '@refs/pr/1']) {
			const source = await openSource(`hf://own/rep${at}/sub/c.pt`, { env });
			expect([source.name, source.remote]).toEqual([`hf://own/rep${at}/sub/c.pt`, false]);
			expect(Buffer.from(await source.read(0, 6)).toString()).toBe('cached');
			await source.close();
		}
		const url = await openSource(`${hub.url}/own/rep/blob/main/sub/c.pt`, { env });
		expect(url.size).toBe(6);
		await url.close();
		expect(hub.seen.length).toBe(0);
		// Another revision is not in the cache.
		await openHubSource('hf://own/rep@v2/a.pt', { env });
		expect(hub.seen.length).toBe(1);
		const offline = { ...env, HF_HUB_OFFLINE: '1' };
		expect((await refusal(() => openHubSource('hf://own/rep@v2/a.pt', { env: offline }))).code).toBe('E_HUB');
		expect((await resolveInput('hf://own/rep', { env: offline })).main).toMatch(/snapshots\/[0-9a-f]{40}\/sub\/c\.pt$/);
		expect(hub.seen.length).toBe(1);
	});
});

describe('resolveInput on the Hub', () => {
	const none = { textEncoder: undefined, embeddings: [], config: undefined };

	it('finds the adapter of a repository over several pages', async () => {
		const { env } = await fakeHub([
			'README.md',
			'a.png',
			'adapter_config.json',
			'adapter_model.bin',
			'adapter_model.safetensors',
			'checkpoint-1/adapter_model.safetensors',
			'optimizer.pt',
		]);
		expect(await resolveInput('hf://own/rep@v1', { env })).toEqual({
			main: 'hf://own/rep@v1/adapter_model.safetensors',
			companions: { ...none, config: 'hf://own/rep@v1/adapter_config.json' },
			others: [],
		});
	});

	it('takes diffusers’ name before others, and names them', async () => {
		const { env } = await fakeHub(['pytorch_lora_weights.safetensors', 'rep.safetensors', 'rep_emb.safetensors']);
		expect(await resolveInput('hf://own/rep', { env })).toEqual({
			main: 'hf://own/rep/pytorch_lora_weights.safetensors',
			companions: { ...none, embeddings: ['hf://own/rep/rep_emb.safetensors'] },
			others: ['hf://own/rep/rep.safetensors'],
		});
	});

	it('refuses several, and none', async () => {
		const several = await fakeHub(['a.safetensors', 'b.safetensors']);
		const error = await refusal(() => resolveInput('hf://own/rep', { env: several.env }));
		expect([error.code, error.message]).toEqual([
			'E_HUB',
			'"hf://own/rep" holds 2 adapters: "a.safetensors", "b.safetensors"; name one of them.',
		]);
		const empty = await fakeHub(['README.md']);
		expect((await refusal(() => resolveInput('hf://own/rep', { env: empty.env }))).code).toBe('E_HUB');
	});

	it('finds what lies beside a file', async () => {
		const { hub, env } = await fakeHub(['sub/foo.pt', 'sub/foo.text_encoder.pt', 'sub/foo.ti.pt', 'sub/bar.ti.pt', 'foo.ti.pt']);
		expect(await resolveInput('hf://own/rep/sub/foo.pt', { env })).toEqual({
			main: 'hf://own/rep/sub/foo.pt',
			companions: { textEncoder: 'hf://own/rep/sub/foo.text_encoder.pt', embeddings: ['hf://own/rep/sub/foo.ti.pt'], config: undefined },
			others: [],
		});
		expect(hub.seen[0]?.path).toBe('/api/models/own/rep/tree/main/sub');
		const missing = await resolveInput('hf://own/other/x.pt', { env });
		expect(missing.companions).toEqual(none);
	});

	it('refuses a listing that is none', async () => {
		for (const body of ['<html>', '{}', '\xff']) {
			const server = await serve((_, response) => response.end(body));
			const env = { HF_ENDPOINT: server.url, HF_HOME: tempDir() };
			expect((await refusal(() => resolveInput('hf://own/rep', { env }))).code).toBe('E_HUB');
		}
	});

	it('asks for adapter_config.json beside a Web address', async () => {
		const server = await serve((request, response) => {
			if (request.url?.startsWith('/gone')) response.writeHead(404).end();
			else sendRange(request, response, pattern(10));
		});
		const env = {};
		expect((await resolveInput(`${server.url}/x/adapter_model.bin?k=1`, { env })).companions.config).toBe(
			`${server.url}/x/adapter_config.json?k=1`,
		);
		expect((await resolveInput(`${server.url}/gone/adapter_model.bin`, { env })).companions).toEqual(none);
		expect((await resolveInput(`${server.url}/x/foo.safetensors`, { env })).companions).toEqual(none);
		expect(server.seen.length).toBe(2);
	});
});
