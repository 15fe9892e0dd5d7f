import fs from 'node:fs';
import path from 'node:path';
import type { Environment } from '@lorakit/format/node';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PushOptions, pushToHub } from '../../../src/io/result/push-to-hub.js';
import { saveResult } from '../../../src/io/result/save-result.js';
import { LIMITED, type PushServer, startPushServer, TOKEN } from './push-server.js';
import { contents, refusal, someResult, tempDir } from './result-support.js';

let server: PushServer;
beforeAll(async () => {
	server = await startPushServer();
});
afterAll(() => server.close());
beforeEach(() => {
	server.repos.clear();
	server.objects.clear();
	server.faults.clear();
	server.seen.splice(0);
	server.message = 'a reason';
	server.beforeCommit = () => {};
});

/** A saved result, and what it takes to push it. */
async function saved(): Promise<{ readonly folder: string; readonly options: PushOptions }> {
	const folder = tempDir();
	const { files } = await saveResult(folder, someResult());
	return { folder, options: { repo: 'me/some', paths: files.map((f) => f.path), env: env(), backoffMs: 1 } };
}

function env(more: Environment = {}): Environment {
	return { HF_ENDPOINT: server.endpoint, HF_TOKEN: TOKEN, HF_HOME: '/nowhere', ...more };
}

function commits(): readonly string[] {
	return server.seen.map(({ what }) => what).filter((what) => what.startsWith('POST') && what.includes('/commit/'));
}

describe('pushToHub', () => {
	test('makes the repository and commits exactly the listed files', async () => {
		const { folder, options } = await saved();
		fs.writeFileSync(path.join(folder, 'secret.txt'), 'not this');
		const seen = new Map<string, number>();
		const pushed = await pushToHub(folder, {
			...options,
			private: true,
			title: 'Upload',
			onProgress: (name, done) => seen.set(name, done),
		});
		const repo = server.repos.get('me/some');
		expect(pushed).toEqual({ url: `${server.endpoint}/me/some`, commit: repo?.commits[1]?.oid, created: true });
		expect(repo?.private).toBe(true);
		expect(repo?.commits.map(({ title }) => title)).toEqual(['initial commit', 'Upload']);
		const there = Object.fromEntries([...(repo?.files ?? [])].map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]));
		const { 'secret.txt': _, ...local } = contents(folder);
		delete there['.gitattributes'];
		expect(there).toEqual(local);
		expect(seen.get('pytorch_lora_weights.safetensors')).toBe(1);
		// The storage is another origin: it never sees the token.
		expect(server.seen.filter(({ at }) => at === 'storage').map(({ authorization }) => authorization)).toEqual([
			undefined,
			undefined,
			undefined,
		]);
	});

	test('is public unless asked, and leaves what is there alone unless told', async () => {
		const { folder, options } = await saved();
		await pushToHub(folder, options);
		expect(server.repos.get('me/some')?.private).toBe(false);
		const error = await refusal(() => pushToHub(folder, options));
		expect(error.code).toBe('E_OUTPUT_EXISTS');
		expect(error.message).toContain('"README.md"');
		expect(commits()).toHaveLength(1);
		const again = await pushToHub(folder, { ...options, overwrite: true });
		expect(again.created).toBe(false);
		expect(server.repos.get('me/some')?.commits).toHaveLength(3);
	});

	test('what somebody else commits meanwhile is not overwritten', async () => {
		const { folder, options } = await saved();
		server.beforeCommit = () => void server.repos.get('me/some')?.commits.push({ oid: 'b'.repeat(40), title: 'theirs' });
		const error = await refusal(() => pushToHub(folder, options));
		expect([error.code, error.message]).toEqual(['E_HUB', expect.stringContaining('412')]);
		expect(server.repos.get('me/some')?.files.size).toBe(1);
	});

	test('a token that may make no repository can write to one that is there', async () => {
		const { folder, options } = await saved();
		const limited = { ...options, env: env({ HF_TOKEN: LIMITED }) };
		const error = await refusal(() => pushToHub(folder, limited));
		expect([error.code, error.message]).toEqual(['E_HUB', expect.stringContaining('403')]);
		server.repos.set('me/some', { private: false, commits: [{ oid: 'c'.repeat(40), title: 'x' }], files: new Map() });
		expect((await pushToHub(folder, limited)).created).toBe(false);
	});
});

