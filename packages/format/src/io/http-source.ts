import { type ByteSource, bytesSource, checkRange } from '../byte-source.js';
import { FormatError } from '../errors.js';
import { type HttpAnswer, type HttpOptions, HttpStatusError, httpGet, httpName } from './http-request.js';
import { HTTP_HEAD_BYTES, HTTP_TRIES, HTTP_WHOLE_BYTES } from './io-limits.js';
import { createRangeCache } from './range-cache.js';

export type { HttpOptions } from './http-request.js';

/**
 * Open an HTTP(S) resource for reading by ranges. The first request asks for the first `HTTP_HEAD_BYTES`, which
 * gives the size and most headers at once. Later ones go to where redirects ended (a CDN), and once more through the
 * first address when that one has expired.
 *
 * A file that came whole with the first answer is held in memory and is not `remote`. From a server without ranges
 * a file of at most `HTTP_WHOLE_BYTES` is taken whole; a larger one is refused.
 *
 * @param url `http:` or `https:`; user and password in it are sent as Basic authorization
 * @throws {FormatError} `E_HTTP`; `read` also `E_INPUT_CHANGED` when ETag, date or size became others.
 */
export async function openHttpSource(url: string, options: HttpOptions = {}): Promise<ByteSource> {
	const { start, headers } = parseUrl(url, options);
	const settings: HttpOptions = { ...options, headers };
	const name = httpName(start, options);
	const answer = await httpGet(
		{
			url: start,
			origin: start.origin,
			headers: { range: `bytes=0-${HTTP_HEAD_BYTES - 1}` },
			accept: [200, 206, 416],
			limit: (status, answered) => firstLimit(status, answered, name),
		},
		{ ...settings, hint: options.hint ?? 'check the address, or log in where it comes from' },
	);
	if (answer.status === 416) {
		// The first byte is outside only of an empty file.
		if (/^bytes \*\/0$/i.test(answer.headers.get('content-range') ?? '')) return bytesSource(answer.body, name);
		throw new FormatError('E_HTTP', `${name}: the server refuses to give the first bytes (416).`);
	}
	if (answer.status === 200) return wholeSource(answer, name);
	const range = contentRange(answer, name);
	if (range.start !== 0 || range.end !== Math.min(HTTP_HEAD_BYTES, range.size) || answer.body.byteLength !== range.end) {
		throw badRange(name, 0, Math.min(HTTP_HEAD_BYTES, range.size), range, answer.body.byteLength);
	}
	if (range.end === range.size) return bytesSource(answer.body, name);
	return rangedSource(start, answer, range.size, name, settings);
}

/** What says that two answers are about the same bytes. */
interface Version {
	readonly etag: string | null;
	readonly modified: string | null;
	readonly size: number;
}

function rangedSource(start: URL, first: HttpAnswer, size: number, name: string, options: HttpOptions): ByteSource {
	const version = versionOf(first.headers, size);
	const strong = version.etag !== null && !version.etag.startsWith('W/') ? version.etag : undefined;
	const closer = new AbortController();
	const signal = options.signal === undefined ? closer.signal : AbortSignal.any([closer.signal, options.signal]);
	const settings: HttpOptions = { ...options, signal };
	let direct = first.url;
	let open = true;

	async function ask(url: URL, offset: number, length: number): Promise<HttpAnswer> {
		const headers: Record<string, string> = { range: `bytes=${offset}-${offset + length - 1}` };
		// With If-Range a changed file comes as 200, which is refused before its body is read.
		if (strong !== undefined) headers['if-range'] = strong;
		return httpGet(
			{ url, origin: start.origin, headers, accept: [200, 206, 412, 416], limit: (status) => (status === 206 ? length : undefined) },
			settings,
		);
	}

	async function fetchOnce(offset: number, length: number): Promise<HttpAnswer> {
		if (direct.href === start.href) return ask(start, offset, length);
		try {
			return await ask(direct, offset, length);
		} catch (error) {
			// Signed addresses of CDNs expire: ask for a new one, once.
			if (!(error instanceof HttpStatusError)) throw error;
			const answer = await ask(start, offset, length);
			direct = answer.url;
			return answer;
		}
	}

	async function fetchRange(offset: number, length: number): Promise<Uint8Array> {
		for (let attempt = 1; ; attempt++) {
			const answer = await fetchOnce(offset, length);
			if (answer.status !== 206) throw lostRange(answer, version, name);
			const range = contentRange(answer, name);
			const now = versionOf(answer.headers, range.size);
			if (now.size !== version.size || now.etag !== version.etag || (now.etag === null && now.modified !== version.modified))
				throw changed(name);
			if (range.start === offset && range.end === offset + length && answer.body.byteLength === length) return answer.body;
			// A body cut by a proxy that says it is complete: worth another try.
			if (range.start !== offset || range.end !== offset + length || attempt >= HTTP_TRIES) {
				throw badRange(name, offset, length, range, answer.body.byteLength);
			}
		}
	}

	const cached = createRangeCache(size, first.body, fetchRange);
	return {
		name,
		size,
		remote: true,
		async read(offset, length) {
			if (!open) throw new TypeError(`${name} was read after it was closed`);
			checkRange(name, size, offset, length);
			return cached(offset, length);
		},
		async close() {
			open = false;
			// Ends what was being read ahead.
			closer.abort();
		},
	};
}

