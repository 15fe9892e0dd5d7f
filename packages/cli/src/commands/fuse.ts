import { FormatError } from '@lorakit/format';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { DORA_STRENGTH_HELP, DORA_STRENGTHS, type DoraStrengthWord, doraRule } from '../dora-strength.js';
import { reportFailure } from '../each-file.js';
import { fuseDocument, fuseText } from '../fuse/fuse-report.js';
import type { FuseReading, FuseRequest } from '../fuse/fuse-request.js';
import { runFuse } from '../fuse/fuse-run.js';
import { outputOptions, readingOptions } from '../options.js';
import type { Output, OutputMode } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';

/** Replaced by the bundler with the version of package.json. */
declare const LORAKIT_VERSION: string;

interface FuseFlags extends OutputMode, FuseReading {
	readonly schema?: boolean | undefined;
	readonly out?: string | undefined;
	readonly reversible?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	readonly allowNonfinite?: boolean | undefined;
	/** Has a default. */
	readonly doraStrength: DoraStrengthWord;
}

/** `lora fuse BASE ADAPTER[@scale]… --out OUT` */
export const fuseCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[base]', 'a diffusers folder, the folder of one component, or a checkpoint')
			.argument('[adapters...]', 'PATH[@scale][:unet=0.5,te=0,lbw=...], any number')
			.option('-o, --out <path>', 'a folder where BASE is one; else a file: .safetensors, or .ckpt, .pt for a torch file')
			.option('--reversible', 'also write what "lora unfuse" needs to bring the base back, bit for bit')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'print what would change and write nothing')
			.option('--allow-nonfinite', 'results too large for their type become Inf, with a warning, instead of stopping')
			.addOption(new Option('--dora-strength <how>', DORA_STRENGTH_HELP).choices([...DORA_STRENGTHS]).default(DORA_STRENGTHS[0]));
		outputOptions(readingOptions(command))
			.addHelpText(
				'after',
				`${examples(
					'lora fuse v1-5.safetensors style.safetensors --out fused.safetensors',
					'lora fuse stable-diffusion-v1-5/ style.safetensors@0.8 detail.safetensors@0.4:te=0 --out fused/ --reversible',
					'lora unfuse fused/ --out original/',
				)}
All adapters are added in float64 and rounded once. What no adapter touches is copied byte for byte. The scale is what
follows the last @ where that is a number; behind the last colon: unet=, te= (all text encoders), lbw= (blocks).
`,
			)
			.action(async (base: string | undefined, adapters: readonly string[], flags: FuseFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'fuse');
				if (base === undefined || adapters.length === 0 || flags.out === undefined) {
					throw new FormatError('E_USAGE', 'fuse takes BASE, at least one ADAPTER, and --out OUT. See "lora fuse --help".');
				}
				try {
					await fuseAndPrint(base, adapters, flags.out, flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, base, error, true);
				}
			});
	},
};

async function fuseAndPrint(base: string, adapters: readonly string[], out: string, flags: FuseFlags, output: Output): Promise<void> {
	const progress = createProgress(output, out);
	const request: FuseRequest = {
		base,
		adapters,
		out,
		reversible: flags.reversible === true,
		force: flags.force === true,
		dryRun: flags.dryRun === true,
		allowNonfinite: flags.allowNonfinite === true,
		doraStrength: doraRule(flags.doraStrength),
		from: flags.from,
		order: flags.order,
		repair: flags.repair,
		version: LORAKIT_VERSION,
		onProgress: progress.update,
		note: (text) => output.note(text),
	};
	const result = await runFuse(request).finally(() => progress.end());
	if (output.mode.json === true) output.document(fuseDocument(result, request), true);
	else if (output.mode.quiet === true) output.line(out);
	else output.text(fuseText(result, request));
	output.warn(result.warnings);
}
