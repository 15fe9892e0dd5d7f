import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { quotePath } from './io-error.js';

/** What the environment says about the Hub, by the names that huggingface_hub uses (its constants.py). */
export interface HubSettings {
	/** Without a slash at the end. */
	readonly endpoint: string;
	readonly token: string | undefined;
	/** The folder with `models--owner--repo` in it. */
	readonly cache: string;
	/** Use the cache alone. */
	readonly offline: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Read HF_ENDPOINT, HF_TOKEN (or the file HF_TOKEN_PATH, HF_HOME/token), HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME,
 * HF_HUB_OFFLINE and HF_HUB_DISABLE_IMPLICIT_TOKEN.
 * @throws {FormatError} `E_HUB` for an endpoint that is no address or a token that cannot be one.
 */
export function hubSettings(env: Environment = process.env): HubSettings {
	const home = set(env['HF_HOME']) ?? path.join(set(env['XDG_CACHE_HOME']) ?? path.join(homeFolder(env), '.cache'), 'huggingface');
	const endpoint = (set(env['HF_ENDPOINT']) ?? 'https://huggingface.co').replace(/\/+$/, '');
	if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint)) {
		throw new FormatError('E_HUB', `HF_ENDPOINT is ${quotePath(endpoint)}, which is no http or https address.`);
	}
	return {
		endpoint,
		token: flag(env['HF_HUB_DISABLE_IMPLICIT_TOKEN']) ? undefined : token(env, home),
		cache: set(env['HF_HUB_CACHE']) ?? set(env['HUGGINGFACE_HUB_CACHE']) ?? path.join(home, 'hub'),
		offline: flag(env['HF_HUB_OFFLINE']),
	};
}

function token(env: Environment, home: string): string | undefined {
	const given = set(env['HF_TOKEN']) ?? set(env['HUGGING_FACE_HUB_TOKEN']);
	const text = (given ?? readToken(set(env['HF_TOKEN_PATH']) ?? path.join(home, 'token'))).trim();
	if (text === '') return undefined;
	// It goes into a header: anything else than visible ASCII would be an error that prints it.
	if (!/^[\x21-\x7e]{1,1000}$/.test(text)) {
		const where = given === undefined ? 'The token file of the Hub' : 'HF_TOKEN';
		throw new FormatError('E_HUB', `${where} does not hold a token: it has spaces or characters that no token has.`);
	}
	return text;
}

function readToken(file: string): string {
	try {
		const stat = fs.statSync(file, { throwIfNoEntry: false });
		return stat?.isFile() === true && stat.size <= 10_000 ? fs.readFileSync(file, 'utf8') : '';
	} catch {
		// A token that cannot be read is no token: public files need none.
		return '';
	}
}

function homeFolder(env: Environment): string {
	return set(env['HOME']) ?? process.getBuiltinModule('node:os').homedir();
}

function set(value: string | undefined): string | undefined {
	return value === undefined || value === '' ? undefined : value;
}

function flag(value: string | undefined): boolean {
	return value !== undefined && ['1', 'ON', 'YES', 'TRUE'].includes(value.toUpperCase());
}
