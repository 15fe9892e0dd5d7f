import { escapeControls, FormatError } from '@lorakit/format';
import { HUB_MAX_WAIT_MS, HUB_REDIRECTS, HUB_TRIES } from './hub-limits.js';
import { hubRefusal } from './hub-refusal.js';
import type { HubSession } from './hub-session.js';

/** An answer whose body has not been read yet. */
export interface HubAnswer {
	/** 200 or 206; everything else was thrown. */
	readonly response: Response;
	/** The checksum that the Hub itself (not the storage it redirects to) gives the file, quotes and `W/` taken off. */
	readonly etag: string | undefined;
	/** Say that bytes have arrived. */
	readonly alive: () => void;
	/** Has to be called when the body is read or given up. */
	readonly close: () => void;
}

/** Something that may work when tried again. */
export class TransientError extends Error {
	/** What the server asked for (Retry-After), in ms. */
	readonly waitMs: number | undefined;

	constructor(message: string, waitMs: number | undefined, cause: unknown) {
		super(message, { cause });
		this.waitMs = waitMs;
	}
}

const RETRY_STATUSES: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * One GET, redirects followed by hand: the token goes to the Hub's own origin only, whatever `fetch` would do, and the
 * Hub's own headers, which stand on the answer that redirects to the storage, are kept.
 * Source of the headers: huggingface_hub file_download.py `get_hf_file_metadata`.
 *
 * @param what what is asked for, for messages
 * @throws {TransientError} when another try may help
 * @throws {FormatError} `E_HUB` for a refusal, `E_HTTP`, `E_INTERRUPTED`
 */
export async function openHubUrl(
	url: URL,
	headers: Readonly<Record<string, string>>,
	session: HubSession,
	what: string,
): Promise<HubAnswer> {
	const abort = new AbortController();
	const onAbort = (): void => abort.abort();
	let timer = setTimeout(onAbort, session.silenceMs);
	const alive = (): void => {
		clearTimeout(timer);
		timer = setTimeout(onAbort, session.silenceMs);
	};
	const close = (): void => {
		clearTimeout(timer);
		session.signal?.removeEventListener('abort', onAbort);
		abort.abort();
	};
	session.signal?.addEventListener('abort', onAbort);
	try {
		if (session.signal?.aborted === true) throw interrupted(what);
		const { response, etag } = await follow(url, headers, session, what, abort.signal, alive);
		if (response.status === 200 || response.status === 206) return { response, etag, alive, close };
		await response.body?.cancel();
		if (RETRY_STATUSES.has(response.status)) {
			throw new TransientError(`the server answered ${response.status}`, retryAfter(response.headers), undefined);
		}
		throw hubRefusal(response, what, session);
	} catch (error) {
		close();
		throw asTransient(error, session, what, abort.signal.aborted);
	}
}

/** Try until it works, at most `HUB_TRIES` times. */
export async function withTries<T>(session: HubSession, what: string, attempt: () => Promise<T>): Promise<T> {
	for (let tries = 1; ; tries++) {
		try {
			return await attempt();
		} catch (error) {
			await waitToRetry(error, tries, session, what);
		}
	}
}

/** Wait before try number `tries` + 1. @throws what came in, when it is final; `E_HTTP` after the last try. */
export async function waitToRetry(error: unknown, tries: number, session: HubSession, what: string): Promise<void> {
	if (!(error instanceof TransientError)) throw error;
	if (tries >= HUB_TRIES) {
		throw new FormatError(
			'E_HTTP',
			`${what} could not be fetched in ${HUB_TRIES} tries: ${error.message}; what is in the cache can be used with --offline.`,
			{ cause: error },
		);
	}
	const doubled = session.backoffMs * 2 ** (tries - 1);
	// A little chance, so that many clients do not come back in step.
	const ms = Math.min(HUB_MAX_WAIT_MS, Math.max(error.waitMs ?? 0, doubled * (0.75 + Math.random() / 2)));
	await new Promise<void>((resolve, reject) => {
		const onAbort = (): void => {
			clearTimeout(timer);
			reject(interrupted(what));
		};
		const timer = setTimeout(() => {
			session.signal?.removeEventListener('abort', onAbort);
			resolve();
		}, ms);
		if (session.signal?.aborted === true) onAbort();
		else session.signal?.addEventListener('abort', onAbort, { once: true });
	});
}

/** What went wrong while a body was read, sorted into final and worth another try. */
export function asTransient(error: unknown, session: HubSession, what: string, silent: boolean): unknown {
	if (error instanceof FormatError || error instanceof TransientError) return error;
	if (session.signal?.aborted === true) return interrupted(what);
	if (silent) return new TransientError(`the server was silent for ${session.silenceMs / 1000} s`, undefined, error);
	// A fault of the disk is no fault of the network.
	if (error instanceof Error && 'syscall' in error && 'path' in error) return error;
	return new TransientError(networkReason(error), undefined, error);
}

async function follow(
	start: URL,
	headers: Readonly<Record<string, string>>,
	session: HubSession,
	what: string,
	signal: AbortSignal,
	alive: () => void,
): Promise<{ readonly response: Response; readonly etag: string | undefined }> {
	let url = start;
	let linked: string | undefined;
	let own: string | undefined;
	for (let hop = 0; hop <= HUB_REDIRECTS; hop++) {
		const atHub = url.origin === session.endpoint.origin;
		const token = atHub && session.settings.token !== undefined ? { authorization: `Bearer ${session.settings.token}` } : {};
		const response = await session.fetch(url, { headers: { ...headers, ...token }, redirect: 'manual', signal });
		alive();
		if (atHub) {
			linked = etagOf(response.headers.get('x-linked-etag')) ?? linked;
			own = etagOf(response.headers.get('etag')) ?? own;
		}
		const location = response.headers.get('location');
		if (!REDIRECT_STATUSES.has(response.status) || location === null) return { response, etag: linked ?? own };
		await response.body?.cancel();
		url = redirectTarget(url, location, what);
	}
	throw new FormatError('E_HTTP', `${what}: the server redirects more than ${HUB_REDIRECTS} times.`);
}

function redirectTarget(from: URL, location: string, what: string): URL {
	if (!URL.canParse(location, from)) throw new FormatError('E_HTTP', `${what}: the server redirects to something that is no address.`);
	const to = new URL(location, from);
	if (to.protocol !== 'https:' && !(to.protocol === 'http:' && from.protocol === 'http:')) {
		throw new FormatError(
			'E_HTTP',
			`${what}: the server redirects to ${escapeControls(to.protocol)} addresses, which are not followed from there.`,
		);
	}
	to.username = '';
	to.password = '';
	return to;
}

function etagOf(header: string | null): string | undefined {
	const text = header?.replace(/^W\//, '').replaceAll('"', '').toLowerCase();
	return text === undefined || text === '' ? undefined : text;
}

/** Retry-After in ms: seconds or an HTTP date. */
function retryAfter(headers: Headers): number | undefined {
	const text = headers.get('retry-after');
	if (text === null) return undefined;
	const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
	return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}

function interrupted(what: string): FormatError {
	return new FormatError('E_INTERRUPTED', `${what}: the transfer was interrupted; what has arrived is kept.`);
}

/** What went wrong below HTTP. undici hides the system's code in `cause`. */
function networkReason(error: unknown): string {
	const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
	const code = typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'string' ? ` (${cause.code})` : '';
	const text = cause instanceof Error ? cause.message : String(cause);
	return `${escapeControls(text.slice(0, 200)).replace(/\.$/, '') || 'the connection failed'}${code}`;
}
