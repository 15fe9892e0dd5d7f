import { FormatError } from '@lorakit/format';
import { Output } from './output.js';

/**
 * Ctrl-C and termination end the process with 130 and 143. Temporary files are removed by the exit hook of
 * `@lorakit/format/node`, which is there from the moment the first is made.
 */
export function installSignalHandlers(): void {
	for (const [signal, code] of [
		['SIGINT', 130],
		['SIGTERM', 143],
		['SIGHUP', 129],
	] as const) {
		process.once(signal, () => {
			new Output({}).fail(new FormatError('E_INTERRUPTED', `stopped by ${signal}; no half-written file is left.`));
			process.exit(code);
		});
	}
}
