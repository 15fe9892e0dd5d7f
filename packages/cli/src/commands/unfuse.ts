import { FormatError } from '@lorakit/format';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { runUnfuse } from '../fuse/fuse-unfuse.js';
import { outputOptions } from '../options.js';
import type { Output, OutputMode } from '../output.js';
import { createProgress, sizeText } from '../progress.js';
import { printSchema } from '../schema.js';

interface UnfuseFlags extends OutputMode {
	readonly schema?: boolean | undefined;
	readonly out?: string | undefined;
	readonly sidecar?: string | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora unfuse FUSED --out OUT` */
export const unfuseCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[fused]', 'what "lora fuse --reversible" wrote: a folder or a file')
			.option('-o, --out <path>', 'where the base goes: a folder where FUSED is one, else a file')
			.option('--sidecar <file>', 'the way back, where it is not lorakit.unfuse.safetensors in the folder, or FUSED.unfuse')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'check everything but the result, and write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples('lora unfuse fused.safetensors --out base.safetensors', 'lora unfuse fused/ --out stable-diffusion-v1-5/')}
FUSED must be the very file that fuse wrote, and the result must have the SHA-256 of the base, or nothing is written.
`,
			)
			.action(async (fused: string | undefined, flags: UnfuseFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'unfuse');
				if (fused === undefined || flags.out === undefined) {
					throw new FormatError('E_USAGE', 'unfuse takes FUSED and --out OUT. See "lora unfuse --help".');
				}
				try {
					await unfuseAndPrint(fused, flags.out, flags, output);
				} catch (error) {
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, fused, error, true);
				}
			});
	},
};

async function unfuseAndPrint(fused: string, out: string, flags: UnfuseFlags, output: Output): Promise<void> {
	const progress = createProgress(output, out);
	const dryRun = flags.dryRun === true;
	const result = await runUnfuse({
		fused,
		out,
		sidecar: flags.sidecar,
		force: flags.force === true,
		dryRun,
		onProgress: progress.update,
	}).finally(() => progress.end());
	if (output.mode.json === true) {
		output.document(
			{ schema: 'lora.unfuse/1', dryRun, fused, output: out, sidecar: result.sidecar, files: result.files, copied: result.copied },
			true,
		);
	} else if (output.mode.quiet === true) output.line(out);
	else {
		output.line(`${fused} -> ${out}  (way back: ${result.sidecar})`);
		for (const { path, bytes, sha256, tensors } of result.files)
			output.line(`  ${path}: ${tensors} tensors changed back, ${sizeText(bytes)}, SHA-256 ${sha256}`);
		if (result.copied > 0) output.line(`  ${result.copied} other files copied as they are, unchecked: fuse did not change them`);
		output.line(dryRun ? '  nothing was written (--dry-run)' : backText(result));
	}
}

/** What is proven: the files that fuse changed, not what lies beside them. */
function backText({ files, copied }: Awaited<ReturnType<typeof runUnfuse>>): string {
	if (copied === 0) return '  bit for bit the base';
	return files.length === 0 ? '  fuse changed nothing' : '  bit for bit the base in every file that fuse changed';
}
