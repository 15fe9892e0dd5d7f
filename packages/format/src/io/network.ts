import type { ByteSource } from '../byte-source.js';
import type { HttpOptions } from './http-request.js';
import type { HubOptions } from './hub-source.js';
import type { HubSpec } from './hub-spec.js';

/** `openHttpSource` of `http-source.ts`, loaded at the first call: commands on local files do not pay for it. */
export async function openHttpSource(url: string, options: HttpOptions = {}): Promise<ByteSource> {
	return (await import('./http-source.js')).openHttpSource(url, options);
}

/** `openHubSource` of `hub-source.ts`, loaded at the first call. */
export async function openHubSource(spec: string | HubSpec, options: HubOptions = {}): Promise<ByteSource> {
	return (await import('./hub-source.js')).openHubSource(spec, options);
}
