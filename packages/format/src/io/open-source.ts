import { type ByteSource, bytesSource } from '../byte-source.js';
import { FormatError } from '../errors.js';
import { descriptorSource, openFileSource } from './file-source.js';
import type { HubOptions } from './hub-source.js';
import { readError } from './io-error.js';
import { MAX_STDIN_BYTES } from './io-limits.js';
import { classifySpec } from './spec-kind.js';

/** Options of inputs that may come over the network. */
export type OpenOptions = HubOptions;

/**
 * Open what a command line names: a path, `http(s)://`, `hf://owner/repo[@revision]/file`, a page of a file on the Hub,
 * `file://`, or `-` for standard input. The network parts are loaded only when needed.
 *
 * @throws {FormatError} see `openFileSource`, `openHttpSource`, `openHubSource`, `openStdin`.
 */
export async function openSource(spec: string, options: OpenOptions = {}): Promise<ByteSource> {
	const kind = classifySpec(spec, options.env);
	switch (kind.kind) {
		case 'stdin':
			return openStdin();
		case 'path':
			return openFileSource(kind.path);
		case 'http': {
			const { env: _env, ...http } = options;
			return (await import('./http-source.js')).openHttpSource(kind.url, http);
		}
		case 'hub':
			return (await import('./hub-source.js')).openHubSource(kind.hub, options);
	}
}

/**
 * Standard input. Redirected from a file it is read by ranges; a pipe is read whole.
 * @param limit most bytes taken from a pipe
 * @throws {FormatError} `E_USAGE` at a terminal, `E_LIMIT` for more, `E_NOT_A_FILE`, `E_IO`.
 */
export async function openStdin(limit: number = MAX_STDIN_BYTES): Promise<ByteSource> {
	const fs = process.getBuiltinModule('node:fs');
	const name = 'standard input';
	try {
		const stat = fs.fstatSync(0);
		// Positions count from the start of the file, wherever the descriptor stands.
		if (stat.isFile()) return descriptorSource(0, '', name);
		if (stat.isDirectory()) throw new FormatError('E_NOT_A_FILE', 'Standard input is a folder, not a file.');
	} catch (error) {
		throw readError(error, name);
	}
	if (process.stdin.isTTY) throw new FormatError('E_USAGE', 'Standard input is a terminal; pipe a file into it.');
	const parts: Uint8Array[] = [];
	let total = 0;
	try {
		for await (const part of process.stdin as AsyncIterable<Uint8Array>) {
			total += part.byteLength;
			if (total > limit) {
				throw new FormatError('E_LIMIT', `Standard input gives more than ${limit} bytes; name the file instead, or redirect it with "<".`);
			}
			parts.push(part);
		}
	} catch (error) {
		throw readError(error, name);
	}
	const bytes = new Uint8Array(total);
	let at = 0;
	for (const part of parts) {
		bytes.set(part, at);
		at += part.byteLength;
	}
	return bytesSource(bytes, name);
}
