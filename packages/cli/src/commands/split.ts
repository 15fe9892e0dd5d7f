import fs from 'node:fs';
import path from 'node:path';
import {
	type AdapterSplit,
	type ConversionPlan,
	decodeAdapter,
	EMBEDDINGS_PART,
	embeddingFiles,
	FormatError,
	planAdapter,
	splitAdapter,
	type Warning,
} from '@lorakit/format';
import { checkTarget } from '@lorakit/format/node';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { type OpenedInput, openInput } from '../open-input.js';
import { baseOption, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { containerOf, stemOf } from '../output-names.js';
import { createProgress } from '../progress.js';
import { readBase } from '../read-base.js';
import { printSchema } from '../schema.js';
import { type WrittenAdapter, writePlanned } from '../write-adapter.js';

interface SplitFlags extends ReadFlags {
	readonly outDir?: string | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora split IN --out-dir DIR` */
export const splitCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[file]', 'IN')
			.option('--out-dir <dir>', 'folder for STEM.unet.safetensors, STEM.text_encoder.safetensors, ... (peft: UNET/, ...)');
		baseOption(readingOptions(command))
			.option('--allow-loss', 'go on where something has no place in its file; each loss is named')
			.option('-f, --force', 'replace files that are there')
			.option('-n, --dry-run', 'print what would be written and write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples('lora split my-lora.safetensors --out-dir parts', 'lora join parts/*.safetensors --out again.safetensors')}
Each component of the adapter and its embeddings go to files of their own, in the layout of IN, tensors as they are, each with the whole header.
`,
			)
			.action(async (file: string | undefined, flags: SplitFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'split');
				if (file === undefined || flags.outDir === undefined)
					throw new FormatError('E_USAGE', 'split takes IN and --out-dir DIR. See "lora split --help".');
				try {
					await split(file, flags.outDir, flags, output);
				} catch (error) {
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, file, error, true);
				}
			});
	},
};

interface Part {
	readonly name: string;
	readonly target: string;
	readonly plan: ConversionPlan;
}

async function split(file: string, outDir: string, flags: SplitFlags, output: Output): Promise<void> {
	const base = flags.base === undefined ? undefined : await readBase(flags.base);
	const opened = await openInput(file, { values: true, base });
	try {
		for (const companion of opened.companions) output.note(`${companion} belongs to ${opened.main} and is used.`);
		const { adapter, layout } = decodeAdapter(opened.input, { from: flags.from, order: flags.order, repair: flags.repair });
		const parts = splitAdapter(adapter).map((part): Part => planPart(part, layout.id, opened.main, outDir, flags));
		const written = await writeParts(parts, opened, flags, output);
		const warnings: readonly Warning[] = written.flatMap(({ part, result }) =>
			result.warnings.map((w) => ({ ...w, message: `${part.name}: ${w.message}` })),
		);
		const doc = {
			schema: 'lora.split/1',
			dryRun: flags.dryRun === true,
			input: opened.main,
			layout: layout.id,
			parts: written.map(({ part, result }) => ({
				part: part.name,
				outputs: result.outputs,
				tensors: part.plan.files.reduce((n, f) => n + f.tensors.size, 0),
			})),
			warnings: warnings.map(({ code, message, at }) => ({ code, message, at: at ?? null })),
		};
		if (flags.json === true) output.document(doc, true);
		else if (flags.quiet === true) for (const { outputs } of doc.parts) for (const out of outputs) output.line(out.path);
		else {
			output.line(`${opened.main} (${layout.id})`);
			for (const part of doc.parts)
				output.line(`  ${part.part} -> ${part.outputs.map((o) => o.path).join(', ')}  (${part.tensors} tensors)`);
			if (doc.dryRun) output.line('  nothing was written (--dry-run)');
		}
		output.warn(warnings);
	} finally {
		await opened.close();
	}
}

function planPart({ part, adapter }: AdapterSplit, to: string, main: string, outDir: string, flags: SplitFlags): Part {
	const name = path.basename(main.split(/[?#]/)[0] ?? main);
	const extension = path.extname(name) === '' ? '.safetensors' : path.extname(name);
	const target =
		part !== EMBEDDINGS_PART && to === 'peft'
			? path.join(outDir, part, 'adapter_model.safetensors')
			: path.join(outDir, `${stemOf(name)}.${part}${part === EMBEDDINGS_PART ? '.safetensors' : extension}`);
	const options = { to, container: containerOf(target), allowLoss: flags.allowLoss };
	if (part !== EMBEDDINGS_PART) return { name: part, target, plan: planAdapter(adapter, options) };
	// Textual inversion files: the form in which every reader takes embeddings by themselves.
	const files = embeddingFiles(adapter.embeddings).map(({ tensors, metadata, fileStemSuffix }, i) => ({
		suffix: i === 0 ? '' : `${fileStemSuffix}.safetensors`,
		tensors,
		metadata,
		top: 'dict' as const,
		container: 'safetensors' as const,
		beside: i > 0,
	}));
	const plan = planAdapter({ ...adapter, embeddings: [] }, { to: 'kohya', allowLoss: true });
	return { name: part, target, plan: { ...plan, files, sideFiles: new Map(), warnings: [], tally: () => [] } };
}

async function writeParts(
	parts: readonly Part[],
	opened: OpenedInput,
	flags: SplitFlags,
	output: Output,
): Promise<readonly { readonly part: Part; readonly result: WrittenAdapter }[]> {
	const inputs = [...opened.sources, ...opened.companions];
	if (flags.dryRun !== true) for (const { target } of parts) makeFolder(path.dirname(target));
	// All or nothing would need one rename for all; what can be known beforehand is asked beforehand.
	if (flags.dryRun !== true) for (const { target } of parts) checkTarget(target, flags.force ?? false, inputs);
	const written: { part: Part; result: WrittenAdapter }[] = [];
	for (const part of parts) {
		const progress = createProgress(output, part.target);
		const request = { output: part.target, force: flags.force, inputs: [opened], onProgress: progress.update };
		const result = flags.dryRun === true ? await dryRun(part) : await writePlanned(part.plan, request).finally(() => progress.end());
		written.push({ part, result });
	}
	return written;
}

/** The folder may not be there yet, so nothing is asked of the file system. */
async function dryRun({ plan, target }: Part): Promise<WrittenAdapter> {
	const stem = stemOf(target);
	return {
		plan,
		outputs: plan.files.map((f) => ({ path: f.suffix === '' ? target : `${stem}${f.suffix}`, container: f.container, bytes: null })),
		warnings: plan.warnings,
	};
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
