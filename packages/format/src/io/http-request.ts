import { escapeControls, FormatError } from '../errors.js';
import { HTTP_BACKOFF_MS, HTTP_MAX_WAIT_MS, HTTP_MIN_RATE, HTTP_REDIRECTS, HTTP_SILENCE_MS, HTTP_TRIES } from './io-limits.js';

/** How requests are made; everything has a default. */
export interface HttpOptions {
	/** Sent to the origin of the URL only, never after a redirect to another. */
	readonly headers?: Readonly<Record<string, string>> | undefined;
	/** Default: the global `fetch`. */
	readonly fetch?: typeof fetch | undefined;
	/** Ends every request. */
	readonly signal?: AbortSignal | undefined;
	/** What to call it in messages; default: the URL without query and credentials. */
	readonly name?: string | undefined;
	/** Wait before the second try in ms (`HTTP_BACKOFF_MS`); tests make it short. */
	readonly backoffMs?: number | undefined;
	/** Silence after which a try is given up, in ms (`HTTP_SILENCE_MS`). */
	readonly silenceMs?: number | undefined;
	/** Advice for 401, 403 and 404, a clause: "set HF_TOKEN". */
	readonly hint?: string | undefined;
}

/** One answer: the status and headers at the end of all redirects, and the bytes. */
export interface HttpAnswer {
	readonly status: number;
	readonly headers: Headers;
	/** Where the redirects ended. */
	readonly url: URL;
	readonly body: Uint8Array;
}

export interface HttpRequest {
	readonly url: URL;
	/** Sent with every hop: Range, Accept. */
	readonly headers: Readonly<Record<string, string>>;
	/** Origin that may see `HttpOptions.headers`. */
	readonly origin: string;
	/** Statuses that the caller deals with; all others are refusals or tried again. */
	readonly accept: readonly number[];
	/**
	 * Most bytes taken of a body. `undefined` from here means: do not read it (the answer has an empty body).
	 * Called with the headers, so that nothing is allocated for a body that will not be used.
	 */
	readonly limit: (status: number, headers: Headers) => number | undefined;
}

/** What a try that failed may be tried again for. */
interface Failure {
	readonly reason: string;
	/** What the server asked for (Retry-After), in ms. */
	readonly waitMs: number | undefined;
	readonly cause: unknown;
	/** More tries would give the same. */
	readonly final?: boolean;
}

const RETRY_STATUSES: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * One GET with redirects, time-outs and tries. Redirects are followed by hand: the caller's headers (a token) must
 * not reach another origin, and the final address is worth keeping for the next range.
 *
 * @throws {FormatError} `E_HTTP` with the status in words; `E_INTERRUPTED` when `signal` ended it.
 */
export async function httpGet(request: HttpRequest, options: HttpOptions): Promise<HttpAnswer> {
	const name = httpName(request.url, options);
	let last: Failure | undefined;
	for (let attempt = 0; attempt < HTTP_TRIES; attempt++) {
		if (last !== undefined) await wait(last, attempt, options, name);
		const result = await tryOnce(request, options, name);
		if ('status' in result) return result;
		last = result;
		if (result.final === true) throw new FormatError('E_HTTP', `${name} could not be fetched: ${result.reason}.`, { cause: result.cause });
	}
	throw new FormatError('E_HTTP', `${name} could not be fetched in ${HTTP_TRIES} tries: ${last?.reason ?? 'no answer'}.`, {
		cause: last?.cause,
	});
}

/** A URL as messages show it: no user, password or query, which may hold secrets. */
export function httpName(url: URL, options: HttpOptions): string {
	return options.name ?? escapeControls(`${url.origin}${url.pathname}`);
}

async function tryOnce(request: HttpRequest, options: HttpOptions, name: string): Promise<HttpAnswer | Failure> {
	const silence = options.silenceMs ?? HTTP_SILENCE_MS;
	const abort = new AbortController();
	const onOuterAbort = () => abort.abort();
	let timer = setTimeout(() => abort.abort(), silence);
	const alive = () => {
		clearTimeout(timer);
		timer = setTimeout(() => abort.abort(), silence);
	};
	options.signal?.addEventListener('abort', onOuterAbort);
	try {
		if (options.signal?.aborted) throw interrupted(name);
		const { response, url } = await follow(request, options, name, abort.signal, alive);
		if (!request.accept.includes(response.status)) {
			await response.body?.cancel();
			if (!RETRY_STATUSES.has(response.status)) throw statusError(response.status, name, options);
			return { reason: `the server answered ${statusWords(response.status)}`, waitMs: retryAfter(response.headers), cause: undefined };
		}
		const limit = request.limit(response.status, response.headers);
		const body = limit === undefined ? undefined : await readBody(response, limit, name, silence, alive);
		if (body === undefined) await response.body?.cancel();
		return { status: response.status, headers: response.headers, url, body: body ?? new Uint8Array(0) };
	} catch (error) {
		if (error instanceof FormatError) throw error;
		if (options.signal?.aborted) throw interrupted(name);
		if (abort.signal.aborted) return { reason: `the server was silent for ${silence / 1000} s`, waitMs: undefined, cause: error };
		return networkFailure(error);
	} finally {
		clearTimeout(timer);
		abort.abort();
		options.signal?.removeEventListener('abort', onOuterAbort);
	}
}

