import fs from 'node:fs';
import path from 'node:path';
import { type ConvertOptions, FormatError, findLayout } from '@lorakit/format';
import { expandInputs, rememberingLister } from '@lorakit/format/node';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { type ConvertRequest, convertOne } from '../convert-one.js';
import { convertDocument, convertText } from '../convert-report.js';
import { reportFailure } from '../each-file.js';
import { baseOption, dtypeOf, outputOptions, parseJobs, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { batchNames, containerOf } from '../output-names.js';
import { createProgress } from '../progress.js';
import { readBase } from '../read-base.js';
import { runPool } from '../run-pool.js';
import { printSchema } from '../schema.js';

interface ConvertFlags extends ReadFlags {
	readonly to: string;
	readonly textEncoder?: string | undefined;
	readonly embeddings?: readonly string[] | undefined;
	readonly dtype?: 'f16' | 'bf16' | 'f32' | undefined;
	readonly alpha?: ConvertOptions['alpha'];
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	readonly receipt?: string | undefined;
	readonly outDir?: string | undefined;
	readonly jobs: number;
}

/** `lora convert IN OUT`, `lora convert IN… --out-dir DIR`, and `lora-convert`. */
export const convertCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[files...]', 'IN OUT; or, with --out-dir, any number of files, folders and globs')
			.option(
				'--to <layout>',
				'diffusers, diffusers-old, diffusers-attn-procs, peft, kohya (a1111, comfy), cloneofsimo, omi, or keep: the container alone',
				'diffusers',
			);
		baseOption(readingOptions(command))
			.option('--text-encoder <file>', 'text encoder list to use instead of the one beside IN; none: leave it out')
			.option('--embeddings <file>', 'embeddings to use instead of those beside IN (repeatable); none: leave them out', collect)
			.addOption(new Option('--dtype <dtype>', 'cast factors; alpha keeps its type').choices(['f16', 'bf16', 'f32']))
			.addOption(
				new Option('--alpha <how>', "keep: the target's own slot; fold: into the factors; tensors or metadata: that slot")
					.choices(['keep', 'fold', 'tensors', 'metadata'])
					.default('keep'),
			)
			.option('--allow-loss', 'go on where something has no place in the target; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'print the whole key map and write nothing')
			.option('--receipt <file>', 'write what became of every tensor and header entry, as JSON')
			.option('--out-dir <dir>', 'convert many: STEM.safetensors in this folder (STEM.pt for cloneofsimo, STEM/ for peft)')
			.option('--jobs <n>', 'how many at once with --out-dir', parseJobs, 4);
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora convert in.pt out.safetensors',
					'lora convert kohya.safetensors out.safetensors --to peft --receipt receipt.json',
					'lora convert loras/ --out-dir converted --to kohya --jobs 4',
					'cat in.pt | lora convert - - --to keep > out.safetensors',
				)}
OUT's extension picks the container: .safetensors, or .pt, .bin, .ckpt, .pth for a torch file.
"lora-convert IN OUT" is the same command.
`,
			)
			.action(async (files: readonly string[], flags: ConvertFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'convert');
				checkFlags(files, flags);
				const base = flags.base === undefined ? undefined : await readBase(flags.base);
				const request = { ...flags, base, dtype: dtypeOf(flags.dtype) };
				if (flags.outDir !== undefined) return convertMany(files, flags.outDir, request, output);
				const [input = '', target = ''] = files;
				try {
					await convertAndPrint({ ...request, input, output: target, note: (text) => output.note(text) }, output, true);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, input, error, true);
				}
			});
	},
};

type Request = Omit<ConvertRequest, 'input' | 'output' | 'note'> & { readonly jobs: number };

function checkFlags(files: readonly string[], flags: ConvertFlags): void {
	if (flags.to !== 'keep') findLayout(flags.to);
	if (flags.outDir !== undefined) {
		if (files.length === 0) throw new FormatError('E_USAGE', 'Name at least one input. See "lora convert --help".');
		if (flags.receipt !== undefined)
			throw new FormatError('E_USAGE', '--receipt names one file; with --out-dir use --json, which prints every receipt.');
		if (flags.textEncoder !== undefined && flags.textEncoder !== 'none')
			throw new FormatError('E_USAGE', '--text-encoder FILE belongs to one input; it cannot be given with --out-dir.');
		return;
	}
	if (files.length !== 2) {
		throw new FormatError(
			'E_USAGE',
			files.length > 2
				? `convert takes IN and OUT, but ${files.length} names were given; to convert many, add --out-dir DIR.`
				: 'convert takes IN and OUT. See "lora convert --help".',
		);
	}
	containerOf(files[1] ?? '');
	if (files[1] === '-' && flags.json === true)
		throw new FormatError('E_USAGE', '--json and the file itself cannot both go to standard output; name an output file.');
}

async function convertAndPrint(request: ConvertRequest, output: Output, alone: boolean): Promise<void> {
	const progress = createProgress(output, request.input);
	const result = await convertOne({ ...request, onProgress: progress.update }).finally(() => progress.end());
	const dryRun = request.dryRun === true;
	const scope = alone ? undefined : request.input;
	if (request.output === '-' && !dryRun) output.talk(convertText(result, false).trimEnd());
	else if (output.mode.json === true) output.document(convertDocument(result, dryRun), alone);
	else if (output.mode.quiet === true) for (const written of result.outputs) output.line(written.path);
	else output.text(convertText(result, dryRun));
	output.warn(result.warnings, scope);
}

/** Every input on its own: one that is refused does not stop the rest. */
async function convertMany(args: readonly string[], outDir: string, request: Request, output: Output): Promise<void> {
	const inputs = await expandInputs(args);
	const names = batchNames(inputs, outDir, request.to);
	if (request.dryRun !== true) makeFolder(outDir);
	const list = rememberingLister();
	let failed = 0;
	await runPool(inputs, request.jobs, async (input) => {
		const target = names.get(input) ?? '';
		const note = (text: string): void => output.note(text);
		const folder = path.dirname(target);
		const made = request.dryRun !== true && !fs.existsSync(folder);
		try {
			if (made) makeFolder(folder);
			await convertAndPrint({ ...request, input, output: target, list, note }, output, false);
		} catch (error) {
			if (made) removeIfEmpty(folder);
			if (error instanceof FormatError && error.code === 'E_USAGE') throw error;
			failed++;
			reportFailure(output, input, error, false);
		}
	});
	output.talk(`${inputs.length - failed} of ${inputs.length} converted${failed > 0 ? `, ${failed} failed` : ''}`);
}

/** A refused input leaves no empty folder behind. */
function removeIfEmpty(folder: string): void {
	try {
		fs.rmdirSync(folder);
	} catch {
		// Not empty: not ours alone.
	}
}

function makeFolder(folder: string): void {
	try {
		fs.mkdirSync(folder, { recursive: true });
	} catch (error) {
		throw new FormatError('E_IO', `The folder for the outputs cannot be made: ${error instanceof Error ? error.message : String(error)}.`, {
			cause: error,
		});
	}
}

function collect(value: string, before: readonly string[] | undefined): readonly string[] {
	return [...(before ?? []), value];
}
