import { FormatError } from '@lorakit/format';

/** Work that gave up because the run was told to stop: no fault, the run is saved as it is. */
export function isInterruption(error: unknown, signal: AbortSignal | undefined): boolean {
	return signal?.aborted === true && error instanceof FormatError && error.code === 'E_INTERRUPTED';
}