function parseUrl(text: string, options: HttpOptions): { start: URL; headers: Record<string, string> } {
	let start: URL;
	try {
		start = new URL(text);
	} catch {
		throw new FormatError('E_HTTP', 'The input looks like an address on the Web but is none; check its spelling.');
	}
	if (start.protocol !== 'http:' && start.protocol !== 'https:') {
		throw new FormatError('E_HTTP', `${httpName(start, options)} is no http or https address.`);
	}
	const headers: Record<string, string> = { ...options.headers };
	if (start.username !== '' || start.password !== '') {
		const login = `${decode(start.username)}:${decode(start.password)}`;
		headers['authorization'] = `Basic ${Buffer.from(login).toString('base64')}`;
		start.username = '';
		start.password = '';
	}
	try {
		new Headers(headers);
	} catch {
		// The text of the system's error would show the value, which may be a secret.
		throw new FormatError('E_HTTP', `${httpName(start, options)}: a request header (a token?) holds characters that cannot be sent.`);
	}
	return { start, headers };
}

function decode(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}

/** How much of the first answer is taken. A server without ranges sends the whole file, which may be too large for that. */
function firstLimit(status: number, headers: Headers, name: string): number | undefined {
	if (status === 206) return HTTP_HEAD_BYTES;
	if (status !== 200) return undefined;
	const stated = Number(headers.get('content-length') ?? 0);
	if (stated <= HTTP_WHOLE_BYTES) return HTTP_WHOLE_BYTES;
	throw new FormatError(
		'E_HTTP',
		`${name}: the server does not serve parts of files, and this one has ${stated} bytes (more than ${HTTP_WHOLE_BYTES}); download it first.`,
	);
}

function wholeSource(answer: HttpAnswer, name: string): ByteSource {
	const stated = answer.headers.get('content-length');
	// What was sent compressed all the same has been unpacked by fetch, and its length is another.
	const encoded = (answer.headers.get('content-encoding') ?? 'identity') !== 'identity';
	if (!encoded && stated !== null && Number(stated) !== answer.body.byteLength) {
		throw new FormatError('E_HTTP', `${name}: the server announced ${Number(stated)} bytes and sent ${answer.body.byteLength}; try again.`);
	}
	return bytesSource(answer.body, name);
}

interface ContentRange {
	readonly start: number;
	/** One past the last byte. */
	readonly end: number;
	readonly size: number;
}

function contentRange(answer: HttpAnswer, name: string): ContentRange {
	const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/i.exec(answer.headers.get('content-range') ?? '');
	const [start, last, size] = (match?.slice(1) ?? []).map(Number);
	if (start === undefined || last === undefined || size === undefined || last < start || last >= size || !Number.isSafeInteger(size)) {
		throw new FormatError(
			'E_HTTP',
			`${name}: the server answers a range request without saying which bytes these are and how many there are in all.`,
		);
	}
	return { start, end: last + 1, size };
}

function versionOf(headers: Headers, size: number): Version {
	return { etag: headers.get('etag'), modified: headers.get('last-modified'), size };
}

function lostRange(answer: HttpAnswer, version: Version, name: string): FormatError {
	const etag = answer.headers.get('etag');
	if (answer.status === 200 && etag !== null && etag === version.etag) {
		return new FormatError(
			'E_HTTP',
			`${name}: the server stopped serving ranges in the middle of the file; try again, or download it first.`,
		);
	}
	return changed(name);
}

function changed(name: string): FormatError {
	return new FormatError('E_INPUT_CHANGED', `${name} was changed on the server while it was read, so nothing was written; try again.`);
}

function badRange(name: string, offset: number, length: number, range: ContentRange, got: number): FormatError {
	return new FormatError(
		'E_HTTP',
		`${name}: bytes ${offset} to ${offset + length} were asked for, but the server gave ${got} bytes as ${range.start} to ${range.end}.`,
	);
}
