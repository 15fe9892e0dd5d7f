import { describe, expect, it } from 'vitest';
import { openHttpSource } from '../../src/io/index.js';
import { COPY_CHUNK_BYTES } from '../../src/limits.js';
import { sendRange, serve } from './range-server.js';
import { pattern, refusal, sameBytes } from './temp-dir.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const quick = { backoffMs: 1 };

describe('openHttpSource: ranges', () => {
	it('gets size and header in one request, and any range exactly', async () => {
		const bytes = pattern(3 * MiB + 13);
		const server = await serve((request, response) => sendRange(request, response, bytes, '"v1"'));
		const source = await openHttpSource(`${server.url}/dir/x.safetensors?secret=1`, quick);
		expect([source.name, source.size, source.remote]).toEqual([`${server.url}/dir/x.safetensors`, bytes.byteLength, true]);
		expect(sameBytes(await source.read(0, 8), bytes.slice(0, 8))).toBe(true);
		expect(sameBytes(await source.read(8, 60_000), bytes.slice(8, 60_008))).toBe(true);
		expect(server.seen.map((s) => s.range)).toEqual(['bytes=0-65535']);
		for (const [offset, length] of [
			[65_530, 12],
			[bytes.byteLength - 1, 1],
			[bytes.byteLength, 0],
			[1_000_000, 700_001],
			[0, bytes.byteLength],
		] as const) {
			expect(sameBytes(await source.read(offset, length), bytes.slice(offset, offset + length))).toBe(true);
		}
		expect((await refusal(() => source.read(bytes.byteLength, 1))).code).toBe('E_TRUNCATED');
		await source.close();
		await expect(source.read(0, 1)).rejects.toThrow(TypeError);
	});

	it('takes a header larger than the first range in two requests', async () => {
		const bytes = pattern(2 * MiB);
		const server = await serve((request, response) => sendRange(request, response, bytes, '"v1"'));
		const source = await openHttpSource(server.url, quick);
		await source.read(0, 8);
		expect(sameBytes(await source.read(8, 300 * KiB), bytes.slice(8, 8 + 300 * KiB))).toBe(true);
		expect(server.seen.length).toBe(2);
		await source.close();
	});

	it('walks forward through small reads with few requests', async () => {
		const bytes = pattern(3 * MiB);
		const server = await serve((request, response) => sendRange(request, response, bytes));
		const source = await openHttpSource(server.url, quick);
		for (let offset = 0; offset < bytes.byteLength; offset += 12 * KiB) {
			const length = Math.min(12 * KiB, bytes.byteLength - offset);
			expect(sameBytes(await source.read(offset, length), bytes.slice(offset, offset + length))).toBe(true);
		}
		// 64, 128, 256, 512 KiB, 1 MiB, then what is left.
		expect(server.seen.length).toBeLessThanOrEqual(7);
		await source.close();
	});

	it('fetches the next chunk while the reader uses this one', async () => {
		const size = 24 * MiB;
		const bytes = pattern(size);
		const server = await serve((request, response) => setTimeout(() => sendRange(request, response, bytes), 20));
		const source = await openHttpSource(server.url, quick);
		const ranges = () =>
			server.seen.map((s) => /(\d+)-(\d+)/.exec(s.range ?? '')).map((m) => [Number(m?.[1]), Number(m?.[2]) + 1] as const);
		for (let offset = 0; offset < size; offset += COPY_CHUNK_BYTES) {
			await expect.poll(() => offset === 0 || ranges().some(([from, to]) => from <= offset && offset < to)).toBe(true);
			expect(sameBytes(await source.read(offset, COPY_CHUNK_BYTES), bytes.subarray(offset, offset + COPY_CHUNK_BYTES))).toBe(true);
		}
		// Each byte once.
		expect(ranges().reduce((sum, [from, to]) => sum + to - from, 0)).toBe(size);
		await source.close();
	});

	it('takes a file that fits the first range, and an empty one, into memory', async () => {
		for (const size of [0, 1, 65_535, 65_536]) {
			const bytes = pattern(size);
			const server = await serve((request, response) => sendRange(request, response, bytes));
			const source = await openHttpSource(server.url, quick);
			expect([source.size, source.remote]).toEqual([size, false]);
			expect(sameBytes(await source.read(0, size), bytes)).toBe(true);
			expect(server.seen.length).toBe(1);
		}
	});
});

