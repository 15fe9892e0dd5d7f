import { readFileSync } from 'node:fs';
import { FormatError } from '@lorakit/format';
import { type ClipTokenizer, type ClipTokenizerFiles, createClipTokenizer } from '../../src/tokenizer/index.js';

const FOLDER = new URL('../../../../fixtures/runtime/', import.meta.url);

export interface RecordedRow {
	text: string;
	ids: string;
	padded: string | null;
	decoded: string;
	truncated: string | null;
}
export interface RecordedFolder {
	name: string;
	files: [string | null, string | null, string | null];
	max_length: number;
	bos: number;
	eos: number;
	pad: number;
	size: number;
	rows: RecordedRow[];
}
export interface RecordedPrompt {
	prompt: string;
	parsed: [string, number][] | null;
	chunks: { ids: string; weights: string }[] | null;
}

/** What transformers and AUTOMATIC1111's web UI made of the same texts: fixtures/runtime/make_tokenizer.py. */
export const recorded: {
	folders: RecordedFolder[];
	placeholders: { names: string[]; ids: number[]; rows: { text: string; ids: number[] }[]; parts: { text: string; ids: number[] }[] };
	weighted: RecordedPrompt[];
} = JSON.parse(readFileSync(new URL('tokenizer.json', FOLDER), 'utf8'));

export function shapesFile(name: string): string {
	return readFileSync(new URL(`tiny-shapes/tokenizer/${name}`, FOLDER), 'utf8');
}

export const vocab: string = shapesFile('vocab.json');
export const merges: string = shapesFile('merges.txt');

export function shapesTokenizer(files: Partial<ClipTokenizerFiles> = {}): ClipTokenizer {
	return createClipTokenizer({ vocab, merges, config: shapesFile('tokenizer_config.json'), ...files });
}

/** `3*2 7*1` is 3, 3, 7. */
export function unspell(runs: string): number[] {
	return runs === '' ? [] : runs.split(' ').flatMap((run) => new Array<number>(Number(run.split('*')[1])).fill(Number(run.split('*')[0])));
}

/** The code of the FormatError that `run` throws; other errors as text. */
export function codeOf(run: () => unknown): string | undefined {
	try {
		run();
	} catch (error) {
		return error instanceof FormatError ? error.code : String(error);
	}
	return undefined;
}
