import fs from 'node:fs';
import { Command, CommanderError } from 'commander';
import { defineCompare } from './cli/compare-command.js';
import { EXIT } from './cli/exit-codes.js';
import { defineInit } from './cli/init-command.js';
import type { Io } from './cli/io.js';
import { defineList, defineShow } from './cli/list-command.js';
import { defineMatrix } from './cli/matrix-command.js';
import { defineRepro } from './cli/repro-command.js';
import { defineRun } from './cli/run-command.js';
import { defineServeReport } from './cli/serve-command.js';
import { LostFilesError } from './run/lost-files-error.js';
import { SubjectError } from './run/run-suite.js';
import { UsageError } from './usage-error.js';

/** @returns the exit code. */
export async function main(args: readonly string[], overrides: Partial<Io> = {}): Promise<number> {
	let code: number = EXIT.ok;
	let interrupted: number | undefined;
	const abort = new AbortController();
	const onSignal = (signal: NodeJS.Signals): void => {
		interrupted = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated;
		abort.abort();
	};
	process.once('SIGINT', onSignal);
	process.once('SIGTERM', onSignal);
	const io: Io = {
		out: (text) => fs.writeSync(1, text),
		err: (text) => fs.writeSync(2, text),
		progress: (line) => process.stderr.write(`\r\u001b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`),
		interactive: process.stderr.isTTY === true,
		exit: (value) => {
			code = value;
		},
		signal: abort.signal,
		...overrides,
	};
	const program = makeProgram(io);
	try {
		await program.parseAsync([...args], { from: 'user' });
		return code;
	} catch (error) {
		if (interrupted !== undefined) return interrupted;
		if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
		if (error instanceof UsageError || error instanceof LostFilesError || error instanceof SubjectError) {
			io.err(`lora-conformance: ${error.message}\n`);
			return error instanceof SubjectError ? EXIT.subject : EXIT.usage;
		}
		throw error;
	} finally {
		process.off('SIGINT', onSignal);
		process.off('SIGTERM', onSignal);
		if (io.interactive) process.stderr.write('\r\u001b[2K');
	}
}

function makeProgram(io: Io): Command {
	const version = (JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { readonly version: string })
		.version;
	const program = new Command('lora-conformance')
		.description('Does a program read, scale and apply LoRA files right? https://github.com/lorakit/lorakit/tree/main/conformance')
		.version(version)
		.exitOverride()
		.configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
		.addHelpText(
			'after',
			`
Exit codes: 0 as expected · 1 a case failed, a known failure passed, or a known-failing pattern fits nothing ·
2 wrong use · 3 the subject did not start · 130, 143 interrupted`,
		);
	const define = (name: string, by: (command: Command, io: Io) => void): void => {
		by(program.command(name).exitOverride(), io);
	};
	define('run', defineRun);
	define('list', defineList);
	define('show', defineShow);
	define('repro', defineRepro);
	define('init', defineInit);
	define('compare', defineCompare);
	define('matrix', defineMatrix);
	define('serve-report', defineServeReport);
	return program;
}
