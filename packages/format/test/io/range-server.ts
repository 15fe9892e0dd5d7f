import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from 'vitest';

/** One request as the server saw it. */
export interface Seen {
	readonly path: string;
	readonly range: string | undefined;
	readonly authorization: string | undefined;
	readonly headers: http.IncomingHttpHeaders;
}

export interface TestServer {
	readonly url: string;
	readonly seen: Seen[];
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse, count: number) => void;

const running: http.Server[] = [];

afterEach(async () => {
	for (const server of running.splice(0)) {
		server.closeAllConnections();
		await new Promise((resolve) => server.close(resolve));
	}
});

/** A server on 127.0.0.1 that is stopped after the test. `count` is the number of requests before this one. */
export async function serve(handler: Handler): Promise<TestServer> {
	const seen: Seen[] = [];
	const server = http.createServer((request, response) => {
		seen.push({
			path: request.url ?? '',
			range: request.headers.range,
			authorization: request.headers.authorization,
			headers: request.headers,
		});
		handler(request, response, seen.length - 1);
	});
	running.push(server);
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

/** Answer a range request for `bytes` as a correct server does (RFC 9110), If-Range included. */
export function sendRange(request: http.IncomingMessage, response: http.ServerResponse, bytes: Uint8Array, etag?: string): void {
	const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
	const headers: Record<string, string | number> = etag === undefined ? {} : { etag };
	const condition = request.headers['if-range'];
	if (match === null || (condition !== undefined && condition !== etag)) {
		response.writeHead(200, { ...headers, 'content-length': bytes.byteLength });
		response.end(bytes);
		return;
	}
	const start = Number(match[1]);
	const end = Math.min(match[2] === '' ? bytes.byteLength : Number(match[2]) + 1, bytes.byteLength);
	if (start >= bytes.byteLength) {
		response.writeHead(416, { 'content-range': `bytes */${bytes.byteLength}` });
		response.end();
		return;
	}
	response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${end - 1}/${bytes.byteLength}`, 'content-length': end - start });
	response.end(bytes.subarray(start, end));
}