describe('openHttpSource: servers that are difficult', () => {
	it('takes a small file whole from a server without ranges and refuses a large one before its body', async () => {
		const bytes = pattern(200 * KiB);
		let length: number | undefined = bytes.byteLength;
		const server = await serve((_, response) => {
			response.writeHead(200, length === undefined ? {} : { 'content-length': length });
			response.write(bytes);
			if (length === undefined || length === bytes.byteLength) response.end();
		});
		const source = await openHttpSource(server.url, quick);
		expect([source.size, source.remote]).toEqual([bytes.byteLength, false]);
		expect(sameBytes(await source.read(0, source.size), bytes)).toBe(true);
		length = undefined;
		expect((await openHttpSource(server.url, quick)).size).toBe(bytes.byteLength);
		length = 64 * MiB + 1;
		const error = await refusal(() => openHttpSource(server.url, quick));
		expect([error.code, error.message]).toEqual([
			'E_HTTP',
			`${server.url}/: the server does not serve parts of files, and this one has 67108865 bytes (more than 67108864); download it first.`,
		]);
	});

	it('stops an endless body without a length', async () => {
		const server = await serve((_, response) => {
			response.writeHead(200);
			const more = () => {
				while (response.write(new Uint8Array(MiB)));
			};
			response.on('drain', more);
			more();
		});
		expect((await refusal(() => openHttpSource(server.url, quick))).message).toMatch(/sends more than the 67108864 bytes/);
	});

	it.each([
		[401, /401, it wants a login; check the address/],
		[403, /403, access is not allowed/],
		[404, /404, there is no such file/],
		[418, /answered 418\./],
	])('says what %i means, without another try', async (status, words) => {
		const server = await serve((_, response) => response.writeHead(status).end());
		const error = await refusal(() => openHttpSource(server.url, quick));
		expect(error.code).toBe('E_HTTP');
		expect(error.message).toMatch(words);
		expect(server.seen.length).toBe(1);
	});

	it('tries again after 429, 503 and a broken connection, and honours Retry-After', async () => {
		const bytes = pattern(100);
		const server = await serve((request, response, count) => {
			if (count === 0) response.writeHead(429, { 'retry-after': '1' }).end();
			else if (count === 1) response.writeHead(503).end();
			else if (count === 2) request.socket.destroy();
			else if (count === 3) {
				response.writeHead(206, { 'content-range': 'bytes 0-99/100', 'content-length': 100 });
				response.write(bytes.subarray(0, 10), () => request.socket.destroy());
			} else sendRange(request, response, bytes);
		});
		const started = performance.now();
		const source = await openHttpSource(server.url, quick);
		expect(sameBytes(await source.read(0, 100), bytes)).toBe(true);
		expect(server.seen.length).toBe(5);
		expect(performance.now() - started).toBeGreaterThan(990);
	});

	it('gives up after five tries', async () => {
		const server = await serve((_, response) => response.writeHead(502).end());
		const error = await refusal(() => openHttpSource(server.url, quick));
		expect(error.message).toBe(`${server.url}/ could not be fetched in 5 tries: the server answered 502.`);
		expect(server.seen.length).toBe(5);
	});

	it('gives up on silence, and on a port where nobody listens', async () => {
		const server = await serve(() => {});
		const error = await refusal(() => openHttpSource(server.url, { ...quick, silenceMs: 30 }));
		expect(error.message).toMatch(/in 5 tries: the server was silent for 0.03 s/);
		const free = await serve((_, response) => response.end());
		const closed = free.url.replace(/\d+$/, '1');
		expect((await refusal(() => openHttpSource(closed, quick))).message).toMatch(/could not be fetched/);
	});

	it('notices that the file was changed in between', async () => {
		for (const change of ['etag', 'weak etag', 'size', 'date'] as const) {
			const old = pattern(300 * KiB);
			const other = change === 'size' ? pattern(301 * KiB) : old.map((b) => b ^ 1);
			const tag = (v: number) => (change === 'etag' ? `"v${v}"` : change === 'weak etag' ? `W/"v${v}"` : undefined);
			const server = await serve((request, response, count) => {
				if (change === 'date') response.setHeader('last-modified', `Tue, 0${1 + count} Jan 2030 00:00:00 GMT`);
				sendRange(request, response, count === 0 ? old : other, tag(count === 0 ? 1 : 2));
			});
			const source = await openHttpSource(server.url, quick);
			const error = await refusal(() => source.read(100 * KiB, 10));
			expect([change, error.code]).toEqual([change, 'E_INPUT_CHANGED']);
		}
	});

	it('refuses answers that are not what was asked for', async () => {
		const bytes = pattern(200 * KiB);
		const lies: Readonly<Record<string, [Record<string, string>, Uint8Array]>> = {
			'no Content-Range': [{}, bytes.subarray(0, 65_536)],
			'unknown size': [{ 'content-range': 'bytes 0-65535/*' }, bytes.subarray(0, 65_536)],
			'another range': [{ 'content-range': 'bytes 1-65536/204800' }, bytes.subarray(1, 65_537)],
			'a shorter range': [{ 'content-range': 'bytes 0-99/204800' }, bytes.subarray(0, 100)],
			'fewer bytes than said': [{ 'content-range': 'bytes 0-65535/204800' }, bytes.subarray(0, 99)],
			'more bytes than asked': [{ 'content-range': 'bytes 0-65535/204800' }, bytes.subarray(0, 65_537)],
			'an absurd size': [{ 'content-range': 'bytes 0-65535/9999999999999999' }, bytes.subarray(0, 65_536)],
			'range past the end': [{ 'content-range': 'bytes 0-65535/10' }, bytes.subarray(0, 65_536)],
		};
		for (const [name, [headers, body]] of Object.entries(lies)) {
			const server = await serve((_, response) => response.writeHead(206, headers).end(body));
			const error = await refusal(() => openHttpSource(server.url, quick));
			expect([name, error.code]).toEqual([name, 'E_HTTP']);
		}
	});

	it('can be stopped', async () => {
		const stop = new AbortController();
		const server = await serve(() => setTimeout(() => stop.abort(), 10));
		expect((await refusal(() => openHttpSource(server.url, { ...quick, signal: stop.signal }))).code).toBe('E_INTERRUPTED');
		expect((await refusal(() => openHttpSource(server.url, { ...quick, signal: stop.signal }))).code).toBe('E_INTERRUPTED');
	});
});

