import {
	type ConversionPlan,
	type ExtractOptions,
	extractAdapter,
	extractDocument,
	extractText,
	FormatError,
	loadKernel,
	planAdapter,
	plannedBytes,
} from '@lorakit/format';
import { checkTarget, isGlob, matchName, planTargets, writePlan } from '@lorakit/format/node';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { openBase } from '../fuse/open-base.js';
import { dtypeOf, outputOptions, type ReadFlags } from '../options.js';
import type { Output } from '../output.js';
import { containerOf } from '../output-names.js';
import { createProgress, sizeText } from '../progress.js';
import { type RankFlags, rankRule } from '../rank-rule.js';
import { printSchema } from '../schema.js';

interface ExtractFlags extends ReadFlags, RankFlags {
	readonly out?: string | undefined;
	readonly to: string;
	readonly dtype?: 'f16' | 'bf16' | 'f32' | undefined;
	readonly only: string;
	readonly fullRest?: boolean | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora extract TUNED BASE --rank N --out OUT` */
export const extractCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[models...]', 'TUNED BASE: two models of one kind, diffusers folders or single files')
			.option('--rank <n>', 'rank of every module; beside another rule: at most this', Number)
			.option('--conv-rank <n>', 'rank of k x k convolutions', Number)
			.option('--sv-ratio <r>', 'keep singular values above the largest / r', Number)
			.option('--sv-fro <f>', 'keep the share f of the Frobenius norm', Number)
			.option('--sv-cumulative <c>', 'keep the share c of the sum of singular values', Number)
			.option('--out <file>', 'the adapter to write')
			.option('--to <layout>', 'its layout', 'diffusers')
			.addOption(new Option('--dtype <dtype>', 'type of the factors; default: that of TUNED').choices(['f16', 'bf16', 'f32']))
			.option('--only <which>', 'attention, all, or a pattern over "COMPONENT PATH" with * and ?', 'all')
			.option('--full-rest', 'carry norms, biases and embeddings as full differences')
			.option('--allow-loss', 'go on where something has no place in the target; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'compute everything, print every module, write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora extract tuned.safetensors sd15.safetensors --rank 32 --out style.safetensors',
					'lora extract tuned/ sd15/ --rank 16 --only attention --to kohya --dtype f16 --out style.safetensors',
					'lora extract tuned.safetensors sd15.safetensors --sv-fro 0.9 --rank 64 --full-rest --to kohya --out style.safetensors',
				)}
Each weight's difference is replaced by its best approximation of the rank (scaling 1, so alpha = rank). The stated
error is |stored - difference| / |difference|, in float64. What differs and is not carried is named.
`,
			)
			.action(async (models: readonly string[], flags: ExtractFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'extract');
				if (models.length !== 2) throw new FormatError('E_USAGE', 'extract takes TUNED and BASE. See "lora extract --help".');
				const [tuned = '', base = ''] = models;
				const rule = ruleOf(flags);
				if (flags.out === undefined) throw new FormatError('E_USAGE', 'Name the adapter to write: --out FILE.');
				try {
					await extract(tuned, base, flags.out, rule, flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, tuned, error, true);
				}
			});
	},
};

function ruleOf(flags: ExtractFlags): ExtractOptions['rule'] {
	const rule = rankRule(flags, [], '--sv-ratio, --sv-fro and --sv-cumulative');
	if (rule !== undefined) return rule;
	throw new FormatError('E_USAGE', 'Say the rank: --rank N, or --sv-ratio R, --sv-fro F, --sv-cumulative C. See "lora extract --help".');
}

async function extract(
	tunedSpec: string,
	baseSpec: string,
	target: string,
	rule: ExtractOptions['rule'],
	flags: ExtractFlags,
	output: Output,
): Promise<void> {
	const container = containerOf(target);
	await loadKernel();
	const tuned = await openBase(tunedSpec);
	try {
		const base = await openBase(baseSpec);
		try {
			const inputs = [...tuned.sources.values(), ...base.sources.values()];
			checkTarget(target, flags.force ?? false, inputs);
			const progress = createProgress(output, tunedSpec);
			const result = await extractAdapter(tuned.model, base.model, {
				rule,
				maxRank: rule.kind === 'rank' ? undefined : flags.rank,
				convRank: flags.convRank,
				only: onlyOf(flags.only),
				dtype: dtypeOf(flags.dtype),
				fullRest: flags.fullRest,
				onProgress: progress.update,
			}).finally(() => progress.end());
			const plan = planAdapter(result.adapter, { to: flags.to, container, allowLoss: flags.allowLoss });
			const paths = flags.dryRun === true ? planTargets(plan, target) : await writePlan(plan, target, { force: flags.force, inputs });
			const doc = extractDocument({
				tuned: tunedSpec,
				base: baseSpec,
				outputs: paths.map((path, i) => ({ path, container: plan.files[i]?.container ?? 'text', bytes: bytesOf(plan, i) })),
				to: plan.to,
				dryRun: flags.dryRun === true,
				extraction: result,
				warnings: [...result.warnings, ...plan.warnings],
			});
			if (flags.json === true) output.document(doc, true);
			else if (flags.quiet === true) for (const path of paths) output.line(path);
			else output.text(extractText(doc, sizeText));
			output.warn(doc.warnings);
		} finally {
			await base.close();
		}
	} finally {
		await tuned.close();
	}
}

function onlyOf(text: string): ExtractOptions['only'] {
	if (text === 'attention' || text === 'all') return text;
	return (name) => (isGlob(text) ? matchName(text, name) : name === text);
}

function bytesOf(plan: ConversionPlan, i: number): number | null {
	const file = plan.files[i];
	return file === undefined || file.container === 'torch-zip' ? null : plannedBytes({ files: [file], sideFiles: new Map() });
}
