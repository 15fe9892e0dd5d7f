/** Files of the suite, of a run's own folder or of this package are gone while a run lasts: exit code 2, nothing can be judged. */
export class LostFilesError extends Error {
	override readonly name: string = 'LostFilesError';
}

/** Words of Node for a file that is not there any more, or is no file or folder any more. */
const GONE: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'EACCES', 'ENOTEMPTY', 'ERR_MODULE_NOT_FOUND']);

/** The same error, or one clear sentence where it says that a file of the run is gone. @param what where to look for the cause */
export function asLostFiles(error: unknown, what: string): unknown {
	if (!(error instanceof Error)) return error;
	const { code, path, url } = error as Error & { readonly code?: unknown; readonly path?: unknown; readonly url?: unknown };
	if (!GONE.has(code)) return error;
	return new LostFilesError(
		`A file that the runner needs vanished or was replaced during the run: ${String(path ?? url ?? error.message)} (${String(code)}). ${what}`,
		{ cause: error },
	);
}
