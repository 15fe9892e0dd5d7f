import { FormatError, quote, type Warning } from '@lorakit/format';
import type { HubSpec } from '@lorakit/format/node';
import { MAX_HUB_ANSWER_BYTES, MAX_HUB_FILES } from './hub-limits.js';
import { isSafeHubPath } from './hub-path.js';
import { asTransient, openHubUrl, TransientError, withTries } from './hub-request.js';
import type { HubSession } from './hub-session.js';

/** What the Hub's API says about a repository at a revision. */
export interface HubModel {
	/** 40 hexadecimal digits. */
	readonly commit: string;
	/** `base_model` of the card as the Hub parsed it, a string or a list of strings; anything else in it is dropped. */
	readonly baseModels: readonly string[];
	readonly tags: readonly string[];
}

/** A file of a repository at a commit. */
export interface HubFile {
	/** Safe to use below a folder: see `isSafeHubPath`. */
	readonly path: string;
	readonly size: number;
	/** Its name among the blobs of the cache, and its checksum: SHA-256 where the file is in LFS or Xet, else git's SHA-1 of a blob. */
	readonly etag: string;
}

export interface HubListing {
	readonly files: readonly HubFile[];
	readonly warnings: readonly Warning[];
}

/**
 * The commit a revision stands for and what the repository says about itself. Through `modelInfo` or `datasetInfo` of `@huggingface/hub`
 * over our own `fetch`, which bounds the answer, keeps the token at the Hub and tries again.
 * @throws {FormatError} `E_HUB`, `E_HTTP`, `E_INTERRUPTED`
 */
export async function hubModel(session: HubSession, spec: HubSpec): Promise<HubModel> {
	const { modelInfo, datasetInfo } = await client();
	const what = `${spec.repo} on ${session.endpoint.host}`;
	const request = {
		name: spec.repo,
		revision: spec.revision,
		additionalFields: ['sha' as const, 'cardData' as const, 'tags' as const],
		hubUrl: session.settings.endpoint,
		fetch: hubFetch(session, what),
	};
	const info: { readonly sha?: unknown; readonly cardData?: unknown; readonly tags?: unknown } = await typed(what, async () =>
		session.repoType === 'model' ? await modelInfo(request) : await datasetInfo(request),
	);
	if (typeof info.sha !== 'string' || !/^[0-9a-f]{40}$/.test(info.sha)) {
		throw new FormatError('E_HUB', `${what}: the answer of the API names no commit; is HF_ENDPOINT a Hub?`);
	}
	const card = info.cardData;
	const base = typeof card === 'object' && card !== null && 'base_model' in card ? card.base_model : undefined;
	return { commit: info.sha, baseModels: strings(typeof base === 'string' ? [base] : base), tags: strings(info.tags) };
}

/**
 * All files of a repository at a commit, through `listFiles` of `@huggingface/hub`. Files whose names would leave the
 * folder they are put in are left out, with a warning.
 * @throws {FormatError} `E_HUB`, `E_HTTP`, `E_INTERRUPTED`; `E_LIMIT` above `MAX_HUB_FILES`.
 */
export async function listHubRepo(session: HubSession, repo: string, commit: string): Promise<HubListing> {
	const { listFiles } = await client();
	const what = `the list of files of ${repo}`;
	return typed(what, async () => {
		const files: HubFile[] = [];
		const warnings: Warning[] = [];
		const entries: AsyncIterable<unknown> = listFiles({
			repo: { type: session.repoType, name: repo },
			revision: commit,
			recursive: true,
			hubUrl: session.settings.endpoint,
			fetch: hubFetch(session, what),
		});
		let seen = 0;
		for await (const entry of entries) {
			if (++seen > MAX_HUB_FILES) throw new FormatError('E_LIMIT', `${repo} has more than ${MAX_HUB_FILES} files, which is the limit.`);
			const file = readEntry(entry, what);
			if (file === undefined) continue;
			if (isSafeHubPath(file.path)) files.push(file);
			else {
				warnings.push({
					code: 'W_FILE_LEFT_OUT',
					message: `${repo} has a file named ${quote(file.path)}, which would be written outside its folder; it is left out.`,
				});
			}
		}
		return { files, warnings: warnings.slice(0, 20) };
	});
}

