import { escapeControls, FormatError } from '@lorakit/format';

/** The refusal of a Parquet file whose content contradicts itself or the specification. */
export function brokenParquet(file: string, what: string, cause?: unknown): FormatError {
	return new FormatError('E_PARQUET', `${file} is a broken Parquet file: ${what}; fetch it again.`, { cause });
}

/** The refusal of a Parquet file that is well made in a way that is not read here. */
export function unreadParquet(file: string, what: string, advice: string): FormatError {
	return new FormatError('E_PARQUET', `${file}: ${what}, which is not read here; ${advice}.`);
}

/** Errors of a library that was given bytes of a file, as refusals; refusals stay what they are. */
export function asBrokenParquet(file: string, what: string, error: unknown): FormatError {
	if (error instanceof FormatError) return error;
	const reason = error instanceof Error ? error.message : String(error);
	return brokenParquet(file, `${what} (${escapeControls(reason.slice(0, 120)).replace(/\.$/, '')})`, error);
}
