import { ERROR_CODES, type ErrorCode, WARNING_CODES, type WarningCode } from './codes.js';

/** Any stable code. */
export type Code = ErrorCode | WarningCode;

/** What a code means, for people who have just met it. The pages in docs/codes/ are made from these. */
export interface Explanation {
	/** A few words. */
	readonly title: string;
	/** What was found and why it matters. */
	readonly meaning: string;
	/** What to do about it. */
	readonly whatToDo: string;
	/** One line as the command line prints it, or a command that helps. */
	readonly example: string;
}

/** True for a code of `codes.ts`. */
export function isCode(text: string): text is Code {
	return CODES.has(text);
}

const CODES: ReadonlySet<string> = new Set<string>([...ERROR_CODES, ...WARNING_CODES]);

/** The explanation of a code. The table is loaded at the first call, so that nothing else pays for the prose. */
export async function explain(code: Code): Promise<Explanation> {
	const { EXPLANATIONS } = await import('./explanations-table.js');
	return EXPLANATIONS[code];
}
