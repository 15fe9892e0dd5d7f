import type { ErrorCode, WarningCode } from './codes.js';

export type { ErrorCode, WarningCode } from './codes.js';

/** Extra facts that travel with a refusal. */
export interface FormatErrorOptions {
	/** Where: a tensor name, a metadata key, a zip entry or a byte offset. */
	readonly at?: string | undefined;
	readonly cause?: unknown;
}

/**
 * The one way this project refuses input. `code` is stable and closed (see `codes.ts`); the message is one
 * sentence for people: what is wrong, where, what was found, what was expected, what to do.
 *
 * Anything else that escapes from this package on bad bytes is a bug.
 */
export class FormatError extends Error {
	override readonly name = 'FormatError';
	readonly code: ErrorCode;
	readonly at: string | undefined;

	constructor(code: ErrorCode, message: string, options: FormatErrorOptions = {}) {
		super(message, options.cause === undefined ? undefined : { cause: options.cause });
		this.code = code;
		this.at = options.at;
	}
}

/** Something a person should know that does not stop the work. */
export interface Warning {
	readonly code: WarningCode;
	readonly message: string;
	readonly at?: string | undefined;
}

/** Where a reader or a layout puts its warnings. Plain array push in practice. */
export type WarningSink = (warning: Warning) => void;

/**
 * Quote text that came out of a file for use in a message: JSON-quoted, at most 80 characters, and with every
 * control, bidi and line-separator character escaped, so that a tensor name cannot rewrite a terminal.
 */
export function quote(text: string): string {
	const cut = text.length > 80 ? `${text.slice(0, 77)}...` : text;
	return escapeControls(JSON.stringify(cut));
}

/** Escape control, bidi-control, zero-width and separator characters as \uXXXX; other text is unchanged. */
export function escapeControls(text: string): string {
	return text.replace(
		// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
		/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu,
		(c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
	);
}
