import type { Environment, HubSettings } from '@lorakit/format/node';
import { hubSettings } from '@lorakit/format/node';
import { HUB_BACKOFF_MS, HUB_SILENCE_MS } from './hub-limits.js';

/** Where a download stands. */
export interface HubProgress {
	/** `owner/name`. */
	readonly repo: string;
	/** Path of the file in the repository. */
	readonly file: string;
	/** Bytes of this file that are here, those of an earlier attempt counted. */
	readonly received: number;
	readonly size: number;
	/** The same for all files of this call that were not in the cache. */
	readonly totalReceived: number;
	readonly totalSize: number;
}

/** Options of everything that asks the Hub. */
export interface HubFetchOptions {
	/** Branch, tag or commit; default: the one in the name, else `main`. */
	readonly revision?: string | undefined;
	/** Default: `process.env`. Read: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_HUB_DISABLE_SYMLINKS. */
	readonly env?: Environment | undefined;
	/** Use the cache alone, as HF_HUB_OFFLINE does. */
	readonly offline?: boolean | undefined;
	/** Default: the global `fetch`. */
	readonly fetch?: typeof fetch | undefined;
	/** Ends every request; what has arrived stays and the next call goes on from there. */
	readonly signal?: AbortSignal | undefined;
	/** Called for every piece that arrives: some thousand times a second at most. */
	readonly onProgress?: ((progress: HubProgress) => void) | undefined;
	/** Wait before the second try in ms (`HUB_BACKOFF_MS`); tests make it short. */
	readonly backoffMs?: number | undefined;
	/** Silence after which a try is given up, in ms (`HUB_SILENCE_MS`). */
	readonly silenceMs?: number | undefined;
}

/** Kinds of repositories: they have addresses and folders of their own. */
export type HubRepoType = 'model' | 'dataset';

/** Options and environment, read once for a call. */
export interface HubSession {
	readonly settings: HubSettings;
	readonly endpoint: URL;
	/** Of all repositories of this session. */
	readonly repoType: HubRepoType;
	readonly offline: boolean;
	/** False: files are moved into the snapshot instead of linked (HF_HUB_DISABLE_SYMLINKS). */
	readonly symlinks: boolean;
	readonly fetch: typeof fetch;
	readonly signal: AbortSignal | undefined;
	readonly onProgress: (progress: HubProgress) => void;
	readonly backoffMs: number;
	readonly silenceMs: number;
}

/** @throws {FormatError} `E_HUB` for an endpoint that is no address or a token that cannot be one. */
export function hubSession(options: HubFetchOptions, repoType: HubRepoType = 'model'): HubSession {
	const env = options.env ?? process.env;
	const settings = hubSettings(env);
	return {
		settings,
		endpoint: new URL(settings.endpoint),
		repoType,
		offline: options.offline === true || settings.offline,
		symlinks: !['1', 'ON', 'YES', 'TRUE'].includes((env['HF_HUB_DISABLE_SYMLINKS'] ?? '').toUpperCase()),
		fetch: options.fetch ?? fetch,
		signal: options.signal,
		onProgress: options.onProgress ?? (() => {}),
		backoffMs: options.backoffMs ?? HUB_BACKOFF_MS,
		silenceMs: options.silenceMs ?? HUB_SILENCE_MS,
	};
}
