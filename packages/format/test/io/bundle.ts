import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/** Bundle the sources of `io/` into one file that a child process can import: Node 20 reads no TypeScript. */
export async function bundleIo(dir: string): Promise<string> {
	const file = path.join(dir, 'io.mjs');
	const bundle = await rolldown({
		input: fileURLToPath(new URL('../../src/io/index.ts', import.meta.url)),
		platform: 'node',
		logLevel: 'silent',
	});
	await bundle.write({ file, format: 'esm', codeSplitting: false });
	await bundle.close();
	return file;
}
