import {
	decodeAdapter,
	FormatError,
	findLayout,
	loadKernel,
	MERGE_METHODS,
	type MergeBase,
	type MergeOptions,
	type MergeResult,
	type MergeVerification,
	makeMergeRecipe,
	mergeAdapters,
	mergeBase,
	mergeDocument,
	mergeText,
	verifyMerge,
	type Warning,
	withRecipe,
} from '@lorakit/format';
import { Option } from 'commander';
import { closeAdapters, type OpenedAdapter, openAdapterSpecs } from '../adapter-specs.js';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { type OpenedBase, openBase } from '../fuse/open-base.js';
import { openInput } from '../open-input.js';
import { baseOption, dtypeOf, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { containerOf } from '../output-names.js';
import { createProgress, sizeText } from '../progress.js';
import { printSchema } from '../schema.js';
import { checkOutput, writeAdapter } from '../write-adapter.js';

/** Replaced by the bundler with the version of package.json. */
declare const LORAKIT_VERSION: string;

interface MergeFlags extends ReadFlags {
	readonly out?: string | undefined;
	readonly to: string;
	readonly method?: MergeOptions['method'];
	readonly rank?: string | undefined;
	readonly density?: number | undefined;
	readonly majoritySign?: MergeOptions['majoritySign'];
	readonly on?: MergeOptions['on'];
	readonly seed?: number | undefined;
	readonly t?: number | undefined;
	readonly lbw?: string | undefined;
	readonly dtype?: 'f16' | 'bf16' | 'f32' | 'f64' | undefined;
	readonly embeddings?: MergeOptions['embeddings'];
	readonly verify?: boolean | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** `lora merge A@0.7 B@-0.4 … --out OUT` */
export const mergeCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[adapters...]', 'PATH[@scale][:unet=0.5,te=0,lbw=...], any number')
			.option('-o, --out <file>', '.safetensors, or .pt, .bin, .ckpt, .pth for a torch file')
			.option('--to <layout>', 'diffusers, peft, kohya (a1111, comfy), cloneofsimo, ...', 'diffusers')
			.addOption(
				new Option(
					'--method <method>',
					'concat: the exact sum; svd: the sum at a lower rank; the others as PEFT and mergekit define them',
				).choices([...MERGE_METHODS]),
			)
			.option('--rank <n>', 'largest rank of a module (method svd, unless said otherwise); full: whole differences')
			.option('--density <d>', 'share of the elements that ties, dare-* and magnitude-prune keep (default: 0.5)', Number)
			.addOption(new Option('--majority-sign <how>', 'how ties and dare-ties elect a sign').choices(['total', 'frequency']))
			.addOption(
				new Option(
					'--on <what>',
					"delta: of whole differences (PEFT's _svd variants); factors: each factor for itself (PEFT's plain ones)",
				).choices(['delta', 'factors']),
			)
			.option('--seed <n>', 'for dare-linear and dare-ties (default: 0)', Number)
			.option('--t <t>', 'for slerp: 0 is the first adapter, 1 the second (default: 0.5)', Number)
			.option('--lbw <weights>', 'block weights for adapters that name none: 12, 17, 20 or 26 numbers, or ALL, INS, MIDD, OUTALL, ...')
			.addOption(
				new Option(
					'--dtype <dtype>',
					'type of all factors; default: the widest of the inputs, f32 where half precision would round',
				).choices(['f16', 'bf16', 'f32', 'f64']),
			)
			.addOption(
				new Option('--embeddings <which>', 'a token that two adapters have: which stays, or a new name for the later').choices([
					'refuse',
					'first',
					'last',
					'rename',
				]),
			);
		baseOption(readingOptions(command))
			.option('--verify', 'read OUT again and state its largest error against the float64 result')
			.option('--allow-loss', 'go on where something has no place in the target; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'compute everything, print every module, write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora merge style.safetensors@0.7 detail.safetensors@-0.4 --out both.safetensors',
					'lora merge a.safetensors@0.8:te=0 b.safetensors@0.5 --rank 32 --to kohya --out small.safetensors',
					'lora merge a.safetensors b.safetensors --method ties --density 0.3 --out ties.safetensors',
					'lora merge dora.safetensors@0.5 b.safetensors --base sd15/ --rank 64 --out both.safetensors --verify',
				)}
The default is the exact sum: factors side by side, ranks added up. DoRA, OFT, IA3 and GLoRA at another scale, or in a
module that another adapter has too, need --base (here its weights are read) and become whole differences, or a LoRA
with --rank.
`,
			)
			.action(async (adapters: readonly string[], flags: MergeFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'merge');
				if (adapters.length === 0 || flags.out === undefined)
					throw new FormatError('E_USAGE', 'merge takes at least one ADAPTER[@scale] and --out OUT. See "lora merge --help".');
				findLayout(flags.to);
				try {
					await merge(adapters, flags.out, flags, output);
				} catch (error) {
					// Under --json a refusal is a document too.
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, flags.out, error, true);
				}
			});
	},
};

async function merge(specs: readonly string[], out: string, flags: MergeFlags, output: Output): Promise<void> {
	await loadKernel();
	const base = flags.base === undefined ? undefined : await openBase(flags.base);
	let adapters: readonly OpenedAdapter[] = [];
	try {
		adapters = await openAdapterSpecs(specs, {
			distinct: true,
			from: flags.from,
			order: flags.order,
			repair: flags.repair,
			base: base?.model.inventory,
			blocks: flags.lbw,
			note: (text) => output.note(text),
		});
		await mergeOpened(adapters, base, out, flags, output);
	} finally {
		await closeAdapters(adapters);
		await base?.close();
	}
}

async function mergeOpened(
	adapters: readonly OpenedAdapter[],
	base: OpenedBase | undefined,
	out: string,
	flags: MergeFlags,
	output: Output,
): Promise<void> {
	const inputs = adapters.map((a) => a.opened);
	checkOutput(out, flags.force, inputs);
	const uses = adapters.map((a) => a.use);
	const options = optionsOf(flags, base === undefined ? undefined : mergeBase(base.model));
	const progress = createProgress(output, out);
	let result: MergeResult | undefined;
	const written = await writeAdapter(
		async (scaling) => {
			const merged = await mergeAdapters(uses, { ...options, scaling, onProgress: progress.update });
			const recipe = makeMergeRecipe({
				uses,
				options,
				result: merged,
				hashes: adapters.map((a) => a.sha256),
				tool: 'lorakit',
				version: LORAKIT_VERSION,
			});
			// A torch file has no header: the recipe is ours, so nobody's data is lost without it.
			result = containerOf(out) === 'safetensors' ? withRecipe(merged, recipe) : merged;
			return result.adapter;
		},
		{
			output: out,
			to: flags.to,
			allowLoss: flags.allowLoss,
			force: flags.force,
			dryRun: flags.dryRun,
			inputs,
			onProgress: progress.update,
		},
	)
		.catch((error: unknown) => {
			throw withAdvice(error, result, flags);
		})
		.finally(() => progress.end());
	if (result === undefined) throw new TypeError('nothing was merged');
	const verified = flags.verify === true && flags.dryRun !== true ? await verify(adapters, options, result, out, flags) : undefined;
	const doc = mergeDocument({
		inputs: adapters.map(({ use, opened, sha256 }) => ({ path: opened.main, use, sha256 })),
		outputs: written.outputs,
		to: written.plan.to,
		dryRun: flags.dryRun === true,
		result,
		verified,
		warnings: unique([...result.warnings, ...written.warnings]),
	});
	if (flags.json === true) output.document(doc, true);
	else if (flags.quiet === true) for (const { path: file } of doc.outputs) output.line(file);
	else output.text(mergeText(doc, sizeText));
	if (containerOf(out) !== 'safetensors')
		output.note(`A torch file has no header, so ${out} does not say how it was made; .safetensors would.`);
	for (const note of doc.notes) output.note(note);
	output.warn(doc.warnings);
}

/** Read OUT again. @throws {FormatError} `E_VERIFY` when it is further off than the merge stated. */
async function verify(
	adapters: readonly OpenedAdapter[],
	options: MergeOptions,
	result: MergeResult,
	out: string,
	flags: MergeFlags,
): Promise<MergeVerification> {
	const opened = await openInput(out, { values: true });
	try {
		const { adapter } = decodeAdapter(opened.input, { from: flags.to, order: flags.order });
		const found = await verifyMerge(
			adapters.map((a) => a.use),
			options,
			result.method,
			adapter,
		);
		// Alphas may be rounded to F32 on the way.
		if (found.largest <= 1.01 * result.largestError + 2 ** -22) return found;
		throw new FormatError(
			'E_VERIFY',
			`${out} was written, but read again ${found.worst?.component} ${found.worst?.path} is off by ${found.largest.toPrecision(3)} of its norm, more than the stated ${result.largestError.toPrecision(3)}; do not use it, and report this.`,
			{ at: found.worst?.path },
		);
	} finally {
		await opened.close();
	}
}

/** Layouts that hold other families than LoRA. */
const LYCORIS: ReadonlySet<string> = new Set(['kohya']);

function optionsOf(flags: MergeFlags, base: MergeBase | undefined): MergeOptions {
	return {
		method: flags.method,
		rank: rankOf(flags.rank),
		density: flags.density,
		majoritySign: flags.majoritySign,
		on: flags.on,
		seed: flags.seed,
		t: flags.t,
		dtype: dtypeOf(flags.dtype),
		carry: LYCORIS.has(findLayout(flags.to).id) ? 'as-is' : 'lora',
		base,
		embeddings: flags.embeddings,
		allowUnknown: flags.allowLoss,
	};
}

function rankOf(text: string | undefined): MergeOptions['rank'] {
	return text === undefined || text === 'full' ? text : Number(text);
}

/** A target that holds LoRA alone refuses whole differences: say what would help. */
function withAdvice(error: unknown, result: MergeResult | undefined, flags: MergeFlags): unknown {
	if (!(error instanceof FormatError) || error.code !== 'E_UNSUPPORTED_ADAPTER' || result === undefined) return error;
	const whole = result.modules.filter((m) => m.how === 'dense').length;
	if (whole === 0) return error;
	return new FormatError(
		error.code,
		`${error.message} ${whole} modules of the merge are whole differences: --rank N makes LoRA of them where it may, --to kohya keeps them${flags.to === 'kohya' ? ' as .safetensors' : ''}.`,
		{
			at: error.at,
			cause: error,
		},
	);
}

/** Reading and writing may say the same. */
function unique(warnings: readonly Warning[]): readonly Warning[] {
	const seen = new Set<string>();
	return warnings.filter(({ code, message }) => !seen.has(`${code} ${message}`) && seen.add(`${code} ${message}`));
}
