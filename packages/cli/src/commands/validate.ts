import { type ValidateReport, validate } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import { type CliCommand, examples } from '../command.js';
import { countingSource } from '../counting-source.js';
import { eachFile, type FileTask } from '../each-file.js';
import { openInput } from '../open-input.js';
import { baseOption, needFiles, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { createProgress } from '../progress.js';
import { readBase } from '../read-base.js';
import { printSchema } from '../schema.js';

/** `lora validate FILE…` */
export const validateCommand: CliCommand = {
	define(command, context) {
		outputOptions(baseOption(readingOptions(command.argument('[files...]', 'files, folders, globs, addresses, or -'))))
			.addHelpText('after', examples('lora validate my-lora.safetensors', 'lora validate loras/**/*.safetensors --strict --quiet'))
			.action(async (files: readonly string[], flags: ReadFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'validate');
				needFiles(files, 'validate');
				const base = flags.base === undefined ? undefined : await readBase(flags.base);
				await eachFile(files, output, async (task) => {
					const progress = createProgress(output, task.spec);
					const opened = await openInput(task.spec, {
						list: task.list,
						base,
						values: true,
						wrap: (source) => countingSource(source, progress.update),
					});
					try {
						const { from, order, repair } = flags;
						print(await validate(opened.input, { from, order, repair, hasher: createNodeSha256 }), task, output);
					} finally {
						progress.end();
						await opened.close();
					}
				});
			});
	},
};

function print(report: ValidateReport, task: FileTask, output: Output): void {
	if (output.mode.json === true) output.document(report, task.alone);
	else if (output.mode.quiet === true) {
		if (report.verdict === 'invalid') output.line(task.spec);
	} else {
		const counts = [
			`${report.modules} modules`,
			report.layout ?? 'no layout',
			...(report.data === null ? [] : [`${report.data.tensors} tensors read`]),
		];
		output.line(`${report.verdict.padEnd(8)}  ${task.spec}  (${counts.join(', ')})`);
	}
	output.refuse(report.errors, task.scope);
	output.warn(report.warnings, task.scope);
}
