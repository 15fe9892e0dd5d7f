import { CHECK_TARGETS, type CheckReport, type CheckTarget, checkTarget, decodeAdapter } from '@lorakit/format';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { eachFile, type FileTask } from '../each-file.js';
import { openInput } from '../open-input.js';
import { baseOption, needFiles, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { readBase } from '../read-base.js';
import { printSchema } from '../schema.js';

interface CheckFlags extends ReadFlags {
	readonly target?: CheckTarget | undefined;
}

/** `lora check FILE --target comfyui|a1111|diffusers|peft|kohya` */
export const checkCommand: CliCommand = {
	define(command, context) {
		outputOptions(baseOption(readingOptions(command.argument('[files...]', 'files, folders, globs, addresses, or -'))))
			.addOption(new Option('--target <reader>', 'the program that will load the file; default: all of them').choices(CHECK_TARGETS))
			.addHelpText('after', examples('lora check my-lora.safetensors --target comfyui', 'lora check adapter/ --target diffusers --json'))
			.action(async (files: readonly string[], flags: CheckFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'check');
				needFiles(files, 'check');
				const base = flags.base === undefined ? undefined : await readBase(flags.base);
				await eachFile(files, output, async (task) => {
					const opened = await openInput(task.spec, { list: task.list, base, values: true });
					try {
						const { from, order, repair } = flags;
						const { adapter, input } = decodeAdapter(opened.input, { from, order, repair });
						const targets = flags.target === undefined ? CHECK_TARGETS : [flags.target];
						for (const target of targets) print(checkTarget(input, adapter, target), task, output, targets.length === 1);
						output.warn(adapter.warnings, task.scope);
					} finally {
						await opened.close();
					}
				});
			});
	},
};

/** A reader that leaves something out fails the check; another strength alone is a warning. */
function print(report: CheckReport, task: FileTask, output: Output, only: boolean): void {
	if (output.mode.json === true) output.document(report, task.alone && only);
	else if (output.mode.quiet === true) output.line(`${report.target} ${report.verdict}`);
	else output.text(`${checkText(report, task.alone ? undefined : task.spec)}\n`);
	const short = report.modules.notLoaded + report.modules.partial > 0 || report.refused !== null || report.modules.total === 0;
	const scope = task.scope;
	if (short) {
		const finding = { code: 'E_UNSUPPORTED_ADAPTER', message: report.summary };
		// Asked about all readers, the answer "not this one" is no failure.
		if (only) output.refuse([finding], scope);
		else output.note(report.summary);
	} else if (report.strength.differs > 0) output.warn([{ code: 'W_RUNTIMES_DIFFER', message: report.summary }], scope);
}

function checkText(report: CheckReport, file: string | undefined): string {
	const lines = [`${file === undefined ? '' : `${file}: `}${report.summary}`];
	for (const { component, total, loaded } of report.components) lines.push(`  ${component}: ${loaded} of ${total} modules`);
	for (const problem of report.problems) {
		lines.push(`  ${problem.modules} ${problem.fate}: ${problem.why}`);
		for (const { key, nearest } of problem.examples)
			lines.push(`    ${key}${nearest.length === 0 ? '' : `  (nearest: ${nearest.join(', ')})`}`);
	}
	if (report.missingFamilies.length > 0) lines.push(`  does not compute: ${report.missingFamilies.join(', ')}`);
	for (const { key, nearest } of report.unknown)
		lines.push(`  unknown: ${key}${nearest.length === 0 ? '' : `  (nearest: ${nearest.join(', ')})`}`);
	if (report.embeddings.note !== null) lines.push(`  embeddings: ${report.embeddings.note}`);
	for (const advice of report.advice) lines.push(`  advice: ${advice}`);
	return lines.join('\n');
}
