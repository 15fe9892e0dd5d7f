import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository that the server has. */
export interface FakeRepo {
	readonly commit: string;
	/** Path -> bytes. */
	readonly files: ReadonlyMap<string, Uint8Array>;
	/** Paths stored in LFS: served by the storage, on another origin. */
	readonly lfs?: ReadonlySet<string>;
	readonly cardData?: unknown;
	readonly tags?: readonly string[];
	/** Only with this token. */
	readonly token?: string;
	/** `X-Error-Code` without it. */
	readonly errorCode?: string;
	/** Entries of the listing beside the real ones. */
	readonly extraEntries?: readonly unknown[];
	/** Entries on one page of the listing; default: all. */
	readonly pageSize?: number;
	/** Branches and tags beside `main`. */
	readonly refs?: ReadonlyMap<string, string>;
	/** Files at other commits than the one of `main`; those of `main` where a commit is not named. */
	readonly filesAt?: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>;
}

/** A request that arrived. */
export interface Seen {
	readonly at: 'hub' | 'storage';
	readonly method: string;
	readonly url: string;
	readonly headers: http.IncomingHttpHeaders;
}

/** What goes wrong on purpose. */
export interface Faults {
	/** Path -> bytes after which each answer in turn is cut off; the answers after those are whole. */
	readonly breakAfter: Map<string, number[]>;
	/** Path -> how many answers in turn have one wrong byte. */
	readonly corrupt: Map<string, number>;
	/** Paths of which the storage sends more than it should. */
	readonly tooLong: Set<string>;
	/** Statuses that the next requests for a URL with this beginning get. */
	readonly statuses: Map<string, number[]>;
	/** Paths that are never finished. */
	readonly hang: Set<string>;
	/** The storage ignores `Range`. */
	noRange: boolean;
	/** The redirect to the storage goes here instead. */
	redirect: string | undefined;
	/** The listing continues here. */
	next: string | undefined;
	/** Bytes of white space before the answer of the API. */
	padding: number;
}

/** A Hub on 127.0.0.1 with a storage on localhost and another port, which is another origin. */
export interface HubServer {
	readonly endpoint: string;
	/** By `owner/name`; a data set by `datasets/owner/name`. */
	readonly repos: Map<string, FakeRepo>;
	readonly faults: Faults;
	readonly seen: Seen[];
	close(): Promise<void>;
}

export function gitSha(bytes: Uint8Array): string {
	return createHash('sha1').update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex');
}

export function sha256(bytes: Uint8Array): string {
	return createHash('sha256').update(bytes).digest('hex');
}

/** The etag that the Hub gives a file: written here from the Hub's documentation, not from the code under test. */
export function etagOf(repo: FakeRepo, path: string): string {
	const bytes = repo.files.get(path) ?? new Uint8Array(0);
	return repo.lfs?.has(path) === true ? sha256(bytes) : gitSha(bytes);
}

export async function startHub(): Promise<HubServer> {
	const repos = new Map<string, FakeRepo>();
	const seen: Seen[] = [];
	const faults: Faults = {
		breakAfter: new Map(),
		corrupt: new Map(),
		tooLong: new Set(),
		statuses: new Map(),
		hang: new Set(),
		noRange: false,
		redirect: undefined,
		next: undefined,
		padding: 0,
	};
	const note = (at: 'hub' | 'storage', request: http.IncomingMessage): void => {
		seen.push({ at, method: request.method ?? '', url: request.url ?? '', headers: request.headers });
	};
	const storage = http.createServer((request, response) => {
		note('storage', request);
		const parts = decodeURIComponent(new URL(request.url ?? '', 'http://x').pathname)
			.split('/')
			.slice(1);
		const rest = parts.splice(parts[0] === 'datasets' ? 3 : 2);
		const repo = repos.get(parts.join('/'));
		const bytes = [repo?.files, ...(repo?.filesAt?.values() ?? [])]
			.map((files) => files?.get(rest.join('/')))
			.find((found) => found !== undefined);
		if (bytes === undefined) return response.writeHead(404).end();
		// The storage has an etag of its own, which is no checksum.
		return sendBytes(request, response, bytes, rest.join('/'), { etag: '"0123456789abcdef-1"' }, faults);
	});
	await listen(storage, 'localhost');
	// Another name too: Python follows redirects to the Hub's own host name while it asks for the etag.
	const storageOrigin = `http://localhost:${(storage.address() as AddressInfo).port}`;

	const hub = http.createServer((request, response) => {
		note('hub', request);
		for (const [start, statuses] of faults.statuses) {
			const status = (request.url ?? '').startsWith(start) ? statuses.shift() : undefined;
			if (status !== undefined) return response.writeHead(status, { 'retry-after': '0' }).end();
		}
		return answerHub(request, response, { repos, faults, storageOrigin });
	});
	await listen(hub, '127.0.0.1');
	return {
		endpoint: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
		repos,
		faults,
		seen,
		close: async () => {
			for (const server of [hub, storage]) {
				server.closeAllConnections();
				await new Promise((resolve) => server.close(resolve));
			}
		},
	};
}

interface HubState {
	readonly repos: ReadonlyMap<string, FakeRepo>;
	readonly faults: Faults;
	readonly storageOrigin: string;
}

