import { FormatError } from '@lorakit/format';
import { Output } from './output.js';

const SIGNALS = [
	['SIGINT', 130],
	['SIGTERM', 143],
	['SIGHUP', 129],
] as const;
export type EndSignal = (typeof SIGNALS)[number][0];

/** Who wants to end in order; the first signal goes there. */
let holder: ((signal: EndSignal) => void) | undefined;

/**
 * Ctrl-C and termination end the process with 130 and 143. Temporary files are removed by the exit hook of
 * `@lorakit/format/node`, which is there from the moment the first is made.
 */
export function installSignalHandlers(): void {
	for (const [signal] of SIGNALS) {
		process.on(signal, () => {
			const told = holder;
			holder = undefined;
			if (told === undefined) endBySignal(signal, 'no half-written file is left');
			else told(signal);
		});
	}
}

/**
 * Be told of the first signal instead of ending; the next one ends at once.
 * @returns give it back
 */
export function holdSignals(stop: (signal: EndSignal) => void): () => void {
	holder = stop;
	return () => {
		if (holder === stop) holder = undefined;
	};
}

/** End with the exit code of a signal. @param left what it leaves behind, as the end of a sentence */
export function endBySignal(signal: EndSignal, left: string): never {
	new Output({}).fail(new FormatError('E_INTERRUPTED', `stopped by ${signal}; ${left}.`));
	return process.exit(SIGNALS.find(([name]) => name === signal)?.[1] ?? 1);
}
