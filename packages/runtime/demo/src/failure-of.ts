import { escapeControls, FormatError } from '@lorakit/format';
import type { Failure } from './messages.js';

/** Any error as one sentence and a code. */
export function failureOf(error: unknown): Failure {
	if (error instanceof FormatError) return { code: error.code, message: error.message };
	if (error instanceof DOMException && (error.name === 'NotReadableError' || error.name === 'NotFoundError')) {
		return { code: 'E_IO', message: 'A file cannot be read any more: it was moved or changed since it was picked; pick it again.' };
	}
	if (error instanceof RangeError && /allocation|array length|array buffer/i.test(error.message)) {
		return { code: 'E_LIMIT', message: 'The browser has not enough memory for this; use a smaller picture or a smaller base.' };
	}
	const said = error instanceof Error ? error.message : String(error);
	return { code: 'E_INTERNAL', message: `Something failed that should not: ${escapeControls(said)}` };
}
