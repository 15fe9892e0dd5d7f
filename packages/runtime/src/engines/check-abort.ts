import { FormatError } from '@lorakit/format';

/** @throws {FormatError} `E_INTERRUPTED` when the signal was given. */
export function checkAbort(signal: AbortSignal | undefined): void {
	if (signal?.aborted === true) throw new FormatError('E_INTERRUPTED', 'Loading the model was stopped.', { cause: signal.reason });
}
