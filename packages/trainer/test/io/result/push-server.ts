import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository as the server keeps it. */
export interface PushedRepo {
	private: boolean;
	/** Newest last. */
	readonly commits: { readonly oid: string; readonly title: string }[];
	readonly files: Map<string, Uint8Array>;
}

/** A Hub on 127.0.0.1 that takes uploads, with an LFS storage on another origin. Answers as the Hub documents its API. */
export interface PushServer {
	readonly endpoint: string;
	readonly storage: string;
	readonly repos: Map<string, PushedRepo>;
	/** What the storage holds, by SHA-256. */
	readonly objects: Map<string, Uint8Array>;
	/** `METHOD /path`, in order. */
	readonly seen: { readonly at: 'hub' | 'storage'; readonly what: string; readonly authorization: string | undefined }[];
	/** The next requests whose `METHOD /path` begins with a key get these statuses; `cut` breaks the connection. */
	readonly faults: Map<string, (number | 'cut')[]>;
	/** What an error answer says. */
	message: string;
	/** Called before a commit is looked at: somebody else's chance. */
	beforeCommit: () => void;
	close(): Promise<void>;
}

export const TOKEN = 'hf_writeTokenOfTheTest123';
/** May write to repositories that are there, but make none. */
export const LIMITED = 'hf_limitedTokenOfTheTest456';
/** What the Hub's usual .gitattributes sends by LFS. */
const LFS = /\.(?:safetensors|bin|pt|png)$/;

