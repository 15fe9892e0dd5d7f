/** Where a command prints, and how it ends: so that tests can run commands in their own process. */
export interface Io {
	out(text: string): void;
	err(text: string): void;
	/** One line that replaces the last; only where `interactive`. */
	progress(line: string): void;
	readonly interactive: boolean;
	exit(code: number): void;
	readonly signal: AbortSignal;
}
