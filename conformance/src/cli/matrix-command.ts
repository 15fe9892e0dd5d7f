import fs from 'node:fs';
import type { Command } from 'commander';
import { matrixHtml, matrixMarkdown } from '../report/matrix.js';
import type { Io } from './io.js';
import { readReport } from './read-report.js';

/** `lora-conformance matrix REPORT...` */
export function defineMatrix(command: Command, io: Io): void {
	command
		.description('one page of runtimes x features from several reports')
		.argument('<reports...>', 'files of "run --json"')
		.option('--html <file>', 'write a page')
		.option('--md <file>', 'write a Markdown table')
		.action((files: readonly string[], flags: { readonly html?: string; readonly md?: string }) => {
			const reports = files.map(readReport);
			if (flags.html !== undefined) fs.writeFileSync(flags.html, matrixHtml(reports));
			if (flags.md !== undefined) fs.writeFileSync(flags.md, matrixMarkdown(reports));
			if (flags.html === undefined && flags.md === undefined) io.out(matrixMarkdown(reports));
		});
}
