import path from 'node:path';
import {
	type Adapter,
	type ByteSource,
	type ConversionPlan,
	decodeAdapter,
	expandAdapter,
	FormatError,
	loadKernel,
	parseSize,
	planAdapter,
	plannedBytes,
	type ResizedModule,
	type ResizeOptions,
	resizeAdapter,
	resizeDocument,
	resizeText,
	type Warning,
} from '@lorakit/format';
import { checkTarget, planTargets, writePlan } from '@lorakit/format/node';
import { Option } from 'commander';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { openInput } from '../open-input.js';
import { baseOption, dtypeOf, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { containerOf } from '../output-names.js';
import { createProgress, sizeText } from '../progress.js';
import { type RankFlags, rankRule } from '../rank-rule.js';
import { readBase } from '../read-base.js';
import { createResizePool } from '../resize/resize-pool.js';
import { printSchema } from '../schema.js';

interface ResizeFlags extends ReadFlags, RankFlags {
	readonly size?: string | undefined;
	readonly expand?: boolean | undefined;
	readonly dtype?: 'f16' | 'bf16' | 'f32' | undefined;
	readonly to?: string | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora resize IN OUT --rank N` */
export const resizeCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[files...]', 'IN OUT')
			.option('--rank <n>', 'new rank; beside another rule: at most this', Number)
			.option('--conv-rank <n>', 'new rank of k x k convolutions', Number)
			.option('--sv-ratio <r>', "keep singular values above the largest / r (kohya's sv_ratio)", Number)
			.option('--sv-fro <f>', "keep the share f of the Frobenius norm (kohya's sv_fro)", Number)
			.option('--sv-cumulative <c>', "keep the share c of the sum of singular values (kohya's sv_cumulative)", Number)
			.option('--size <size>', 'best ranks for a file of at most this size: 3.29MB, 36MiB, 500000')
			.option('--expand', 'write LoHa, LoKr and LoCon as plain LoRA; without a rule exactly, at full rank')
			.addOption(new Option('--dtype <dtype>', 'type of all factors; default: as they are').choices(['f16', 'bf16', 'f32']))
			.option('--to <layout>', 'write in this layout; default: that of IN');
		baseOption(readingOptions(command))
			.option('--allow-loss', 'go on where something has no place in the target; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'compute everything, print every module, write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora resize big.safetensors small.safetensors --rank 16',
					'lora resize big.safetensors small.safetensors --sv-fro 0.95 --rank 64 --dtype f16',
					'lora resize big.safetensors small.safetensors --size 9.9MB --json',
					'lora resize loha.safetensors plain.safetensors --expand --dtype f32',
				)}
Each module is replaced by its nearest product of lower rank; the scaling (alpha / rank) stays what it was. The
stated error is |new - old| / |old| of what will be stored, in float64.
`,
			)
			.action(async (files: readonly string[], flags: ResizeFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'resize');
				const [input = '', target = ''] = checkFiles(files);
				const rule = ruleOf(flags);
				try {
					await resize(input, target, rule, flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, input, error, true);
				}
			});
	},
};

function checkFiles(files: readonly string[]): readonly string[] {
	if (files.length === 2 && files[1] !== '-') return files;
	throw new FormatError(
		'E_USAGE',
		files[1] === '-' ? 'resize writes a file, not standard output; name OUT.' : 'resize takes IN and OUT. See "lora resize --help".',
	);
}

type Rule = ResizeOptions['rule'];

/** The one rule that was asked for; undefined for `--expand` alone. */
function ruleOf(flags: ResizeFlags): Rule | undefined {
	const size = flags.size === undefined ? [] : [{ kind: 'size', bytes: parseSize(flags.size) } as const];
	const rule = rankRule(flags, size, '--sv-ratio, --sv-fro, --sv-cumulative and --size');
	if (rule !== undefined) return rule;
	if (flags.expand === true) return undefined;
	throw new FormatError(
		'E_USAGE',
		'Say how far: --rank N, --sv-ratio R, --sv-fro F, --sv-cumulative C or --size 3.29MB (or --expand alone). See "lora resize --help".',
	);
}

function ruleText(rule: Rule | undefined, flags: ResizeFlags): string {
	if (rule === undefined) return 'expand';
	const cap = rule.kind !== 'rank' && flags.rank !== undefined ? `, rank at most ${flags.rank}` : '';
	return `${rule.kind} ${rule.kind === 'rank' ? rule.rank : rule.kind === 'size' ? rule.bytes : rule.value}${cap}`;
}

