import path from 'node:path';
import {
	type BaseInventory,
	type ConversionPlan,
	type ConvertOptions,
	FormatError,
	type PlannedFile,
	planConversion,
	quote,
	type Warning,
	writePlannedFile,
} from '@lorakit/format';
import {
	type AtomicOutput,
	assertUnchanged,
	checkTarget,
	createNodeSha256,
	type FileSink,
	type FolderLister,
	planTargets,
	writeFilesAtomic,
	writeStdout,
} from '@lorakit/format/node';
import { openInput } from './open-input.js';
import { containerOf, stemOf } from './output-names.js';
import type { Progress } from './progress.js';

/** One conversion as the command line asks for it. */
export interface ConvertRequest extends Omit<ConvertOptions, 'container'> {
	/** Path, address or `-`. */
	readonly input: string;
	/** Path or `-`. */
	readonly output: string;
	readonly base?: BaseInventory | undefined;
	readonly textEncoder?: string | undefined;
	readonly embeddings?: readonly string[] | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	/** Where to write the receipt. */
	readonly receipt?: string | undefined;
	readonly list?: FolderLister | undefined;
	readonly onProgress?: Progress | undefined;
	/** Told what was found beside the input and what was passed over, before anything is written. */
	readonly note: (text: string) => void;
}

/** A file that was written, or would be. */
export interface WrittenFile {
	readonly path: string;
	readonly container: string;
	/** Bytes on disk; null under `--dry-run`, and for text files beside. */
	readonly bytes: number | null;
}

/** What a conversion did. */
export interface ConvertResult {
	readonly input: string;
	/** Bytes of all input files. */
	readonly inputBytes: number;
	readonly outputs: readonly WrittenFile[];
	readonly plan: ConversionPlan;
	/** The plan's warnings and those that only the data told. */
	readonly warnings: readonly Warning[];
}

interface Target {
	readonly path: string;
	readonly file: PlannedFile;
}

/**
 * Convert one input: read, plan, write all files of the output or none.
 * @throws {FormatError} of every step; nothing is left behind then.
 */
export async function convertOne(request: ConvertRequest): Promise<ConvertResult> {
	const container = containerOf(request.output);
	const opened = await openInput(request.input, {
		values: true,
		companions: request.to !== 'keep',
		textEncoder: request.textEncoder,
		embeddings: request.embeddings,
		base: request.base,
		list: request.list,
	});
	try {
		for (const file of opened.companions)
			if (path.basename(file) !== CONFIG) request.note(`${file} belongs to ${opened.main} and is used.`);
		for (const file of opened.others) request.note(`${file} lies beside ${opened.main} and is not used.`);
		const plan = planConversion(opened.input, { ...request, container, without: leftOut(request) });
		const config = opened.companions.find((file) => path.basename(file) === CONFIG);
		if (config !== undefined) {
			const used = plan.receipt.input.companions.includes(CONFIG);
			request.note(
				`${config} ${used ? `belongs to ${opened.main} and is used` : `lies beside ${opened.main} and is not used: the ${plan.from} layout states its own scaling`}.`,
			);
		}
		const paths = planTargets(plan, request.output);
		const targets = plan.files.map((file, i) => ({ path: paths[i] ?? request.output, file }));
		const sides = [...plan.sideFiles.values()].map((text, i) => ({ path: paths[plan.files.length + i] ?? request.output, text }));
		const bytes = new Map<string, number>();
		const inputs = [...opened.sources, ...opened.companions];
		if (request.dryRun === true) {
			if (request.output !== '-') for (const { path: file } of [...targets, ...sides]) checkTarget(file, request.force ?? false, inputs);
		} else if (request.output === '-') {
			await toStdout(targets, sides, request, () => assertUnchanged(opened.sources), bytes);
			if (request.receipt !== undefined)
				await writeFilesAtomic([textOutput(request.receipt, receiptText(plan))], { force: request.force, inputs });
		} else {
			const outputs = [...tensorOutputs(targets, request, bytes), ...sides.map(({ path: file, text }) => textOutput(file, text))];
			if (request.receipt !== undefined) outputs.push(textOutput(request.receipt, receiptText(plan)));
			await writeFilesAtomic(outputs, { force: request.force, inputs });
		}
		return {
			input: opened.main,
			inputBytes: opened.sources.reduce((sum, source) => sum + source.size, 0),
			outputs: [
				...targets.map(({ path: file, file: { container: kind } }) => ({ path: file, container: kind, bytes: bytes.get(file) ?? null })),
				...sides.map(({ path: file, text }) => ({ path: file, container: 'text', bytes: Buffer.byteLength(text) })),
			],
			plan,
			warnings: [...opened.passedOver.map(notCarried), ...plan.warnings, ...(request.dryRun === true ? [] : plan.tally())],
		};
	} finally {
		await opened.close();
	}
}

