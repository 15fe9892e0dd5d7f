import { FormatError, quote } from '@lorakit/format';
import {
	type AttentionControl,
	type AttentionMaps,
	type ClipTokenizer,
	collectMaps,
	type EditingControl,
	findWord,
	localBlend,
	type MapCollector,
	overlayPicture,
	pixelsPerLatent,
	placeLayers,
	promptToPrompt,
	type StableDiffusion,
	tokenizerOf,
	tokenMap,
} from '@lorakit/runtime';
import type { Rgb } from '@lorakit/runtime/node';
import { captionLayout, drawCaptioned } from './caption-sheet.js';
import type { EditRequest } from './edit-request.js';
import type { PromptWords, SourcePrompt } from './prompt-words.js';

/** What is wanted of the attention layers in a run. */
export interface AttentionWishes {
	readonly edit: EditRequest | undefined;
	/** Words of `--attention-maps`; none: no maps. */
	readonly words: readonly string[];
}

/** The attention layers of one run: made for it, and used once. */
export interface RunAttention {
	/** The source, then every edit. */
	readonly prompts: readonly string[];
	/** undefined: nothing is done to the layers. */
	readonly control: AttentionControl | undefined;
	/** Source and edits side by side. */
	editSheet(pictures: readonly Uint8Array[]): Rgb;
	/** Each picture, and over it the attention to its words. */
	attentionSheet(pictures: readonly Uint8Array[]): Rgb;
}

const ALL = 'all';
/** Pictures beside each other on a sheet of attention. */
const MAX_COLUMNS = 8;

/**
 * Controls for one run, and the sheets that come of it. What cannot be (words that no prompt has, prompts that do not fit
 * each other, sheets too large) is refused here, before anything is computed.
 * @throws {FormatError} `E_USAGE`, `E_LIMIT`.
 */
export function runAttention(
	model: StableDiffusion,
	{ prompt: source, words: wordsOf }: SourcePrompt,
	{ edit, words }: AttentionWishes,
	width: number,
	height: number,
): RunAttention {
	const prompts = [source, ...(edit?.edits ?? []).map(({ prompt }) => prompt)];
	if (edit === undefined && words.length === 0) return { prompts, control: undefined, editSheet: noSheet, attentionSheet: noSheet };
	const tokenizer = tokenizerOf(model, 0);
	const titles = prompts.map((prompt, i) => (edit === undefined || i === 0 ? prompt : titleOf(tokenizer, prompt, edit)));
	const edits = captionLayout([titles], width, height, prompts.length);
	const factor = pixelsPerLatent(model.base.vae);
	const latents = [height / factor, width / factor] as const;
	const editing = edit === undefined ? undefined : editingControl(tokenizer, source, prompts, edit);
	const mapped = words.length > 0 || (edit?.local ?? null) !== null;
	const maps = mapped ? placeMaps(model, latents, prompts.length, editing) : undefined;
	const read = words.length === 0 ? [] : prompts.map((prompt) => wordsOf(tokenizer, prompt));
	const tokens = prompts.map((_, i) => tokensOf(read[i], words));
	if (words.length > 0) checkMapped(words, read, prompts);
	const captions = titles.map((title, i) => [title, ...(tokens[i] ?? []).map(({ label }) => label)]);
	const layout = captionLayout(captions, width, height, MAX_COLUMNS);
	return {
		prompts,
		control: maps === undefined ? editing : blending(maps, tokenizer, prompts, edit),
		editSheet: (pictures) => drawCaptioned(edits, pictures),
		attentionSheet(pictures) {
			const mean = maps?.mean() ?? new Map();
			const cells = pictures.flatMap((picture, i) => [
				picture,
				...(tokens[i] ?? []).map(({ positions }) => heatOver(picture, mean, positions, i, latents, [height, width])),
			]);
			return drawCaptioned(layout, cells);
		},
	};
}

/** The prompt of an edit, and the factors of its words. */
function titleOf(tokenizer: ClipTokenizer, prompt: string, { words }: EditRequest): string {
	const own = words.filter(({ word }) => has(tokenizer, prompt, word));
	return own.length === 0 ? prompt : `${prompt} (${own.map(({ word, factor }) => `${word}=${factor}`).join(', ')})`;
}

function noSheet(): never {
	throw new TypeError('a sheet of a run that has neither edits nor maps');
}

function placeMaps(
	model: StableDiffusion,
	latents: readonly [number, number],
	pictures: number,
	over: EditingControl | undefined,
): MapCollector {
	const chosen = new Set(placeLayers(model.base.unet, latents).map(({ path }) => path));
	return collectMaps(model.base.unet, { pictures, layers: (path) => chosen.has(path), over });
}

