import { buildDemo, DEMO_FOLDER } from './build.mjs';
import { serveFolder } from './serve.mjs';

/** `npm run demo [-- PORT]`: build the demo and serve it until Ctrl-C. */
const port = Number(process.argv[2] ?? 8765);
await buildDemo();
const { url } = await serveFolder(DEMO_FOLDER, { port });
process.stdout.write(`The demo is at ${url} (Ctrl-C ends it); its files are in ${DEMO_FOLDER}.\n`);