const CONFIG = 'adapter_config.json';

/** `--text-encoder none` and `--embeddings none` also leave out what is inside the file. */
function leftOut(request: ConvertRequest): NonNullable<ConvertOptions['without']> {
	return [
		...(request.textEncoder === 'none' ? (['text-encoder'] as const) : []),
		...(request.embeddings?.includes('none') === true ? (['embeddings'] as const) : []),
	];
}

/** `--to keep` changes one file: what belongs to it stays behind, and is named. */
function notCarried(file: string): Warning {
	const what =
		path.basename(file) === CONFIG ? 'it says the strength and is needed beside the output too; copy it there' : 'convert it by itself';
	return { code: 'W_COMPANION', message: `${quote(file)} belongs to the input and is not carried by --to keep: ${what}.`, at: file };
}

function tensorOutputs(targets: readonly Target[], request: ConvertRequest, bytes: Map<string, number>): AtomicOutput[] {
	const total = targets.reduce((sum, { file }) => sum + dataBytes(file), 0);
	let before = 0;
	return targets.map(({ path: target, file }) => ({
		target,
		async write(sink: FileSink) {
			const { onProgress } = request;
			const done = before;
			before += dataBytes(file);
			bytes.set(target, await write(file, target, sink, onProgress === undefined ? undefined : (n) => onProgress(done + n, total)));
		},
	}));
}

function write(file: PlannedFile, target: string, sink: FileSink, onProgress: ((done: number) => void) | undefined): Promise<number> {
	return writePlannedFile(file, sink, { hasher: createNodeSha256, rootName: path.basename(stemOf(target)), onProgress });
}

function receiptText({ receipt }: ConversionPlan): string {
	return `${JSON.stringify(receipt, undefined, 2)}\n`;
}

function textOutput(target: string, text: string): AtomicOutput {
	return { target, write: (sink) => sink.write(new TextEncoder().encode(text)) };
}

async function toStdout(
	targets: readonly Target[],
	sides: readonly { readonly path: string }[],
	request: ConvertRequest,
	assertInputs: () => void,
	bytes: Map<string, number>,
): Promise<void> {
	const [only, ...more] = targets;
	if (only === undefined || more.length > 0 || sides.length > 0) {
		const names = [...targets.slice(1), ...sides].map(({ path: file }) => quote(path.basename(file).replace(/^-/, 'OUT')));
		throw new FormatError(
			'E_USAGE',
			`Standard output takes one file, but this conversion writes ${targets.length + sides.length} (beside the first: ${names.join(', ')}); name an output file.`,
		);
	}
	if (request.receipt !== undefined) {
		const { receipt, force } = request;
		checkTarget(receipt, force ?? false, []);
	}
	await writeStdout(async (sink) => {
		bytes.set(only.path, await write(only.file, 'archive', sink, undefined));
		assertInputs();
	});
}

function dataBytes(file: PlannedFile): number {
	let sum = 0;
	for (const { nbytes } of file.tensors.values()) sum += nbytes;
	return sum;
}
