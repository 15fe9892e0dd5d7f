import { FormatError } from '@lorakit/format';
import type { NamedFile } from './messages.js';

/** One-click examples that were built in: `examples/index.json`. */
export interface Examples {
	readonly bases: readonly Example[];
	readonly adapters: readonly (Example & { readonly prompt: string })[];
}

export interface Example {
	readonly name: string;
	/** Relative to `examples/`. */
	readonly files: readonly string[];
}

const FOLDER = 'examples/';

/** None where the page was built without. */
export async function readExamples(): Promise<Examples> {
	const response = await fetch(`${FOLDER}index.json`);
	return response.ok ? ((await response.json()) as Examples) : { bases: [], adapters: [] };
}

/** @throws {FormatError} `E_IO` when the server does not give a file. */
export async function fetchExample({ files }: Example): Promise<readonly NamedFile[]> {
	return await Promise.all(
		files.map(async (path) => {
			const response = await fetch(FOLDER + path);
			if (!response.ok) throw new FormatError('E_IO', `The server answers ${response.status} for ${FOLDER}${path}; build the demo again.`);
			return { path, blob: await response.blob() };
		}),
	);
}
