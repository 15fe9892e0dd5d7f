import { type Adapter, decodeAdapter, FormatError, type ScaledAdapter, scaleAdapter, strengthFor } from '@lorakit/format';
import { type CliCommand, examples } from '../command.js';
import { reportFailure } from '../each-file.js';
import { openInput } from '../open-input.js';
import { baseOption, outputOptions, type ReadFlags, readingOptions } from '../options.js';
import type { Output } from '../output.js';
import { createProgress } from '../progress.js';
import { readBase } from '../read-base.js';
import { printSchema } from '../schema.js';
import { checkOutput, writeAdapter } from '../write-adapter.js';

interface ScaleFlags extends ReadFlags {
	readonly by?: number | undefined;
	readonly unet?: number | undefined;
	readonly te?: number | undefined;
	readonly te1?: number | undefined;
	readonly te2?: number | undefined;
	readonly te3?: number | undefined;
	readonly transformer?: number | undefined;
	readonly lbw?: string | undefined;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

const PARTS = ['unet', 'te', 'te1', 'te2', 'te3', 'transformer'] as const;

/** `lora scale IN OUT --by 0.5` */
export const scaleCommand: CliCommand = {
	define(command, context) {
		command
			.argument('[files...]', 'IN OUT')
			.option('--by <x>', 'multiply the strength of everything', Number)
			.option('--unet <x>', 'of the UNet', Number)
			.option('--transformer <x>', 'of the transformer', Number)
			.option('--te <x>', 'of every text encoder', Number)
			.option('--te1 <x>', 'of the first text encoder', Number)
			.option('--te2 <x>', 'of the second', Number)
			.option('--te3 <x>', 'of the third', Number)
			.option('--lbw <weights>', 'of blocks: 12, 17, 20 or 26 numbers, or ALL, NONE, INS, MIDD, OUTALL, ...');
		baseOption(readingOptions(command))
			.option('--allow-loss', 'go on where something has no place in the file; each loss is named')
			.option('-f, --force', 'replace OUT when it is there')
			.option('-n, --dry-run', 'print what would change and write nothing');
		outputOptions(command)
			.addHelpText(
				'after',
				`${examples(
					'lora scale strong.safetensors soft.safetensors --by 0.6',
					'lora scale a.safetensors b.safetensors --te 0',
					'lora scale a.safetensors b.safetensors --lbw 1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0',
				)}
OUT has the layout of IN. Where alpha says the strength, alpha alone changes and no factor is touched; else the factors
are multiplied and rounded once.
`,
			)
			.action(async (files: readonly string[], flags: ScaleFlags) => {
				const output = context.open(flags);
				if (flags.schema === true) return printSchema(output, 'scale');
				const [input, target] = files;
				if (input === undefined || target === undefined || files.length > 2)
					throw new FormatError('E_USAGE', 'scale takes IN and OUT. See "lora scale --help".');
				if (flags.by === undefined && flags.lbw === undefined && PARTS.every((part) => flags[part] === undefined))
					throw new FormatError('E_USAGE', 'Say by how much: --by X, --unet X, --te X, --lbw … See "lora scale --help".');
				try {
					await scale(input, target, flags, output);
				} catch (error) {
					if (flags.json !== true || !(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
					reportFailure(output, input, error, true);
				}
			});
	},
};

async function scale(input: string, target: string, flags: ScaleFlags, output: Output): Promise<void> {
	const base = flags.base === undefined ? undefined : await readBase(flags.base);
	const opened = await openInput(input, { values: true, base });
	try {
		checkOutput(target, flags.force, [opened]);
		for (const file of opened.companions) output.note(`${file} belongs to ${opened.main} and is used.`);
		const { adapter, layout } = decodeAdapter(opened.input, { from: flags.from, order: flags.order, repair: flags.repair });
		const strength = strengthFor({ scale: finite('--by', flags.by ?? 1), parts: partsOf(flags), blocks: flags.lbw }, adapter);
		let result: ScaledAdapter | undefined;
		const make = (scaling: 'auto' | 'fold'): Adapter => {
			result = scaleAdapter(adapter, strength, { how: scaling === 'fold' ? 'fold' : 'alpha' });
			return result.adapter;
		};
		const progress = createProgress(output, target);
		const written = await writeAdapter(make, {
			output: target,
			to: layout.id,
			allowLoss: flags.allowLoss,
			force: flags.force,
			dryRun: flags.dryRun,
			inputs: [opened],
			onProgress: progress.update,
		}).finally(() => progress.end());
		const { changed = 0, folded = 0, warnings: own = [] } = result ?? {};
		const doc = {
			schema: 'lora.scale/1',
			dryRun: flags.dryRun === true,
			input: opened.main,
			outputs: written.outputs,
			layout: layout.id,
			by: strength.scale,
			components: Object.fromEntries(strength.components),
			blocks: strength.blocks?.text ?? null,
			counts: { modules: adapter.modules.length, changed, folded },
			warnings: [...own, ...written.warnings].map(({ code, message, at }) => ({ code, message, at: at ?? null })),
		};
		if (flags.json === true) output.document(doc, true);
		else if (flags.quiet === true) for (const file of written.outputs) output.line(file.path);
		else
			output.text(
				`${opened.main} -> ${target}  (${layout.id})\n  modules  ${doc.counts.modules}: ${changed - folded} through alpha, ${folded} in the factors, ${doc.counts.modules - changed} as they were\n${doc.dryRun ? '  nothing was written (--dry-run)\n' : ''}`,
			);
		output.warn(doc.warnings);
	} finally {
		await opened.close();
	}
}

function partsOf(flags: ScaleFlags): ReadonlyMap<string, number> {
	const parts = new Map<string, number>();
	for (const part of PARTS) {
		const value = flags[part];
		if (value !== undefined) parts.set(part, finite(`--${part}`, value));
	}
	return parts;
}

function finite(flag: string, value: number): number {
	if (Number.isFinite(value)) return value;
	throw new FormatError('E_USAGE', `${flag} must be a number.`);
}
