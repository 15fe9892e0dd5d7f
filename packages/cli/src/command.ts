import type { Command } from 'commander';
import type { Output, OutputMode } from './output.js';

/** What `main` gives a command to run with. */
export interface CommandContext {
	/** Make the printer that decides the exit code. Called once, when the options are known. */
	open(mode: OutputMode): Output;
}

/** One command: its words and options for commander, and what it does. Throws to fail; never exits. */
export interface CliCommand {
	/** Add arguments, options, help and action. */
	define(command: Command, context: CommandContext): void;
}

/** A command as the table knows it: enough for `lora --help` and for "did you mean". */
export interface CommandEntry {
	readonly name: string;
	readonly summary: string;
	readonly load: () => Promise<CliCommand>;
}

/** The text after a command's options: real examples, one a line. */
export function examples(...lines: readonly string[]): string {
	return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
