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

/** Those of this process. */
const listeners = new Map<EndSignal, () => void>();

/**
 * Ctrl-C and termination end the process with 130 and 143. Temporary files are removed by the exit hook of
 * `@lorakit/format/node`, which is there from the moment the first is made.
 */
export function installSignalHandlers(): void {
	for (const [signal] of SIGNALS) {
		const listener = (): void => {
			const told = holder;
			holder = undefined;
			if (told === undefined) endBySignal(signal, 'no half-written file is left');
			else told(signal);
		};
		listeners.set(signal, listener);
		process.on(signal, listener);
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

/**
 * Run what keeps this thread busy for seconds at a time, in native code or out of it: handlers would wait until it lets go
 * (25 s were measured). So there are none meanwhile, and the system ends the process at once, which a shell calls 130 and 143
 * too. Nobody can say anything then, and no exit hook runs: what writes a file goes through `writing`, during which the
 * handlers are back. Who holds signals keeps them.
 */
export async function signalsEndAtOnce<T>(task: (writing: Guarded) => Promise<T>): Promise<T> {
	if (holder !== undefined) return await task((write) => write());
	await unhear();
	try {
		return await task(async (write) => {
			hear();
			try {
				return await write();
			} finally {
				await unhear();
			}
		});
	} finally {
		hear();
	}
}

/** Runs what may not be ended in the middle without cleaning up. */
export type Guarded = <R>(write: () => Promise<R>) => Promise<R>;

function hear(): void {
	for (const [signal, listener] of listeners) if (!process.listeners(signal).includes(listener)) process.on(signal, listener);
}

/**
 * A signal that has come and was not told yet would be lost with its listener: the loop tells it first. It looks for signals once a
 * turn, and this one may be past that: the end of the next turn is waited for.
 */
async function unhear(): Promise<void> {
	for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
	for (const [signal, listener] of listeners) process.removeListener(signal, listener);
}

/** End with the exit code of a signal. @param left what it leaves behind, as the end of a sentence */
export function endBySignal(signal: EndSignal, left: string): never {
	new Output({}).fail(new FormatError('E_INTERRUPTED', `stopped by ${signal}; ${left}.`));
	return process.exit(SIGNALS.find(([name]) => name === signal)?.[1] ?? 1);
}