function answerHub(request: http.IncomingMessage, response: http.ServerResponse, state: HubState): unknown {
	const url = new URL(request.url ?? '', 'http://hub');
	const parts = url.pathname.split('/').slice(1).map(decodeURIComponent);
	const api = parts[0] === 'api';
	const dataset = parts[api ? 1 : 0] === 'datasets';
	const [owner, name, verb = '', ...rest] = api ? parts.slice(2) : dataset ? parts.slice(1) : parts;
	const id = `${owner}/${name}`;
	const key = dataset ? `datasets/${id}` : id;
	const known = state.repos.get(key);
	const error = (status: number, code: string): unknown =>
		response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' }).end(JSON.stringify({ error: code }));
	if (known === undefined) return error(request.headers.authorization === undefined ? 401 : 404, 'RepoNotFound');
	if (known.token !== undefined && request.headers.authorization !== `Bearer ${known.token}`) {
		return error(request.headers.authorization === undefined ? 401 : 403, known.errorCode ?? 'RepoNotFound');
	}
	const [revision = ''] = api && verb === '' ? ['main'] : rest;
	const isMain = revision === 'main' || revision === 'HEAD' || revision === known.commit;
	const commit = isMain ? known.commit : (known.refs?.get(revision) ?? (known.filesAt?.has(revision) === true ? revision : undefined));
	if (commit === undefined) return error(404, 'RevisionNotFound');
	const repo: FakeRepo = { ...known, files: known.filesAt?.get(commit) ?? known.files };
	if (api && (verb === '' || verb === 'revision')) {
		return sendJson(response, modelJson(id, repo, commit), state.faults.padding);
	}
	if (api && verb === 'tree') return sendTree(url, response, repo, state);
	if (verb !== 'resolve') return error(404, 'EntryNotFound');
	const path = rest.slice(1).join('/');
	const bytes = repo.files.get(path);
	if (bytes === undefined) return error(404, 'EntryNotFound');
	const headers = { 'x-repo-commit': commit };
	if (repo.lfs?.has(path) === true) {
		const location = state.faults.redirect ?? `${state.storageOrigin}/${key}/${path.split('/').map(encodeURIComponent).join('/')}`;
		return response
			.writeHead(302, { ...headers, location, 'x-linked-etag': `"${sha256(bytes)}"`, 'x-linked-size': String(bytes.byteLength) })
			.end();
	}
	return sendBytes(request, response, bytes, path, { ...headers, etag: `"${gitSha(bytes)}"` }, state.faults);
}

function modelJson(id: string, repo: FakeRepo, commit: string): unknown {
	return {
		_id: '1',
		id,
		sha: commit,
		private: false,
		gated: false,
		downloads: 1,
		likes: 0,
		lastModified: '2023-01-26T00:00:00.000Z',
		tags: repo.tags ?? [],
		...(repo.cardData === undefined ? {} : { cardData: repo.cardData }),
		siblings: [...repo.files.keys()].map((rfilename) => ({ rfilename })),
	};
}

function sendTree(url: URL, response: http.ServerResponse, repo: FakeRepo, state: HubState): unknown {
	const folders = new Set([...repo.files.keys()].filter((path) => path.includes('/')).map((path) => path.slice(0, path.lastIndexOf('/'))));
	const all: unknown[] = [
		...(repo.extraEntries ?? []),
		...[...folders].map((path) => ({ type: 'directory', path, size: 0, oid: '0'.repeat(40) })),
	];
	for (const [path, bytes] of repo.files) {
		const size = bytes.byteLength;
		const lfs = { oid: sha256(bytes), size, pointerSize: 130 };
		all.push({ type: 'file', path, size, ...(repo.lfs?.has(path) === true ? { oid: '1'.repeat(40), lfs } : { oid: gitSha(bytes) }) });
	}
	const from = Number(url.searchParams.get('cursor') ?? 0);
	const to = from + (repo.pageSize ?? all.length);
	if (state.faults.next !== undefined) response.setHeader('link', `<${state.faults.next}>; rel="next"`);
	else if (to < all.length) {
		const next = new URL(url);
		next.searchParams.set('cursor', String(to));
		response.setHeader('link', `<http://${response.req.headers.host}${next.pathname}${next.search}>; rel="next"`);
	}
	return sendJson(response, all.slice(from, to), state.faults.padding);
}

function sendJson(response: http.ServerResponse, value: unknown, padding: number): unknown {
	return response.writeHead(200, { 'content-type': 'application/json' }).end(' '.repeat(padding) + JSON.stringify(value));
}

function sendBytes(
	request: http.IncomingMessage,
	response: http.ServerResponse,
	whole: Uint8Array,
	path: string,
	headers: Readonly<Record<string, string>>,
	faults: Faults,
): unknown {
	let bytes = Uint8Array.from(whole);
	const wrong = faults.corrupt.get(path) ?? 0;
	if (wrong > 0 && request.method === 'GET') {
		faults.corrupt.set(path, wrong - 1);
		bytes[bytes.byteLength - 1] = (bytes[bytes.byteLength - 1] ?? 0) ^ 1;
	}
	if (faults.tooLong.has(path)) bytes = Uint8Array.from([...bytes, 1, 2, 3]);
	const from = faults.noRange ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
	const body = bytes.subarray(Number(from ?? 0));
	const length = { 'content-length': String(body.byteLength), 'accept-ranges': 'bytes' };
	if (from === undefined) response.writeHead(200, { ...headers, ...length });
	else response.writeHead(206, { ...headers, ...length, 'content-range': `bytes ${from}-${bytes.byteLength - 1}/${bytes.byteLength}` });
	if (request.method === 'HEAD') return response.end();
	const cut = faults.breakAfter.get(path)?.shift();
	if (faults.hang.has(path)) return response.write(body.subarray(0, body.byteLength >> 1));
	if (cut === undefined || cut >= body.byteLength) return response.end(body);
	return response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
}

function listen(server: http.Server, host: string): Promise<void> {
	return new Promise((resolve) => server.listen(0, host, resolve));
}
