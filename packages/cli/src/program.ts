import { escapeControls, FormatError } from '@lorakit/format';
import { Command, CommanderError } from 'commander';
import type { CommandContext } from './command.js';
import { COMMANDS } from './commands.js';
import { Output } from './output.js';
import { writeDescriptor } from './write-descriptor.js';

/** Replaced by the bundler with the version of package.json. */
declare const LORAKIT_VERSION: string;

const HELP = `
Inputs are files, folders, globs, http(s) addresses, hf://owner/repo[@revision]/file, or - for standard input.
Exit codes: 0 ok or warnings only (--strict makes warnings 1), 1 refused or invalid, 2 wrong usage, 130/143 interrupted.
Every E_ and W_ code is explained by "lora explain CODE". NO_COLOR and HF_TOKEN are honoured.
`;

/**
 * The whole command line as a commander program. Of the commands only those in `loaded` get their options; the
 * others are names and summaries.
 */
export async function buildProgram(loaded: (name: string) => boolean, context: CommandContext): Promise<Command> {
	const program = new Command('lora')
		.description('Read, check and convert LoRA weight files. Runs nothing that is inside a file.')
		.version(LORAKIT_VERSION, '-V, --version', 'print the version')
		.helpOption('-h, --help', 'show help')
		.addHelpText('after', HELP)
		.showSuggestionAfterError(true)
		.enablePositionalOptions()
		.exitOverride()
		.configureOutput({
			writeOut: (text) => void writeDescriptor(1, text),
			writeErr: (text) => void writeDescriptor(2, text),
			// Thrown again by exitOverride, and printed once, in our form.
			outputError() {},
		});
	for (const entry of COMMANDS) {
		// Created by hand, so that it inherits exitOverride and the output settings.
		const command = program.command(entry.name).summary(entry.summary).description(sentence(entry.summary));
		if (loaded(entry.name)) (await entry.load()).define(command, context);
	}
	return program;
}

/**
 * Run a command line. Prints, and returns the exit code.
 * @param argv - arguments after the program's name
 */
export async function runCli(argv: readonly string[]): Promise<number> {
	let output: Output | undefined;
	const context: CommandContext = {
		open(mode) {
			output = new Output(mode);
			return output;
		},
	};
	const words = argv.filter((arg) => !arg.startsWith('-')).slice(0, 2);
	const asked = argv[0] === 'help' ? words : words.slice(0, 1);
	try {
		const program = await buildProgram((name) => asked.includes(name), context);
		await program.parseAsync([...argv], { from: 'user' });
	} catch (error) {
		if (error instanceof CommanderError) {
			if (error.exitCode === 0) return 0;
			if (error.code === 'commander.help') return 2;
			new Output({}).fail(usageError(error, asked[0]));
			return 2;
		}
		output ??= new Output({});
		if (!isBrokenPipe(error)) output.fail(error);
	}
	return output?.exitCode ?? 0;
}

/** Commander's message as one line with our code. */
function usageError(error: CommanderError, command: string | undefined): FormatError {
	const known = COMMANDS.some((c) => c.name === command);
	const message = error.message
		.replace(/^error: /, '')
		.replace(/\s*\n\(Did you mean (.*?)\?\)/, '; did you mean $1?')
		.replace(/\.?\s*$/, '');
	const end = message.endsWith('?') ? '' : '.';
	return new FormatError('E_USAGE', `${escapeControls(message)}${end} See "lora ${known ? `${command} ` : ''}--help".`);
}

/** The reader of standard output has gone: there is nobody to tell. */
function isBrokenPipe(error: unknown): boolean {
	const cause = error instanceof FormatError ? error.cause : error;
	return typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'EPIPE';
}

function sentence(text: string): string {
	return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
