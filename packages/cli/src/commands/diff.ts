import {
	type BaseReader,
	baseReader,
	type Decoded,
	type DiffReport,
	decodeAdapter,
	diffAdapters,
	diffHtml,
	diffText,
	FormatError,
	loadKernel,
} from '@lorakit/format';
import { checkTarget, type FileSink, writeFilesAtomic } from '@lorakit/format/node';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { type OpenedBase, openBase } from '../fuse/open-base.js';
import { type OpenedInput, openInput } from '../open-input.js';
import { outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';

interface DiffFlags extends ReadFlags {
	readonly html?: string | undefined;
	readonly force?: boolean | undefined;
	readonly tolerance?: number | undefined;
	readonly failOnDifference?: boolean | undefined;
}

/** `lora diff A B` */
export const diffCommand: CliCommand = {
	define(command, context) {
		readingOptions(command.argument('[files...]', 'A B'))
			.option('--base <path>', 'base model, for modules whose change depends on its weights (DoRA, IA3, OFT, ...)')
			.option('--html <file>', 'write one self-contained page with pictures')
			.option('-f, --force', 'replace the page when it is there')
			.option('--tolerance <x>', 'largest relative difference at which both are the same adapter', Number, 1e-6)
			.option('--fail-on-difference', 'exit 1 when they are not the same adapter');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora diff old.safetensors new.safetensors',
					'lora diff kohya.safetensors converted.safetensors --fail-on-difference',
					'lora diff a.safetensors b.safetensors --html diff.html',
				)}
Layouts, names and types do not matter: compared is what each adapter adds to the weights, at strength 1. Norms are
Frobenius norms with the scaling; the cosine is 1 for the same direction, 0 for nothing in common. The exit code
is 0 whatever is found, unless --fail-on-difference is given.
`,
			)
			.action(async (files: readonly string[], flags: DiffFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'diff');
				if (files.length !== 2) throw new FormatError('E_USAGE', 'diff takes two adapters, A and B. See "lora diff --help".');
				if (flags.tolerance !== undefined && !(flags.tolerance >= 0))
					throw new FormatError('E_USAGE', '--tolerance must be a number of at least 0.');
				const [a = '', b = ''] = files;
				try {
					await diff(a, b, flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, `${a}, ${b}`, error, true);
				}
			});
	},
};

async function diff(a: string, b: string, flags: DiffFlags, output: Output): Promise<void> {
	await loadKernel();
	const opened: (OpenedInput | OpenedBase)[] = [];
	try {
		const one = await open(a, flags, opened);
		const two = await open(b, flags, opened);
		let base: BaseReader | undefined;
		if (flags.base !== undefined) {
			const model = await openBase(flags.base);
			opened.push(model);
			base = baseReader(model.model, [...one.adapter.modules, ...two.adapter.modules]);
		}
		if (flags.html !== undefined) checkTarget(flags.html, flags.force ?? false, [a, b]);
		const progress = createProgress(output, `${a}, ${b}`);
		const report = await diffAdapters(one.adapter, two.adapter, { base, tolerance: flags.tolerance, onProgress: progress.update }).finally(
			() => progress.end(),
		);
		if (flags.html !== undefined) await writePage(flags.html, report, flags, [a, b]);
		if (flags.json === true) output.document(report, true);
		else if (flags.quiet === true) output.line(flags.html ?? report.verdict);
		else output.text(`${diffText(report)}${flags.html === undefined ? '' : `\nwritten  ${flags.html}\n`}`);
		output.warn([...one.adapter.warnings, ...two.adapter.warnings, ...report.warnings]);
		if (flags.failOnDifference === true && !report.same) output.failQuietly();
	} finally {
		for (const input of opened) await input.close();
	}
}

async function open(spec: string, flags: DiffFlags, opened: (OpenedInput | OpenedBase)[]): Promise<Decoded> {
	const input = await openInput(spec, { values: true });
	opened.push(input);
	return decodeAdapter(input.input, { from: flags.from, order: flags.order, repair: flags.repair });
}

async function writePage(file: string, report: DiffReport, { force }: DiffFlags, inputs: readonly string[]): Promise<void> {
	const bytes = new TextEncoder().encode(diffHtml(report));
	await writeFilesAtomic([{ target: file, write: (sink: FileSink) => sink.write(bytes) }], { force, inputs });
}
