/** The command line, a pattern file or a suite is wrong: exit code 2, one sentence, no stack. */
export class UsageError extends Error {
	override readonly name: string = 'UsageError';
}
