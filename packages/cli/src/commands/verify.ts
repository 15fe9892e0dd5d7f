import { type AdapterUse, type BaseModel, FormatError, loadKernel, type VerifyReport, variantsOf, verifyFused } from '@lorakit/format';
import { Option } from 'commander';
import { closeAdapters, openAdapterSpecs } from '../adapter-specs.js';
import { type CliCommand, examples } from '../command.js';
import { DORA_STRENGTH_HELP, DORA_STRENGTHS, type DoraStrengthWord, doraRule } from '../dora-strength.js';
import { reportFailure } from '../each-file.js';
import type { FuseReading } from '../fuse/fuse-request.js';
import { verifyDocument, verifyText } from '../fuse/fuse-verify-report.js';
import { openBase } from '../fuse/open-base.js';
import { outputOptions, readingOptions } from '../options.js';
import type { Output, OutputMode } from '../output.js';
import { createProgress } from '../progress.js';
import { printSchema } from '../schema.js';

interface VerifyFlags extends OutputMode, FuseReading {
	readonly schema?: boolean | undefined;
	readonly all?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	/** Has a default. */
	readonly doraStrength: DoraStrengthWord;
}

/** `lora verify BASE ADAPTER[@scale]… FUSED` */
export const verifyCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[paths...]', 'BASE, then one or more ADAPTER[@scale], then FUSED')
			.option('--all', 'list every tensor, not only blocks')
			.option('-n, --dry-run', 'accepted and without effect: verify writes nothing')
			.addOption(new Option('--dora-strength <how>', DORA_STRENGTH_HELP).choices([...DORA_STRENGTHS]).default(DORA_STRENGTHS[0]));
		outputOptions(readingOptions(command))
			.addHelpText(
				'after',
				`${examples(
					'lora verify base.safetensors style.safetensors@0.8 fused.safetensors',
					'lora verify stable-diffusion-v1-5/ style.safetensors merged-by-another-tool/ --json',
				)}
Right is: every element within one rounding step of base + adapters, and everything else unchanged. Gain is how much of
the expected change is there (0.25 where a strength of 0.5 was squared), cosine whether it is the same change.
`,
			)
			.action(async (paths: readonly string[], flags: VerifyFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'verify');
				if (paths.length < 3)
					throw new FormatError('E_USAGE', 'verify takes BASE, at least one ADAPTER, and FUSED. See "lora verify --help".');
				const fused = paths[paths.length - 1] ?? '';
				try {
					await verifyAndPrint(paths[0] ?? '', paths.slice(1, -1), fused, flags, output);
				} catch (error) {
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, fused, error, true);
				}
			});
	},
};

async function verifyAndPrint(
	baseSpec: string,
	adapterSpecs: readonly string[],
	fusedSpec: string,
	flags: VerifyFlags,
	output: Output,
): Promise<void> {
	const progress = createProgress(output, fusedSpec);
	const report = await verifyModels(baseSpec, adapterSpecs, fusedSpec, flags, output, progress.update).finally(() => progress.end());
	if (output.mode.json === true) output.document(verifyDocument(report, baseSpec, adapterSpecs, fusedSpec), true);
	else if (output.mode.quiet !== true) output.text(verifyText(report, flags.all === true));
	if (!report.ok) output.refuse([{ code: 'E_VERIFY', message: `${fusedSpec} is not base + adapters: ${report.why ?? report.cause}` }]);
}

async function verifyModels(
	baseSpec: string,
	adapterSpecs: readonly string[],
	fusedSpec: string,
	flags: VerifyFlags,
	output: Output,
	onProgress: ((done: number, total: number) => void) | undefined,
): Promise<VerifyReport> {
	const base = await openBase(baseSpec);
	try {
		const fused = await openBase(fusedSpec);
		try {
			const adapters = await openAdapterSpecs(adapterSpecs, {
				from: flags.from,
				order: flags.order,
				repair: flags.repair,
				base: base.model.inventory,
				note: (text) => output.note(text),
			});
			try {
				await loadKernel();
				return await verifyVariants(
					base.model,
					adapters.map(({ use }) => use),
					fused.model,
					{ doraStrength: doraRule(flags.doraStrength), onProgress },
				);
			} finally {
				await closeAdapters(adapters);
			}
		} finally {
			await fused.close();
		}
	} finally {
		await base.close();
	}
}

/** Every variant of a folder by itself: the report of the first that is not right, else of all. */
async function verifyVariants(
	base: BaseModel,
	uses: readonly AdapterUse[],
	fused: BaseModel,
	options: Parameters<typeof verifyFused>[3],
): Promise<VerifyReport> {
	const reports: VerifyReport[] = [];
	const fusedVariants = variantsOf(fused);
	for (const [i, variant] of variantsOf(base).entries()) reports.push(await verifyFused(variant, uses, fusedVariants[i] ?? fused, options));
	const [first] = reports;
	if (first === undefined) throw new TypeError('a base without a variant');
	return reports.find(({ ok }) => !ok) ?? { ...first, modules: reports.flatMap(({ modules }) => modules) };
}
