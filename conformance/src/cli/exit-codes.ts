/** Exit codes of `lora-conformance`; documented in docs/conformance/cli.md. */
export const EXIT = {
	/** Everything as expected. */
	ok: 0,
	/** A case failed, a known failure passed, a pattern of the known-failing list fits nothing. */
	failed: 1,
	/** The command line, a pattern file or the suite is wrong; files of the suite or the run vanished while it lasted. */
	usage: 2,
	/** The subject gave no valid answer to `start`. */
	subject: 3,
	/** Ended by SIGINT (130) or SIGTERM (143). */
	interrupted: 130,
	terminated: 143,
} as const;