describe('troubles', () => {
	test('broken connections and 5xx of what can be sent again', async () => {
		const { folder, options } = await saved();
		server.faults.set('PUT /', ['cut', 503]);
		server.faults.set('POST /api/models/me/some/preupload', [502]);
		server.faults.set('POST /me/some.git/info/lfs', ['cut']);
		server.faults.set('GET /api/models/me/some/tree', [500]);
		await pushToHub(folder, options);
		expect(server.repos.get('me/some')?.files.size).toBe(6);
	});

	test.each<readonly [string, number, string]>([
		['POST /api/repos/create', 401, 'E_HUB'],
		['POST /api/repos/create', 500, 'E_HUB'],
		['GET /api/models/me/some/revision', 403, 'E_HUB'],
		['POST /api/models/me/some/preupload', 413, 'E_HUB'],
		['POST /me/some.git/info/lfs', 403, 'E_HUB'],
		['PUT /', 400, 'E_HUB'],
		['POST /api/models/me/some/commit', 409, 'E_HUB'],
	])('%s answers %i', async (start, status, code) => {
		const { folder, options } = await saved();
		server.faults.set(start, [status]);
		server.message = `the server repeats ${TOKEN} and hf_somebodyElses`;
		const error = await refusal(() => pushToHub(folder, options));
		expect(error.code).toBe(code);
		expect(error.message).toContain(String(status));
		expect(error.message).toContain('the server repeats *** and ***');
		expectNoSecret(error);
		expect(server.repos.get('me/some')?.commits.length ?? 1).toBe(1);
	});

	test('a commit is not sent twice', async () => {
		const { folder, options } = await saved();
		server.faults.set('POST /api/models/me/some/commit', ['cut']);
		const error = await refusal(() => pushToHub(folder, options));
		expect(error.code).toBe('E_HTTP');
		expect(commits()).toHaveLength(1);
	});

	test('no server', async () => {
		const { folder, options } = await saved();
		const error = await refusal(() => pushToHub(folder, { ...options, env: env({ HF_ENDPOINT: 'http://127.0.0.1:9' }) }));
		expect(error.code).toBe('E_HTTP');
		expectNoSecret(error);
	});

	test('stopped on the way', async () => {
		const { folder, options } = await saved();
		const stop = new AbortController();
		const error = await refusal(() => pushToHub(folder, { ...options, signal: stop.signal, onProgress: () => stop.abort() }));
		expect(error.code).toBe('E_INTERRUPTED');
		expect(commits()).toEqual([]);
	});

	function expectNoSecret(error: Error): void {
		const all = `${error.message}\n${error.stack ?? ''}\n${JSON.stringify(error)}\n${String((error as { cause?: unknown }).cause)}`;
		expect(all).not.toContain(TOKEN);
		expect(all).not.toContain('Signature');
	}
});

describe('refused before the first request', () => {
	const cases: readonly (readonly [string, Partial<PushOptions>, string])[] = [
		['no token', { env: { HF_HOME: '/nowhere' } }, 'HF_TOKEN'],
		['a token that is none', { env: { HF_TOKEN: 'secretword' } }, 'hf_'],
		['offline', { env: { HF_TOKEN: TOKEN, HF_HUB_OFFLINE: '1' } }, 'HF_HUB_OFFLINE'],
		['a repository that is a path', { repo: './out' }, 'path on this machine'],
		['a repository without an owner', { repo: 'some' }, 'owner/name'],
		['no card', { paths: ['training.json'] }, 'README.md'],
	];
	test.each(cases)('%s', async (_, changes, said) => {
		const { folder, options } = await saved();
		const error = await refusal(() => pushToHub(folder, { ...options, ...changes }));
		expect([error.code, error.message]).toEqual(['E_HUB', expect.stringContaining(said)]);
		expect(error.message).not.toContain('secretword');
		expect(server.seen).toEqual([]);
	});

	test.each([
		['---\nlicense: mit\n---\n', 'names no base_model'],
		['---\nbase_model: /home/me/sd15\n---\n', 'path on this machine'],
		['---\nbase_model: ../sd15\n---\n', 'path on this machine'],
		['---\nbase_model: packages/trainer\n---\n', 'also a path on this machine'],
		['---\nbase_model: sd15\n---\n', 'no repository of the Hub'],
		['---\nbase_model:\n  - a/b\n  - C:\\x\n---\n', 'path on this machine'],
		['---\na: [\n---\n', 'cannot be read'],
	])('the card %j', async (text, said) => {
		const { folder, options } = await saved();
		fs.writeFileSync(path.join(folder, 'README.md'), text);
		const error = await refusal(() => pushToHub(folder, options));
		expect([error.code, error.message]).toEqual(['E_HUB', expect.stringContaining(said)]);
		expect(server.seen).toEqual([]);
	});

	test('files that are not there or outside', async () => {
		const { folder, options } = await saved();
		expect((await refusal(() => pushToHub(folder, { ...options, paths: ['README.md', '../x'] }))).code).toBe('E_NAME');
		expect((await refusal(() => pushToHub(folder, { ...options, paths: ['README.md', 'gone'] }))).code).toBe('E_IO');
		expect((await refusal(() => pushToHub(folder, { ...options, paths: ['README.md', 'samples'] }))).code).toBe('E_NOT_A_FILE');
		expect(server.seen).toEqual([]);
	});
});
