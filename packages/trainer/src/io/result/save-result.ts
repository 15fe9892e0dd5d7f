import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote, type Warning, writePlannedFile } from '@lorakit/format';
import { type AtomicOutput, createNodeSha256, quotePath, writeError, writeFilesAtomic } from '@lorakit/format/node';
import type { ResultPlan } from '../../result/plan-result.js';
import { checkBesidePath } from '../../result/repository-name.js';

/** What training leaves, beside checkpoints and logs. */
export interface TrainingResult {
	readonly plan: ResultPlan;
	/** README.md. */
	readonly card: string;
	/** `training.json`: plain data. */
	readonly record: unknown;
	/** Encoded pictures by path beside the card: `samples/0.png`. */
	readonly samples?: ReadonlyMap<string, Uint8Array> | undefined;
}

export interface SaveResultOptions {
	/** Replace files that are there. */
	readonly force?: boolean | undefined;
	readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/** What was written. */
export interface SavedResult {
	readonly folder: string;
	/** By path below the folder, `/` between its parts. */
	readonly files: readonly { readonly path: string; readonly bytes: number }[];
	readonly warnings: readonly Warning[];
}

export const CARD_NAME = 'README.md';
export const RECORD_NAME = 'training.json';

/** Paths below the folder that `saveResult` writes. */
function resultPaths({ plan, samples }: Pick<TrainingResult, 'plan' | 'samples'>): readonly string[] {
	return [...plan.files.map(({ name }) => name), CARD_NAME, RECORD_NAME, ...(samples?.keys() ?? [])];
}

/**
 * Write a result into a folder, all files or none: adapter, learned tokens, README.md, `training.json`, sample pictures. Other files in the
 * folder (checkpoints, logs) stay.
 *
 * @throws {FormatError} `E_OUTPUT_EXISTS` when a file is there and `force` is not set, `E_NAME` for a path that leaves the folder, `E_NO_SPACE`,
 *   `E_IO`; nothing has changed then
 */
export async function saveResult(folder: string, result: TrainingResult, options: SaveResultOptions = {}): Promise<SavedResult> {
	const { plan, samples = new Map<string, Uint8Array>() } = result;
	for (const name of samples.keys()) checkBesidePath(name);
	const record = new TextEncoder().encode(`${JSON.stringify(result.record, undefined, '\t')}\n`);
	const card = new TextEncoder().encode(result.card);
	const total = plan.files.reduce((sum, { bytes }) => sum + bytes, 0);
	const written = new Map<string, number>();
	let done = 0;
	const bytesOutput = (name: string, bytes: Uint8Array): AtomicOutput => ({
		target: place(folder, name),
		write: async (sink) => {
			await sink.write(bytes);
			written.set(name, bytes.byteLength);
		},
	});
	const outputs = plan.files.map(({ name, content, bytes: planned }): AtomicOutput => {
		if (typeof content === 'string') return bytesOutput(name, new TextEncoder().encode(content));
		return {
			target: place(folder, name),
			write: async (sink) => {
				const bytes = await writePlannedFile(content, sink, {
					hasher: createNodeSha256,
					rootName: path.basename(name, path.extname(name)),
					onProgress: (now) => options.onProgress?.(Math.min(total, done + now), total),
				});
				if (bytes !== planned) throw new TypeError(`${quote(name)} has ${bytes} bytes and was planned with ${planned}`);
				done += bytes;
				written.set(name, bytes);
			},
		};
	});
	outputs.push(bytesOutput(CARD_NAME, card), bytesOutput(RECORD_NAME, record));
	for (const [name, bytes] of samples) outputs.push(bytesOutput(name, bytes));
	const made = makeFolders(folder, outputs);
	try {
		await writeFilesAtomic(outputs, { force: options.force });
	} catch (error) {
		for (const empty of made.reverse()) removeEmpty(empty);
		throw error;
	}
	return { folder, files: resultPaths(result).map((name) => ({ path: name, bytes: written.get(name) ?? 0 })), warnings: plan.tally() };
}

function place(folder: string, name: string): string {
	return path.join(folder, ...name.split('/'));
}

/** The folders that were not there, outermost first. @throws {FormatError} `E_IO` */
function makeFolders(folder: string, outputs: readonly AtomicOutput[]): string[] {
	const made: string[] = [];
	const make = (dir: string): void => {
		const entry = fs.statSync(dir, { throwIfNoEntry: false });
		if (entry?.isDirectory() === true) return;
		if (entry !== undefined) throw new FormatError('E_IO', `${quotePath(dir)} is a file; the result goes into a folder.`);
		make(path.dirname(dir));
		fs.mkdirSync(dir);
		made.push(dir);
	};
	try {
		make(path.resolve(folder));
		for (const { target } of outputs) make(path.dirname(path.resolve(target)));
	} catch (error) {
		for (const empty of made.reverse()) removeEmpty(empty);
		throw error instanceof FormatError ? error : writeError(error, folder);
	}
	return made;
}

function removeEmpty(dir: string): void {
	try {
		fs.rmdirSync(dir);
	} catch {
		// Somebody else has put something into it.
	}
}