async function follow(
	request: HttpRequest,
	options: HttpOptions,
	name: string,
	signal: AbortSignal,
	alive: () => void,
): Promise<{ response: Response; url: URL }> {
	const get = options.fetch ?? fetch;
	let url = request.url;
	for (let hop = 0; hop <= HTTP_REDIRECTS; hop++) {
		const own = url.origin === request.origin ? options.headers : undefined;
		// With a Range header fetch itself asks for uncompressed bytes (Fetch standard, HTTP-network-or-cache fetch).
		const headers = { ...own, ...request.headers };
		const response = await get(url, { headers, redirect: 'manual', signal });
		alive();
		const location = response.headers.get('location');
		if (!REDIRECT_STATUSES.has(response.status) || location === null) return { response, url };
		await response.body?.cancel();
		url = redirectTarget(url, location, name);
	}
	throw new FormatError('E_HTTP', `${name} redirects more than ${HTTP_REDIRECTS} times.`);
}

function redirectTarget(from: URL, location: string, name: string): URL {
	let to: URL;
	try {
		to = new URL(location, from);
	} catch {
		throw new FormatError('E_HTTP', `${name} redirects to something that is no address.`);
	}
	const secure = to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:');
	if (!secure)
		throw new FormatError('E_HTTP', `${name} redirects to ${escapeControls(to.protocol)} addresses, which are not followed from there.`);
	to.username = '';
	to.password = '';
	return to;
}

/** The body, when it has at most `limit` bytes; a longer one is the server's fault and refused. */
async function readBody(response: Response, limit: number, name: string, silence: number, alive: () => void): Promise<Uint8Array> {
	const stated = Number(response.headers.get('content-length') ?? Number.NaN);
	if (stated > limit) throw tooLong(name, limit);
	const parts: Uint8Array[] = [];
	let total = 0;
	const started = performance.now();
	const reader = response.body?.getReader();
	while (reader !== undefined) {
		const { done, value } = await reader.read();
		if (done) break;
		alive();
		total += value.byteLength;
		if (total > limit) {
			await reader.cancel();
			throw tooLong(name, limit);
		}
		parts.push(value);
		// A drip of a byte now and then is never silent, and never done.
		const elapsed = performance.now() - started;
		if (elapsed > silence + (total / HTTP_MIN_RATE) * 1000) throw new Error(`it sends less than ${HTTP_MIN_RATE} bytes a second`);
	}
	if (parts.length === 1 && parts[0] !== undefined) return parts[0];
	const body = new Uint8Array(total);
	let at = 0;
	for (const part of parts) {
		body.set(part, at);
		at += part.byteLength;
	}
	return body;
}

function tooLong(name: string, limit: number): FormatError {
	return new FormatError('E_HTTP', `${name}: the server sends more than the ${limit} bytes that were asked for or are taken.`);
}

async function wait(failure: Failure, attempt: number, options: HttpOptions, name: string): Promise<void> {
	const doubled = (options.backoffMs ?? HTTP_BACKOFF_MS) * 2 ** (attempt - 1);
	// A little chance, so that many clients do not come back in step.
	const ms = Math.min(HTTP_MAX_WAIT_MS, Math.max(failure.waitMs ?? 0, doubled * (0.75 + Math.random() / 2)));
	await new Promise<void>((resolve, reject) => {
		const onAbort = () => {
			clearTimeout(timer);
			reject(interrupted(name));
		};
		const timer = setTimeout(() => {
			options.signal?.removeEventListener('abort', onAbort);
			resolve();
		}, ms);
		options.signal?.addEventListener('abort', onAbort, { once: true });
	});
}

/** Retry-After in ms: seconds or an HTTP date. */
function retryAfter(headers: Headers): number | undefined {
	const text = headers.get('retry-after');
	if (text === null) return undefined;
	const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
	return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}

const STATUS_WORDS: ReadonlyMap<number, string> = new Map([
	[401, '401, it wants a login'],
	[403, '403, access is not allowed'],
	[404, '404, there is no such file'],
	[410, '410, the file is gone'],
	[416, '416, the range is outside the file'],
	[429, '429, too many requests'],
	[451, '451, the file may not be given out'],
]);

function statusWords(status: number): string {
	return STATUS_WORDS.get(status) ?? String(status);
}

function statusError(status: number, name: string, options: HttpOptions): FormatError {
	const hint = options.hint !== undefined && [401, 403, 404].includes(status) ? `; ${options.hint}` : '';
	return new HttpStatusError(status, `${name}: the server answered ${statusWords(status)}${hint}.`);
}

/** `E_HTTP` for an answer with a status that means no; the status, for callers that try something else then. */
export class HttpStatusError extends FormatError {
	readonly status: number;

	constructor(status: number, message: string) {
		super('E_HTTP', message);
		this.status = status;
	}
}

function interrupted(name: string): FormatError {
	return new FormatError('E_INTERRUPTED', `${name}: the transfer was interrupted.`);
}

/** What went wrong below HTTP. undici hides the system's code in `cause`. */
function networkFailure(error: unknown): Failure {
	const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
	const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : undefined;
	const text = escapeControls(cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, '');
	const reason = (code === undefined ? undefined : NETWORK_WORDS.get(code)) ?? (code === undefined ? text : `${text} (${code})`);
	const final = code === 'ENOTFOUND' || text === 'bad port' || (code !== undefined && /CERT|TLS|SSL|UNABLE_TO/.test(code));
	return { reason, waitMs: undefined, cause: error, final };
}

const NETWORK_WORDS: ReadonlyMap<string, string> = new Map([
	['ENOTFOUND', 'the host name is not known here (a spelling mistake, or no network)'],
	['EAI_AGAIN', 'the host name could not be looked up (no network?)'],
	['ECONNREFUSED', 'the server refuses connections'],
	['ECONNRESET', 'the connection broke off'],
	['UND_ERR_SOCKET', 'the connection broke off'],
]);
