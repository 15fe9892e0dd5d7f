import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildDemo } from './build.mjs';
import { serveFolder } from './serve.mjs';

/** `npm run demo`: build the demo, and serve it on this machine until Ctrl-C. */
const USAGE = 'usage: npm run demo [-- [--port N] [--out FOLDER] [--build]]   (--build: build only; what is in FOLDER is removed)';

const { port, out, build } = readFlags();
await buildDemo(out);
if (build) {
	process.stdout.write(`The demo is in ${out}; any static server can serve it.\n`);
} else {
	try {
		process.stdout.write(`The demo is at ${await serveFolder(out, port)} (Ctrl-C ends it); its files are in ${out}.\n`);
	} catch (error) {
		process.stderr.write(`Port ${port} cannot be used (${error.code}); choose another with --port.\n`);
		process.exitCode = 1;
	}
}

function readFlags() {
	try {
		const { values } = parseArgs({ options: { port: { type: 'string' }, out: { type: 'string' }, build: { type: 'boolean' } } });
		const number = Number(values.port ?? 8765);
		if (!Number.isInteger(number) || number < 0 || number > 65_535) throw new TypeError(`--port ${values.port} is no port`);
		const folder = values.out ?? path.join(path.dirname(fileURLToPath(import.meta.url)), 'dist');
		return { port: number, out: path.resolve(folder), build: values.build === true };
	} catch (error) {
		process.stderr.write(`${error.message}\n${USAGE}\n`);
		process.exit(2);
	}
}