/** Factors and limits are for the edits that have the word; one at least must. */
function editingControl(tokenizer: ClipTokenizer, source: string, prompts: readonly string[], edit: EditRequest): EditingControl {
	const own = (prompt: string, word: string): boolean => has(tokenizer, prompt, word);
	const edited = prompts.slice(1);
	checkKnown(
		edit.words.map(({ word }) => word),
		'--edit-word',
		edited,
		own,
	);
	checkKnown(
		edit.crossWords.map(({ word }) => word),
		'--edit-cross',
		edited,
		own,
	);
	return promptToPrompt({
		tokenizer,
		source,
		edits: edit.edits.map(({ kind, prompt }) => ({
			kind,
			prompt,
			weights: edit.words.filter(({ word }) => own(prompt, word)),
			cross: edit.cross,
			crossWords: edit.crossWords.filter(({ word }) => own(prompt, word)),
			self: edit.self,
		})),
	});
}

function blending(
	maps: MapCollector,
	tokenizer: ClipTokenizer,
	prompts: readonly string[],
	edit: EditRequest | undefined,
): AttentionControl {
	const local = edit?.local ?? undefined;
	if (local === undefined) return maps;
	const own = (prompt: string, word: string): boolean => has(tokenizer, prompt, word);
	checkKnown(local.words, '--edit-local', prompts, own);
	const words = prompts.map((prompt) => local.words.filter((word) => own(prompt, word)));
	const without = prompts.find((_, i) => words[i]?.length === 0);
	if (without !== undefined) {
		throw new FormatError(
			'E_USAGE',
			`--edit-local names no word of ${quote(without)}; name what may change in every prompt, the source too.`,
		);
	}
	return localBlend(maps, { tokenizer, prompts, words, threshold: local.threshold, start: local.start });
}

interface LabelledTokens {
	readonly label: string;
	readonly positions: readonly number[];
}

/** Those of the words that the prompt has; `all`: every token of it. */
function tokensOf(prompt: PromptWords | undefined, words: readonly string[]): readonly LabelledTokens[] {
	if (prompt === undefined) return [];
	return words.flatMap((word): readonly LabelledTokens[] => {
		if (word === ALL) return prompt.tokens().map(({ text, position }) => ({ label: text, positions: [position] }));
		const positions = prompt.find(word);
		return positions.length === 0 ? [] : [{ label: word, positions }];
	});
}

function checkMapped(words: readonly string[], read: readonly PromptWords[], prompts: readonly string[]): void {
	checkKnown(
		words,
		'--attention-maps',
		prompts,
		(prompt, word) => word === ALL || (read[prompts.indexOf(prompt)]?.find(word).length ?? 0) > 0,
	);
}

/** The attention from its least to its largest, in red over the pale grey picture. */
function heatOver(
	picture: Uint8Array,
	maps: AttentionMaps,
	tokens: readonly number[],
	index: number,
	latents: readonly [number, number],
	size: readonly [number, number],
): Uint8Array {
	const map = tokenMap(maps, { tokens, picture: index, latents, size });
	const least = map.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
	return overlayPicture(
		paleGrey(picture),
		map.map((x) => x - least),
		{ strength: 0.8 },
	);
}

/** Half way from its luma (ITU-R BT.601) to white. */
function paleGrey(picture: Uint8Array): Uint8Array {
	const out = new Uint8Array(picture.length);
	for (let i = 0; i < picture.length; i += 3) {
		const luma = 0.299 * (picture[i] ?? 0) + 0.587 * (picture[i + 1] ?? 0) + 0.114 * (picture[i + 2] ?? 0);
		out.fill(Math.round((255 + luma) / 2), i, i + 3);
	}
	return out;
}

function checkKnown(
	words: readonly string[],
	flag: string,
	prompts: readonly string[],
	known: (prompt: string, word: string) => boolean,
): void {
	const unknown = words.find((word) => !prompts.some((prompt) => known(prompt, word)));
	if (unknown === undefined) return;
	const where = prompts.length === 1 ? quote(prompts[0] ?? '') : `any of the ${prompts.length} prompts`;
	throw new FormatError('E_USAGE', `${flag} names ${quote(unknown)}, which is no word of ${where}.`);
}

function has(tokenizer: ClipTokenizer, prompt: string, word: string): boolean {
	return findWord(tokenizer, prompt, word).length > 0;
}
