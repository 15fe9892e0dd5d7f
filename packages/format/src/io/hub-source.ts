import type { ByteSource } from '../byte-source.js';
import { escapeControls, FormatError, quote } from '../errors.js';
import { MAX_SIDE_FILE_BYTES } from '../limits.js';
import { openFileSource } from './file-source.js';
import { type HttpOptions, HttpStatusError, httpGet } from './http-request.js';
import { openHttpSource } from './http-source.js';
import { cachedFile } from './hub-cache.js';
import { type Environment, type HubSettings, hubSettings } from './hub-settings.js';
import { formatHubSpec, type HubSpec, parseHubSpec } from './hub-spec.js';
import { HUB_LIST_PAGES } from './io-limits.js';

/** Options of everything that asks the Hub. */
export interface HubOptions extends Omit<HttpOptions, 'headers' | 'name' | 'hint'> {
	/** Default: `process.env`. */
	readonly env?: Environment | undefined;
}

/**
 * Open one file of a Hub repository: from the Hub's cache folder when the revision is there (no request is made),
 * else by ranges over HTTP. The token goes to the Hub's own origin only, never to the CDN it redirects to.
 *
 * Plain `fetch` and not the `@huggingface/hub` client (5 MB, two dependencies): what is needed here is one documented
 * address per file and one listing; the client would add its own range reader, with looser checks than ours.
 *
 * @param spec `hf://owner/repo[@revision]/path`
 * @throws {FormatError} `E_HUB` for an address without a file or a file that must be asked for while HF_HUB_OFFLINE is
 * set; `E_HTTP`, `E_INPUT_CHANGED` as `openHttpSource`.
 */
export async function openHubSource(spec: string | HubSpec, options: HubOptions = {}): Promise<ByteSource> {
	const parsed = typeof spec === 'string' ? parseHubSpec(spec) : spec;
	const name = escapeControls(formatHubSpec(parsed));
	if (parsed.path === '') throw new FormatError('E_HUB', `${quote(name)} names a repository; name a file in it: ${name}/FILE.`);
	const settings = hubSettings(options.env);
	const cached = cachedFile(settings.cache, parsed);
	if (cached !== undefined) return openFileSource(cached, { name });
	if (settings.offline) throw offlineError(name, settings);
	const path = parsed.path.split('/').map(encodeURIComponent).join('/');
	const url = `${settings.endpoint}/${parsed.repo}/resolve/${encodeURIComponent(parsed.revision)}/${path}`;
	return openHttpSource(url, { ...httpOptions(options, settings), name });
}

/**
 * Paths of the files in a repository, or of those in one folder of it.
 * @param folder path of a folder: only its own files; undefined: all files, at any depth
 * @throws {FormatError} `E_HTTP`; `E_HUB` for an answer that is no listing.
 */
export async function listHubFiles(spec: HubSpec, folder: string | undefined, options: HubOptions = {}): Promise<string[]> {
	const settings = hubSettings(options.env);
	const name = formatHubSpec({ ...spec, path: '' });
	if (settings.offline) throw offlineError(name, settings);
	const place = folder === undefined || folder === '' ? '' : `/${folder.split('/').map(encodeURIComponent).join('/')}`;
	const query = folder === undefined ? '?recursive=true' : '';
	let next: URL | undefined = new URL(
		`${settings.endpoint}/api/models/${spec.repo}/tree/${encodeURIComponent(spec.revision)}${place}${query}`,
	);
	const { origin } = next;
	const files: string[] = [];
	for (let page = 0; next !== undefined; page++) {
		if (page >= HUB_LIST_PAGES) throw new FormatError('E_HUB', `${name} has too many files to list; name the file: ${name}/FILE.`);
		const answer = await httpGet(
			{ url: next, origin, headers: { accept: 'application/json' }, accept: [200], limit: () => MAX_SIDE_FILE_BYTES },
			{ ...httpOptions(options, settings), name },
		);
		files.push(...pageFiles(answer.body, name));
		next = nextPage(answer.headers, answer.url);
	}
	return files;
}

/** True when the server said that a file or repository is not there (or not for us). */
export function isNotThere(error: unknown): boolean {
	return error instanceof HttpStatusError && [401, 403, 404].includes(error.status);
}

function httpOptions(options: HubOptions, settings: HubSettings): HttpOptions {
	const { env: _env, ...rest } = options;
	if (settings.token === undefined) {
		return { ...rest, hint: 'check its spelling; for a private or gated repository set HF_TOKEN' };
	}
	return {
		...rest,
		headers: { authorization: `Bearer ${settings.token}` },
		hint: 'check its spelling, and that the account of your token may read it',
	};
}

function offlineError(name: string, settings: HubSettings): FormatError {
	return new FormatError('E_HUB', `${quote(name)} is not in the cache ${quote(settings.cache)}, and HF_HUB_OFFLINE forbids to fetch it.`);
}

function pageFiles(body: Uint8Array, name: string): string[] {
	let json: unknown;
	try {
		json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
	} catch (error) {
		throw new FormatError('E_HUB', `${name}: the Hub's list of files is no JSON.`, { cause: error });
	}
	if (!Array.isArray(json)) throw new FormatError('E_HUB', `${name}: the Hub's list of files is no list.`);
	const files: string[] = [];
	for (const entry of json as readonly unknown[]) {
		if (typeof entry !== 'object' || entry === null || !('type' in entry) || !('path' in entry)) continue;
		if (entry.type === 'file' && typeof entry.path === 'string') files.push(entry.path);
	}
	return files;
}

/** `Link: <URL>; rel="next"`, on the same origin only: the token goes with it. */
function nextPage(headers: Headers, from: URL): URL | undefined {
	const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(headers.get('link') ?? '')?.[1];
	if (link === undefined || !URL.canParse(link, from)) return undefined;
	const url = new URL(link, from);
	return url.origin === from.origin ? url : undefined;
}