/** 5 MB of package, loaded when the network is really asked. */
function client(): Promise<typeof import('@huggingface/hub')> {
	return import('@huggingface/hub');
}

/**
 * A `fetch` for the client. Without this it would follow redirects itself, read any length, take no time-out and try
 * once; and it refuses tokens that do not begin with `hf_`, as those of mirrors.
 */
function hubFetch(session: HubSession, what: string): typeof fetch {
	return async (input, init) => {
		const url = new URL(input instanceof Request ? input.url : input);
		if (url.origin !== session.endpoint.origin) {
			throw new FormatError('E_HUB', `${what}: the Hub continues its list on another server, ${quote(url.origin)}; that is not followed.`);
		}
		const headers = { accept: 'application/json', ...Object.fromEntries(new Headers(init?.headers)) };
		return withTries(session, what, async () => {
			const answer = await openHubUrl(url, headers, session, what);
			try {
				const body = await readAtMost(answer.response, MAX_HUB_ANSWER_BYTES, answer.alive, what);
				const kept = new Headers();
				for (const name of ['content-type', 'link']) {
					const value = answer.response.headers.get(name);
					if (value !== null) kept.set(name, value);
				}
				return new Response(body, { status: 200, headers: kept });
			} catch (error) {
				throw asTransient(error, session, what, session.signal?.aborted !== true && isAbort(error));
			} finally {
				answer.close();
			}
		});
	};
}

async function readAtMost(response: Response, limit: number, alive: () => void, what: string): Promise<Uint8Array<ArrayBuffer>> {
	const parts: Uint8Array[] = [];
	let total = 0;
	const reader = response.body?.getReader();
	while (reader !== undefined) {
		const { done, value } = await reader.read();
		if (done) break;
		alive();
		total += value.byteLength;
		if (total > limit) {
			await reader.cancel();
			throw new FormatError('E_HUB', `${what}: the Hub sends more than ${limit} bytes; that is not read.`);
		}
		parts.push(value);
	}
	const body = new Uint8Array(total);
	let at = 0;
	for (const part of parts) {
		body.set(part, at);
		at += part.byteLength;
	}
	return body;
}

/** Everything the client throws of itself (JSON it cannot read, fields that are not there) is an answer that is not the Hub's. */
async function typed<T>(what: string, call: () => Promise<T>): Promise<T> {
	try {
		return await call();
	} catch (error) {
		if (error instanceof FormatError) throw error;
		if (error instanceof TransientError)
			throw new FormatError('E_HTTP', `${what} could not be fetched: ${error.message}.`, { cause: error });
		throw new FormatError('E_HUB', `${what}: the answer is not one of the Hub's API; is HF_ENDPOINT a Hub?`, { cause: error });
	}
}

function readEntry(entry: unknown, what: string): HubFile | undefined {
	if (typeof entry !== 'object' || entry === null || !('type' in entry) || entry.type !== 'file') return undefined;
	const path = 'path' in entry ? entry.path : undefined;
	const lfs = 'lfs' in entry && typeof entry.lfs === 'object' && entry.lfs !== null ? entry.lfs : undefined;
	const size = lfs !== undefined && 'size' in lfs ? lfs.size : 'size' in entry ? entry.size : undefined;
	const etag = lfs !== undefined && 'oid' in lfs ? lfs.oid : 'oid' in entry ? entry.oid : undefined;
	if (
		typeof path !== 'string' ||
		typeof size !== 'number' ||
		!Number.isSafeInteger(size) ||
		size < 0 ||
		typeof etag !== 'string' ||
		!(lfs === undefined ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/).test(etag)
	) {
		throw new FormatError('E_HUB', `${what}: an entry has no path, size or checksum; is HF_ENDPOINT a Hub?`);
	}
	return { path, size, etag };
}

function strings(value: unknown): string[] {
	return Array.isArray(value) ? value.slice(0, 1000).filter((item) => typeof item === 'string') : [];
}

function isAbort(error: unknown): boolean {
	return error instanceof Error && error.name === 'AbortError';
}
