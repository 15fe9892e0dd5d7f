import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchAdapter } from '../../../src/io/hub/index.js';
import { type HubServer, sha256, startHub } from './hub-server.js';
import { ADAPTER, COMMIT, hubEnv, listing, postRepo, refusal, utf8 } from './support.js';

let server: HubServer;
beforeEach(async () => {
	server = await startHub();
	server.repos.set(NAME, postRepo());
});
afterEach(() => server.close());

const NAME = 'me/lora';
const FILE = 'pytorch_lora_weights.safetensors';
const FAST = { backoffMs: 1 };
const ETAG = sha256(ADAPTER);

const blobs = (cache: string): string => path.join(cache, 'models--me--lora', 'blobs');
const partials = (cache: string): string[] => fs.readdirSync(blobs(cache)).filter((name) => name.endsWith('.incomplete'));
const ranges = (): (string | undefined)[] => server.seen.filter(({ at }) => at === 'storage').map(({ headers }) => headers.range);

describe('downloads', () => {
	it('goes on after broken connections, from the byte where they broke', async () => {
		server.faults.breakAfter.set(FILE, [1_000_000, 500_000, 0]);
		const env = hubEnv(server);
		const { file } = await fetchAdapter(NAME, { env, ...FAST });
		expect(Buffer.compare(fs.readFileSync(file), ADAPTER)).toBe(0);
		const asked = ranges();
		expect(asked.length).toBe(4);
		expect(asked[0]).toBeUndefined();
		// What was in the sockets when they broke may be lost, never invented.
		const from = asked.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0));
		expect(from[0]).toBeGreaterThan(0);
		expect(from[0]).toBeLessThanOrEqual(1_000_000);
		expect(from[1]).toBeGreaterThanOrEqual(from[0] ?? 0);
		expect(from[2]).toBe(from[1]);
		expect(partials(env.HF_HUB_CACHE)).toEqual([]);
	});

	it.each([
		['ranges', false],
		['no ranges', true],
	])('gives up a server that sends a byte a connection (%s)', async (_, noRange) => {
		// The files that are fetched before it are left alone.
		server.faults.noRange = noRange;
		server.faults.breakAfter.set(FILE, new Array<number>(1000).fill(1));
		const error = await refusal(() => fetchAdapter(NAME, { env: hubEnv(server), ...FAST }));
		expect(error.code).toBe('E_HTTP');
		expect(ranges().length).toBe(5);
	});

	it('gives up after tries without a byte, keeps what has arrived, and goes on at the next call', async () => {
		server.faults.breakAfter.set(FILE, [1_500_000, 0, 0, 0, 0, 0, 0]);
		const env = hubEnv(server);
		const error = await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
		expect(error.code).toBe('E_HTTP');
		expect(error.message).toContain('could not be fetched in 5 tries');
		const [left = ''] = partials(env.HF_HUB_CACHE);
		const kept = fs.statSync(path.join(blobs(env.HF_HUB_CACHE), left)).size;
		expect(kept).toBeGreaterThan(0);
		expect(fs.existsSync(path.join(blobs(env.HF_HUB_CACHE), ETAG))).toBe(false);
		server.faults.breakAfter.clear();
		server.seen.length = 0;
		const { file } = await fetchAdapter(NAME, { env, ...FAST });
		expect(ranges()).toEqual([`bytes=${kept}-`]);
		expect(Buffer.compare(fs.readFileSync(file), ADAPTER)).toBe(0);
		expect(partials(env.HF_HUB_CACHE)).toEqual([]);
	});

	it('takes over what a killed process left, not what a living one is writing', async () => {
		const env = hubEnv(server);
		await fetchAdapter(NAME, { env });
		const folder = blobs(env.HF_HUB_CACHE);
		const snapshot = path.join(env.HF_HUB_CACHE, 'models--me--lora/snapshots', COMMIT);
		const forget = (): void => {
			fs.rmSync(path.join(folder, ETAG));
			fs.rmSync(path.join(snapshot, FILE));
			server.seen.length = 0;
		};
		// The name that a process on this machine gives its partial file: read off one that was interrupted.
		forget();
		server.faults.breakAfter.set(FILE, [1000, 0, 0, 0, 0, 0]);
		await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
		server.faults.breakAfter.clear();
		const [own = ''] = partials(env.HF_HUB_CACHE);
		fs.rmSync(path.join(folder, own));
		const [etag, host, pid] = own.split('.');
		expect([etag, pid]).toEqual([ETAG, String(process.pid)]);

		const living = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)']);
		try {
			const name = (of: number | undefined): string => path.join(folder, `${ETAG}.${host}.${of}.00c0ffee.incomplete`);
			fs.writeFileSync(name(living.pid), ADAPTER.subarray(0, 2_000_000));
			server.seen.length = 0;
			await fetchAdapter(NAME, { env });
			expect(ranges()).toEqual([undefined]);
			expect(partials(env.HF_HUB_CACHE)).toEqual([path.basename(name(living.pid))]);
			forget();
			living.kill('SIGKILL');
			await new Promise((resolve) => living.on('exit', resolve));
			await fetchAdapter(NAME, { env });
			expect(ranges()).toEqual(['bytes=2000000-']);
			expect(partials(env.HF_HUB_CACHE)).toEqual([]);
			// Of another machine: once nobody has written to it for long.
			forget();
			const foreign = path.join(folder, `${ETAG}.00000000.1.00c0ffee.incomplete`);
			fs.writeFileSync(foreign, ADAPTER.subarray(0, 1_000_000));
			fs.utimesSync(foreign, new Date(), new Date(Date.now() - 3_600_000));
			await fetchAdapter(NAME, { env });
			expect(ranges()).toEqual(['bytes=1000000-']);
		} finally {
			living.kill('SIGKILL');
		}
	});

	it('two at once do not disturb one another', async () => {
		const env = hubEnv(server);
		const both = await Promise.all([fetchAdapter(NAME, { env }), fetchAdapter(NAME, { env })]);
		for (const { file } of both) expect(Buffer.compare(fs.readFileSync(file), ADAPTER)).toBe(0);
		expect(partials(env.HF_HUB_CACHE)).toEqual([]);
	});

	it('begins anew when the server knows no ranges', async () => {
		server.faults.noRange = true;
		server.faults.breakAfter.set(FILE, [1_000_000]);
		const { file } = await fetchAdapter(NAME, { env: hubEnv(server), ...FAST });
		expect(Buffer.compare(fs.readFileSync(file), ADAPTER)).toBe(0);
	});

	it('throws wrong bytes away: in LFS by SHA-256, in git by its blob name', async () => {
		for (const name of [FILE, 'README.md']) {
			const env = hubEnv(server);
			server.faults.corrupt.set(name, 1);
			const error = await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
			expect(error.code).toBe('E_HUB');
			expect(error.message).toContain(`me/lora/${name}: the `);
			expect(error.message).toContain('do not have the checksum that the Hub states');
			expect(partials(env.HF_HUB_CACHE)).toEqual([]);
			expect(fs.existsSync(path.join(env.HF_HUB_CACHE, 'models--me--lora/snapshots', COMMIT, name))).toBe(false);
			await fetchAdapter(NAME, { env });
		}
	});

	it('fetches all once more when the wrong bytes were there before', async () => {
		const env = hubEnv(server);
		server.faults.breakAfter.set(FILE, [1_000_000, 0, 0, 0, 0, 0]);
		await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
		server.faults.breakAfter.clear();
		const [left = ''] = partials(env.HF_HUB_CACHE);
		const file = path.join(blobs(env.HF_HUB_CACHE), left);
		const bytes = fs.readFileSync(file);
		bytes[100] = (bytes[100] ?? 0) ^ 1;
		fs.writeFileSync(file, bytes);
		server.seen.length = 0;
		const adapter = await fetchAdapter(NAME, { env, ...FAST });
		expect(Buffer.compare(fs.readFileSync(adapter.file), ADAPTER)).toBe(0);
		expect(ranges()).toEqual([`bytes=${bytes.byteLength}-`, undefined]);
	});

	it('stops a server that sends more than it said', async () => {
		server.faults.tooLong.add(FILE);
		const env = hubEnv(server);
		const error = await refusal(() => fetchAdapter(NAME, { env, ...FAST }));
		expect(error.message).toContain(`sends more than the ${ADAPTER.byteLength} bytes`);
		expect(partials(env.HF_HUB_CACHE)).toEqual([]);
	});

	it('tries again after 429 and 5xx, at the API and at files', async () => {
		server.faults.statuses.set('/api/models', [503, 429]);
		server.faults.statuses.set(`/me/lora/resolve/${COMMIT}/README.md`, [500, 502]);
		const adapter = await fetchAdapter(NAME, { env: hubEnv(server), ...FAST });
		expect(adapter.revision).toBe(COMMIT);
		server.faults.statuses.set('/api/models', [503, 503, 503, 503, 503]);
		const error = await refusal(() => fetchAdapter(NAME, { env: hubEnv(server), ...FAST }));
		expect(error.code).toBe('E_HTTP');
		expect(error.message).toContain('the server answered 503');
	});

	it('gives up a silent server, and goes on where it fell silent', async () => {
		server.faults.hang.add(FILE);
		const env = hubEnv(server);
		// Each try brings half of what is left, then silence; after the file is healed the rest comes at once.
		const heal = setInterval(() => {
			if (ranges().length >= 2) server.faults.hang.clear();
		}, 5);
		try {
			const { file } = await fetchAdapter(NAME, { env, ...FAST, silenceMs: 200 });
			expect(Buffer.compare(fs.readFileSync(file), ADAPTER)).toBe(0);
			expect(ranges()[1]).toMatch(/^bytes=[1-9]\d*-$/);
		} finally {
			clearInterval(heal);
		}
	});

	it('is ended by its signal, at once, and keeps what has arrived', async () => {
		server.faults.hang.add(FILE);
		const env = hubEnv(server);
		const abort = new AbortController();
		const error = await refusal(() =>
			fetchAdapter(NAME, {
				env,
				signal: abort.signal,
				onProgress: ({ received, file }) => {
					if (file === FILE && received > 1_000_000) abort.abort();
				},
			}),
		);
		expect(error.code).toBe('E_INTERRUPTED');
		expect(partials(env.HF_HUB_CACHE).length).toBe(1);
		expect((await refusal(() => fetchAdapter(NAME, { env, signal: AbortSignal.abort() }))).code).toBe('E_INTERRUPTED');
	});

	it('follows no redirect to other schemes', async () => {
		for (const [to, expected] of [
			['file:///etc/passwd', 'redirects to file: addresses'],
			['data:text/plain,x', 'redirects to data: addresses'],
			['http://[', 'redirects to something that is no address'],
		] as const) {
			server.faults.redirect = to;
			expect((await refusal(() => fetchAdapter(NAME, { env: hubEnv(server), ...FAST }))).message).toContain(expected);
		}
	});

	it('refuses a file whose checksum at the Hub is another than in its listing', async () => {
		const other: typeof fetch = async (input, init) => {
			const response = await fetch(input, init);
			if (response.headers.get('x-linked-etag') === null) return response;
			const headers = new Headers(response.headers);
			headers.set('x-linked-etag', `"${'a'.repeat(64)}"`);
			return new Response(null, { status: response.status, headers });
		};
		const error = await refusal(() => fetchAdapter(NAME, { env: hubEnv(server), fetch: other, ...FAST }));
		expect(error.message).toContain(`says checksum ${ETAG}, the file itself "${'a'.repeat(64)}"`);
	});

	it('links a blob that another commit brought, without fetching it', async () => {
		const env = hubEnv(server);
		await fetchAdapter(NAME, { env });
		const commit = 'b'.repeat(40);
		server.repos.set(
			NAME,
			postRepo({ commit, files: new Map([...postRepo().files, ['README.md', utf8('---\nbase_model: new/base\n---\n')]]) }),
		);
		server.seen.length = 0;
		const adapter = await fetchAdapter(NAME, { env });
		expect(adapter).toMatchObject({ revision: commit, base: { repo: 'new/base' } });
		expect(ranges()).toEqual([]);
		expect((await fetchAdapter(`${NAME}@${COMMIT}`, { env, offline: true })).base?.repo).toBe('CompVis/stable-diffusion-v1-4');
		expect((await fetchAdapter(NAME, { env, offline: true })).revision).toBe(commit);
	});

	it('puts files in place of links where links are not wanted', async () => {
		const env = hubEnv(server, { HF_HUB_DISABLE_SYMLINKS: '1' });
		const adapter = await fetchAdapter(NAME, { env });
		expect(fs.lstatSync(adapter.file).isFile()).toBe(true);
		expect(Buffer.compare(fs.readFileSync(adapter.file), ADAPTER)).toBe(0);
		expect(Object.values(listing(env.HF_HUB_CACHE)).filter((text) => text.startsWith('->'))).toEqual([]);
		server.seen.length = 0;
		await fetchAdapter(NAME, { env });
		expect(ranges()).toEqual([]);
	});

	it('says which folder cannot be written', async () => {
		const env = hubEnv(server);
		fs.writeFileSync(env.HF_HUB_CACHE, 'a file where the cache should be');
		const error = await refusal(() => fetchAdapter(NAME, { env }));
		expect(error.code).toBe('E_IO');
		expect(error.message).toContain('hub');
	});
});
