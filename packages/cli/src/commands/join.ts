import { FormatError, findLayout, joinAdapters } from '@lorakit/format';
import { closeAdapters, openAdapterSpecs } from '../adapter-specs.js';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';
import { checkOutput, writeAdapter } from '../write-adapter.js';

interface JoinFlags extends ReadFlags {
	readonly out?: string | undefined;
	readonly to?: string | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora join A B … --out OUT` */
export const joinCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[files...]', 'adapters of different components')
			.option('-o, --out <file>', '.safetensors, or .pt, .bin, .ckpt, .pth for a torch file')
			.option('--to <layout>', 'write in this layout; default: that of the first file');
		readingOptions(command)
			.option('--allow-loss', 'go on where something has no place in the target; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'print what would be written and write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora join unet.safetensors text_encoder.safetensors --out whole.safetensors',
					'lora join parts/*.safetensors --out again.safetensors --to kohya',
				)}
Tensors are written as they are. Files that touch the same module are refused: "lora merge" adds them.
`,
			)
			.action(async (files: readonly string[], flags: JoinFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'join');
				if (files.length === 0 || flags.out === undefined)
					throw new FormatError('E_USAGE', 'join takes files and --out OUT. See "lora join --help".');
				if (flags.to !== undefined) findLayout(flags.to);
				try {
					await join(files, flags.out, flags, output);
				} catch (error) {
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, flags.out, error, true);
				}
			});
	},
};

async function join(files: readonly string[], out: string, flags: JoinFlags, output: Output): Promise<void> {
	const adapters = await openAdapterSpecs(files, {
		distinct: true,
		from: flags.from,
		order: flags.order,
		repair: flags.repair,
		embeddingsAlone: true,
		note: (text) => output.note(text),
	});
	try {
		const inputs = adapters.map((a) => a.opened);
		checkOutput(out, flags.force, inputs);
		const scaled = adapters.find(
			({ use }) => use.strength.scale !== 1 || use.strength.components.size > 0 || use.strength.blocks !== undefined,
		);
		if (scaled !== undefined)
			throw new FormatError('E_USAGE', `join changes no number, but ${scaled.use.name} has a scale; use "lora merge" or "lora scale".`);
		const joined = await joinAdapters(adapters.map((a) => a.use));
		const layouts = adapters.map(({ use }) => use.adapter).filter((a) => a.modules.length > 0);
		const to = flags.to ?? layouts[0]?.source.layout ?? joined.source.layout;
		const progress = createProgress(output, out);
		const written = await writeAdapter(() => joined, {
			output: out,
			to,
			allowLoss: flags.allowLoss,
			force: flags.force,
			dryRun: flags.dryRun,
			inputs,
			onProgress: progress.update,
		}).finally(() => progress.end());
		const doc = {
			schema: 'lora.join/1',
			dryRun: flags.dryRun === true,
			inputs: adapters.map(({ opened, use }) => ({
				path: opened.main,
				layout: use.adapter.source.layout,
				modules: use.adapter.modules.length,
				embeddings: use.adapter.embeddings.length,
			})),
			outputs: written.outputs,
			to: written.plan.to,
			counts: { modules: joined.modules.length, embeddings: joined.embeddings.length },
			warnings: [...joined.warnings, ...written.warnings].map(({ code, message, at }) => ({ code, message, at: at ?? null })),
		};
		if (flags.json === true) output.document(doc, true);
		else if (flags.quiet === true) for (const file of written.outputs) output.line(file.path);
		else
			output.text(
				`${doc.inputs.map((i) => i.path).join(' + ')} -> ${out}  (${doc.to})\n  modules  ${doc.counts.modules}${doc.counts.embeddings > 0 ? `\n  embeddings ${doc.counts.embeddings}` : ''}\n${doc.dryRun ? '  nothing was written (--dry-run)\n' : ''}`,
			);
		output.warn(doc.warnings);
	} finally {
		await closeAdapters(adapters);
	}
}
