import { runCli } from './program.js';
import { installSignalHandlers } from './signals.js';

installSignalHandlers();
// Nothing is buffered: leaving at once loses nothing, and does not wait for idle connections.
process.exit(await runCli(process.argv.slice(2)));
