import { FormatError, fileHashes, type InspectOptions, type InspectReport, inspect, inspectMarkdown, inspectText } from '@lorakit/format';
import { createNodeSha256, resolveInput } from '@lorakit/format/node';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { eachFile, type FileTask } from '../each-file.js';
import { type OpenedInput, openInput } from '../open-input.js';
import { needFiles, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { printSchema } from '../schema.js';
import { isTerminal } from '../terminal.js';

interface InspectFlags extends ReadFlags {
	readonly format?: 'text' | 'md' | undefined;
	readonly hashes?: boolean | undefined;
	readonly tags?: string | undefined;
	readonly html?: string | undefined;
	readonly force?: boolean | undefined;
}

/** A file of at most this size is hashed unasked when it is the only one: it is read in a few milliseconds. */
const HASH_UNASKED_BYTES = 8 * 1024 * 1024;

/** `lora inspect FILE|DIR|URL…` */
export const inspectCommand: CliCommand = {
	define(command, context) {
		outputOptions(readingOptions(command.argument('[files...]', 'files, folders, globs, addresses, or -')))
			.addOption(new Option('--format <format>', 'text for people, md for pasting into an issue').choices(['text', 'md']))
			.option('--hashes', `read all data and add the hashes (files up to 8 MB have them unasked; --no-hashes: never)`)
			.addOption(new Option('--no-hashes').hideHelp())
			.option('--html <file>', 'read all data of one file and write a page with pictures: energy by block, singular values')
			.option('-f, --force', 'replace the page when it is there')
			.addHelpText(
				'after',
				examples(
					'lora inspect my-lora.safetensors',
					'lora inspect hf://latent-consistency/lcm-lora-sdv1-5/pytorch_lora_weights.safetensors --json',
					'lora inspect loras/ --format md',
					'lora inspect my-lora.safetensors --html my-lora.html',
				),
			)
			.action(async (files: readonly string[], flags: InspectFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'inspect');
				if (flags.json === true && flags.format !== undefined)
					throw new FormatError('E_USAGE', '--json and --format cannot be given together.');
				const { html } = flags;
				let n = 0;
				await eachFile(needFiles(files, 'inspect'), output, async (task) => {
					const opened = await openForInspect(task, output);
					try {
						const found = await report(opened, flags, task);
						if (html !== undefined) {
							if (!task.alone) throw new FormatError('E_USAGE', '--html writes one page; name one file.');
							const { writeInspectPage } = await import('../inspect-page.js');
							await writeInspectPage({ ...flags, spec: task.spec, file: html }, found, output);
						}
						print(found, flags, task, output, n++);
					} finally {
						await opened.close();
					}
				});
			});
	},
};

/** A companion that cannot be read does not make the file itself unreadable: it is named and left out. */
async function openForInspect(task: FileTask, output: Output): Promise<OpenedInput> {
	try {
		return await openInput(task.spec, { list: task.list });
	} catch (error) {
		if (!(error instanceof FormatError) || !(await hasCompanions(task))) throw error;
		const alone = await openInput(task.spec, { list: task.list, companions: false });
		output.warn([{ code: 'W_COMPANION', message: `A file beside it cannot be read and is left out: ${error.message}` }], task.scope);
		return alone;
	}
}

async function hasCompanions({ spec, list }: FileTask): Promise<boolean> {
	const { textEncoder, embeddings, config } = (await resolveInput(spec, { list })).companions;
	return textEncoder !== undefined || embeddings.length > 0 || config !== undefined;
}

async function report(opened: OpenedInput, flags: InspectFlags, task: FileTask): Promise<InspectReport> {
	const { input } = opened;
	const [main] = opened.sources;
	const wanted = flags.hashes ?? (task.alone && main !== undefined && !main.remote && main.size <= HASH_UNASKED_BYTES);
	let hashes: InspectOptions['hashes'];
	if (wanted && main !== undefined) {
		const all = await fileHashes(main, input.file, createNodeSha256);
		const known = new Map([
			['SHA-256', all.sha256],
			['AutoV2', all.autoV2],
		]);
		if (all.autoV3Short !== null) known.set('AutoV3', all.autoV3Short);
		hashes = known;
	}
	return inspect(input, { from: flags.from, order: flags.order, repair: flags.repair, bytes: main?.size, hashes });
}

function print(report: InspectReport, flags: InspectFlags, task: FileTask, output: Output, n: number): void {
	if (flags.json === true) output.document(report, task.alone);
	else if (flags.quiet === true) output.line(task.spec);
	else if (flags.format === 'md') output.text(`${n === 0 ? '' : '\n'}${inspectMarkdown(report)}`);
	else {
		// Where both streams end on one terminal the findings would stand there twice.
		const shown = isTerminal(1) ? { ...report, errors: [], warnings: [] } : report;
		const text = inspectText(shown);
		output.text(n === 0 ? text : `\n${text}`);
	}
	// Looking is no judgement: what convert and validate refuse is only told here.
	const findings = report.errors.map((e) => ({ ...e, code: LOOKED_AT.get(e.code) ?? e.code }));
	output.warn([...findings, ...report.warnings], task.scope);
}

const LOOKED_AT: ReadonlyMap<string, string> = new Map([
	['E_NOT_A_LORA', 'W_NOT_A_LORA'],
	['E_AMBIGUOUS', 'W_AMBIGUOUS'],
	['E_EMPTY_ADAPTER', 'W_EMPTY_ADAPTER'],
]);