describe('openHttpSource: redirects and secrets', () => {
	it('keeps the headers at the first origin, reads on from the last address, and renews one that expired', async () => {
		const bytes = pattern(300 * KiB);
		let valid = 1;
		const cdn = await serve((request, response) => {
			if (request.url !== `/blob?sig=${valid}`) response.writeHead(403).end();
			else sendRange(request, response, bytes, '"v1"');
		});
		const origin = await serve((_, response) => response.writeHead(302, { location: `${cdn.url}/blob?sig=${valid}` }).end());
		const source = await openHttpSource(`${origin.url}/x`, { ...quick, headers: { authorization: 'Bearer t', 'x-key': 'k' } });
		expect(source.name).toBe(`${origin.url}/x`);
		await source.read(100 * KiB, 10);
		expect([origin.seen.length, cdn.seen.length]).toEqual([1, 2]);
		valid = 2;
		expect(sameBytes(await source.read(250 * KiB, 10), bytes.slice(250 * KiB, 250 * KiB + 10))).toBe(true);
		expect([origin.seen.length, cdn.seen.length]).toEqual([2, 4]);
		expect(origin.seen.map((s) => s.authorization)).toEqual(['Bearer t', 'Bearer t']);
		expect(cdn.seen.every((s) => s.authorization === undefined && s.headers['x-key'] === undefined)).toBe(true);
		expect(cdn.seen.every((s) => s.headers['accept-encoding'] === 'identity')).toBe(true);
	});

	it('keeps them for a redirect on the same origin', async () => {
		const server = await serve((request, response) => {
			if (request.url === '/a') response.writeHead(307, { location: '/b' }).end();
			else sendRange(request, response, pattern(10));
		});
		await openHttpSource(`${server.url}/a`, { ...quick, headers: { authorization: 'Bearer t' } });
		expect(server.seen.map((s) => [s.path, s.authorization])).toEqual([
			['/a', 'Bearer t'],
			['/b', 'Bearer t'],
		]);
	});

	it('ends circles and refuses other protocols', async () => {
		const circle = await serve((_, response) => response.writeHead(302, { location: '/again' }).end());
		expect((await refusal(() => openHttpSource(circle.url, quick))).message).toMatch(/redirects more than 10 times/);
		const file = await serve((_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end());
		expect((await refusal(() => openHttpSource(file.url, quick))).message).toMatch(/redirects to file: addresses/);
	});

	it('sends user and password of the address as a header and shows neither', async () => {
		const server = await serve((_, response) => response.writeHead(404).end());
		const url = server.url.replace('http://', 'http://us%C3%A9r:p%40ss@');
		const error = await refusal(() => openHttpSource(`${url}/x?token=abc`, quick));
		expect(server.seen[0]?.authorization).toBe(`Basic ${Buffer.from('usér:p@ss').toString('base64')}`);
		expect(error.message).toBe(
			`${server.url}/x: the server answered 404, there is no such file; check the address, or log in where it comes from.`,
		);
	});

	it('does not show a header value that cannot be sent', async () => {
		const error = await refusal(() => openHttpSource('http://127.0.0.1:1/', { headers: { authorization: 'Bearer se\ncret' } }));
		expect([error.code, error.message.includes('cret')]).toEqual(['E_HTTP', false]);
	});

	it('refuses what is no Web address', async () => {
		for (const url of ['http://', 'ftp://127.0.0.1/x', 'nonsense']) expect((await refusal(() => openHttpSource(url))).code).toBe('E_HTTP');
	});
});
