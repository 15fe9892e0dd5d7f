import { FormatError } from '@lorakit/format';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { OutputMode } from './output.js';

/** Options that several commands share, as commander hands them over. */
export interface ReadFlags extends OutputMode {
	readonly schema?: boolean | undefined;
	readonly from?: string | undefined;
	readonly order?: 'old' | 'new' | undefined;
	readonly base?: string | undefined;
	readonly repair?: boolean | undefined;
}

/** `--json`, `--schema`, `--quiet`, `--strict`. */
export function outputOptions(command: Command): Command {
	return command
		.option('--json', 'print JSON: one document, or one a line for several files')
		.option('--schema', 'print the JSON Schema of --json and stop')
		.option('-q, --quiet', 'print results only; codes still go to standard error')
		.option('--strict', 'exit 1 on warnings too')
		.option('--no-progress', 'draw no progress line');
}

/** `--from`, `--order`, `--repair`. */
export function readingOptions(command: Command): Command {
	return command
		.option('--from <layout>', 'read as this layout instead of detecting it')
		.addOption(
			new Option(
				'--order <order>',
				'module order of a cloneofsimo list where nothing in the file says: diffusers <= 0.14 (old) or >= 0.15 (new)',
			).choices(['old', 'new']),
		)
		.option('--repair', 'undo known damage of names (doubled prefixes, flattened names, split qkv)');
}

/** `--base`. */
export function baseOption(command: Command): Command {
	return command.option('--base <path>', 'base model: a diffusers folder or a single-file checkpoint; only headers are read');
}

/** Files that are needed unless `--schema` is given. @throws {FormatError} `E_USAGE`. */
export function needFiles(files: readonly string[], command: string): readonly string[] {
	if (files.length === 0) throw new FormatError('E_USAGE', `Name at least one file. See "lora ${command} --help".`);
	return files;
}

/** A whole number from 1 to 64 for `--jobs`. */
export function parseJobs(text: string): number {
	const n = Number(text);
	if (!Number.isInteger(n) || n < 1 || n > 64) throw new InvalidArgumentError('It must be a whole number from 1 to 64.');
	return n;
}

/** `--dtype f16` as the library names it. Commander has checked the choice. */
export function dtypeOf<T extends 'f16' | 'bf16' | 'f32' | 'f64'>(text: T | undefined): Uppercase<T> | undefined {
	return text?.toUpperCase() as Uppercase<T> | undefined;
}
