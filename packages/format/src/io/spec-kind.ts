import { FormatError } from '../errors.js';
import type { Environment } from './hub-settings.js';
import type { HubSpec } from './hub-spec.js';
import { hubSpecOfUrl, parseHubSpec } from './hub-spec.js';
import { quotePath } from './io-error.js';

/** What an input argument is, by its spelling alone. */
export type SpecKind =
	| { readonly kind: 'stdin' }
	| { readonly kind: 'path'; readonly path: string }
	| { readonly kind: 'http'; readonly url: string }
	| { readonly kind: 'hub'; readonly hub: HubSpec };

/**
 * Tell paths, Web addresses, Hub addresses and `-` apart. Pages and downloads of the Hub's site
 * (`https://huggingface.co/owner/repo/blob/main/x.safetensors`) are Hub addresses: so the token and the cache are used,
 * and the page of a file means the file.
 *
 * @throws {FormatError} `E_HUB` for a malformed `hf://`, `E_IO` for an address of a kind that cannot be read.
 */
export function classifySpec(spec: string, env: Environment = process.env): SpecKind {
	if (spec === '-') return { kind: 'stdin' };
	const scheme = /^([A-Za-z][A-Za-z0-9+.-]+):\/\//.exec(spec)?.[1]?.toLowerCase();
	if (scheme === undefined) return { kind: 'path', path: spec };
	if (scheme === 'hf') return { kind: 'hub', hub: parseHubSpec(spec) };
	if (scheme === 'http' || scheme === 'https') {
		const hub = URL.canParse(spec) ? hubSpecOfUrl(new URL(spec), endpointOf(env)) : undefined;
		return hub === undefined ? { kind: 'http', url: spec } : { kind: 'hub', hub };
	}
	if (scheme === 'file' && URL.canParse(spec)) {
		try {
			return { kind: 'path', path: process.getBuiltinModule('node:url').fileURLToPath(spec) };
		} catch (error) {
			throw new FormatError('E_IO', `${quotePath(spec)} is no address of a local file.`, { cause: error });
		}
	}
	throw new FormatError('E_IO', `${quotePath(spec)} cannot be read: give a path, or an http, https or hf address.`);
}

function endpointOf(env: Environment): string {
	const endpoint = env['HF_ENDPOINT'];
	return endpoint !== undefined && URL.canParse(endpoint) ? endpoint : 'https://huggingface.co';
}