export async function startPushServer(): Promise<PushServer> {
	const repos = new Map<string, PushedRepo>();
	const objects = new Map<string, Uint8Array>();
	const server = { repos, objects, seen: [], faults: new Map(), message: 'a reason', beforeCommit() {} } as unknown as {
		-readonly [K in keyof PushServer]: PushServer[K];
	};
	let storageOrigin = '';

	const storage = http.createServer(async (request, response) => {
		const body = await read(request);
		if (note('storage', request, response)) return;
		const oid = new URL(request.url ?? '', 'http://x').pathname.slice(1);
		if (request.method !== 'PUT' || createHash('sha256').update(body).digest('hex') !== oid) return response.writeHead(400).end();
		objects.set(oid, body);
		return response.writeHead(200).end();
	});

	const hub = http.createServer(async (request, response) => {
		const body = await read(request);
		if (note('hub', request, response)) return;
		const url = new URL(request.url ?? '', 'http://x');
		const json = (status: number, value: unknown): unknown =>
			response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
		const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1];
		if (token !== TOKEN && token !== LIMITED) return json(401, { error: 'Invalid credentials in Authorization header' });
		if (url.pathname === '/api/repos/create') return create(JSON.parse(body.toString('utf8')), token, json);
		const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree|preupload|commit)\/([^/]+)/.exec(url.pathname);
		const batch = /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(url.pathname);
		const repo = repos.get(api?.[1] ?? batch?.[1] ?? '');
		if (repo === undefined) return json(404, { error: 'Repository not found' });
		const head = repo.commits.at(-1)?.oid ?? '';
		if (batch !== null) return json(200, lfsBatch(JSON.parse(body.toString('utf8'))));
		switch (api?.[2]) {
			case 'revision':
				return json(200, {
					_id: '1',
					id: api[1],
					sha: head,
					private: repo.private,
					gated: false,
					downloads: 0,
					likes: 0,
					lastModified: '2026-01-01T00:00:00.000Z',
				});
			case 'tree':
				return json(
					200,
					[...repo.files].map(([path, bytes]) => ({ type: 'file', path, size: bytes.byteLength, oid: '0'.repeat(40) })),
				);
			case 'preupload': {
				const { files } = JSON.parse(body.toString('utf8')) as { files: { path: string }[] };
				return json(200, {
					files: files.map(({ path }) => ({ path, uploadMode: LFS.test(path) ? 'lfs' : 'regular', shouldIgnore: false })),
				});
			}
			default:
				return commit(repo, body.toString('utf8'), json);
		}
	});

	function note(at: 'hub' | 'storage', request: http.IncomingMessage, response: http.ServerResponse): boolean {
		const what = `${request.method} ${new URL(request.url ?? '', 'http://x').pathname}`;
		server.seen.push({ at, what, authorization: request.headers.authorization });
		for (const [start, faults] of server.faults) {
			const fault = what.startsWith(start) ? faults.shift() : undefined;
			if (fault === undefined) continue;
			if (fault === 'cut') request.socket.destroy();
			else
				response
					.writeHead(fault, { 'content-type': 'application/json', 'retry-after': '0' })
					.end(JSON.stringify({ error: server.message }));
			return true;
		}
		return false;
	}

	function create(
		body: { name: string; organization: string; visibility?: string; type: string },
		token: string,
		json: (status: number, value: unknown) => unknown,
	): unknown {
		const name = `${body.organization}/${body.name}`;
		if (body.type !== 'model') return json(400, { error: 'not a model' });
		if (token === LIMITED)
			return json(403, { error: `You don't have the rights to create a model under the namespace "${body.organization}"` });
		if (repos.has(name)) return json(409, { error: 'You already created this model repo', url: `${server.endpoint}/${name}` });
		repos.set(name, {
			private: body.visibility === 'private',
			commits: [{ oid: 'a'.repeat(40), title: 'initial commit' }],
			files: new Map([['.gitattributes', new TextEncoder().encode('*.safetensors filter=lfs\n')]]),
		});
		return json(200, { url: `${server.endpoint}/${name}`, id: '1' });
	}

	function lfsBatch(body: { transfers: string[]; objects: { oid: string; size: number }[] }): unknown {
		return {
			transfer: 'basic',
			objects: body.objects.map(({ oid, size }) => ({
				oid,
				size,
				...(objects.has(oid)
					? {}
					: { authenticated: true, actions: { upload: { href: `${storageOrigin}/${oid}?X-Amz-Signature=secret` } } }),
			})),
		};
	}

	function commit(repo: PushedRepo, text: string, json: (status: number, value: unknown) => unknown): unknown {
		server.beforeCommit();
		const lines = text.split('\n').map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
		const header = lines.find(({ key }) => key === 'header')?.value;
		if (header?.['parentCommit'] !== undefined && header['parentCommit'] !== repo.commits.at(-1)?.oid) {
			return json(412, { error: 'A commit has happened since. Please refresh and try again.' });
		}
		const files = new Map<string, Uint8Array>();
		for (const { key, value } of lines) {
			const path = value['path'] ?? '';
			if (key === 'file') files.set(path, new Uint8Array(Buffer.from(value['content'] ?? '', 'base64')));
			if (key !== 'lfsFile') continue;
			const bytes = objects.get(value['oid'] ?? '');
			if (bytes === undefined) return json(400, { error: `LFS pointer pointed to a file that does not exist: ${path}` });
			files.set(path, new Uint8Array(bytes));
		}
		for (const [path, bytes] of files) repo.files.set(path, bytes);
		const oid = createHash('sha1').update(text).digest('hex');
		repo.commits.push({ oid, title: header?.['summary'] ?? '' });
		return json(200, { success: true, commitOid: oid, commitUrl: `${server.endpoint}/commit/${oid}`, hookOutput: '' });
	}

	await listen(storage);
	storageOrigin = `http://127.0.0.1:${(storage.address() as AddressInfo).port}`;
	await listen(hub);
	return Object.assign(server, {
		endpoint: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
		storage: storageOrigin,
		close: async () => {
			for (const each of [hub, storage]) {
				each.closeAllConnections();
				await new Promise((resolve) => each.close(resolve));
			}
		},
	});
}

async function read(request: http.IncomingMessage): Promise<Buffer> {
	const parts: Buffer[] = [];
	for await (const part of request) parts.push(part as Buffer);
	return Buffer.concat(parts);
}

function listen(server: http.Server): Promise<void> {
	return new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
}
