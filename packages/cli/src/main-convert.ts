import { runCli } from './program.js';
import { installSignalHandlers } from './signals.js';

installSignalHandlers();
const args = process.argv.slice(2);
// `lora-convert --version` asks for the version of the program, not for an option of convert.
const own = args.length === 1 && (args[0] === '--version' || args[0] === '-V');
void runCli(own ? args : ['convert', ...args]).then((code) => process.exit(code));