async function resize(input: string, target: string, rule: Rule | undefined, flags: ResizeFlags, output: Output): Promise<void> {
	const container = containerOf(target);
	await loadKernel();
	const base = flags.base === undefined ? undefined : await readBase(flags.base);
	const opened = await openInput(input, { values: true, base });
	try {
		checkTarget(target, flags.force ?? false, [...opened.sources, ...opened.companions]);
		const decoded = decodeAdapter(opened.input, { from: flags.from, order: flags.order, repair: flags.repair });
		const to = flags.to ?? decoded.layout.id;
		const plan = (adapter: Adapter): ConversionPlan => planAdapter(adapter, { to, container, allowLoss: flags.allowLoss });
		const dtype = dtypeOf(flags.dtype);
		const hada = decoded.adapter.modules.some((m) => m.family === 'loha' || m.family === 'lokr');
		// A PEFT file has one method: what becomes LoRA takes the rest with it.
		const expand = flags.expand === true || (to === 'peft' && hada);
		if (expand && flags.expand !== true) output.note('a PEFT file holds one method, so every LoHa and LoKr is written as LoRA.');
		const inputBytes = opened.sources.reduce((sum, { size }) => sum + size, 0);
		const pool = createResizePool(inputBytes);
		const progress = createProgress(output, input);
		const result = await compute(decoded.adapter, rule, {
			dtype,
			base,
			expand,
			maxRank: rule?.kind === 'rank' ? undefined : flags.rank,
			convRank: flags.convRank,
			bytesOf: (adapter) => bytesOf(plan(adapter), target),
			onProgress: progress.update,
			run: pool?.run,
			jobs: pool?.jobs,
		}).finally(async () => {
			progress.end();
			await pool?.close();
		});
		const planned = plan(result.adapter);
		const outputs =
			flags.dryRun === true ? planTargets(planned, target) : await write(planned, target, flags, opened.sources, opened.companions);
		const doc = resizeDocument({
			input: opened.main,
			inputBytes,
			outputs: outputs.map((file, i) => ({
				path: file,
				container: planned.files[i]?.container ?? 'text',
				bytes: bytesOfFile(planned, i, target),
			})),
			plan: planned,
			rule: ruleText(rule, flags),
			dryRun: flags.dryRun === true,
			modules: result.modules,
			warnings: [...result.warnings, ...planned.warnings, ...(flags.dryRun === true ? [] : planned.tally())],
		});
		if (flags.json === true) output.document(doc, true);
		else if (flags.quiet === true) for (const file of outputs) output.line(file);
		else output.text(resizeText(doc, sizeText));
		output.warn(doc.warnings);
	} finally {
		await opened.close();
	}
}

interface ComputeOptions extends Omit<ResizeOptions, 'rule'> {
	readonly expand: boolean;
}

interface Computed {
	readonly adapter: Adapter;
	readonly modules: readonly ResizedModule[];
	readonly warnings: readonly Warning[];
}

/** Ranks where asked for; then what is still LoHa, LoKr or LoCon as LoRA where asked for. */
async function compute(adapter: Adapter, rule: Rule | undefined, options: ComputeOptions): Promise<Computed> {
	const result = rule === undefined ? undefined : await resizeAdapter(adapter, { ...options, rule });
	if (!options.expand && result !== undefined) return result;
	const expansion = expandAdapter(result?.adapter ?? adapter, { dtype: options.dtype, base: options.base });
	if (result === undefined && expansion.modules.length === 0) {
		throw new FormatError('E_EMPTY_ADAPTER', 'Nothing in it is LoHa, LoKr or LoCon that a LoRA can say, so there is nothing to expand.');
	}
	const expanded = new Map(expansion.modules.map((m) => [`${m.component} ${m.path}`, m]));
	const before = result?.modules ?? adapter.modules.map(carried);
	return {
		adapter: expansion.adapter,
		warnings: [...(result?.warnings ?? []), ...expansion.warnings],
		modules: before.map((m): ResizedModule => {
			const found = expanded.get(`${m.component} ${m.path}`);
			return found === undefined ? m : { ...m, how: 'resized', why: null, newRank: found.rank, error: found.exact ? 0 : null };
		}),
	};
}

function carried({ component, path: name, family, rank }: Adapter['modules'][number]): ResizedModule {
	const own = rank ?? null;
	const why = 'it is no LoHa, LoKr or LoCon';
	return { component, path: name, family, how: 'carried', why, oldRank: own, newRank: own, energyKept: 1, error: 0, norm: null };
}

async function write(
	plan: ConversionPlan,
	target: string,
	flags: ResizeFlags,
	sources: readonly ByteSource[],
	companions: readonly string[],
): Promise<readonly string[]> {
	return writePlan(plan, target, { force: flags.force, inputs: [...sources, ...companions] });
}

function stemsOf(plan: ConversionPlan, target: string): readonly string[] {
	return planTargets(plan, target).map((file) => path.basename(file, path.extname(file)));
}

function bytesOf(plan: ConversionPlan, target: string): number {
	return plannedBytes(plan, stemsOf(plan, target));
}

function bytesOfFile(plan: ConversionPlan, i: number, target: string): number | null {
	const file = plan.files[i];
	if (file !== undefined) return plannedBytes({ files: [file], sideFiles: new Map() }, stemsOf(plan, target).slice(i));
	const text = [...plan.sideFiles.values()][i - plan.files.length];
	return text === undefined ? null : Buffer.byteLength(text);
}
