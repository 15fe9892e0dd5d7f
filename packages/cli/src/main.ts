import { runCli } from './program.js';
import { installSignalHandlers } from './signals.js';

installSignalHandlers();
// Nothing is buffered: leaving at once loses nothing, and does not wait for idle connections.
void runCli(process.argv.slice(2)).then((code) => process.exit(code));
