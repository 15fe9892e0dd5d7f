import { FormatError, quote } from '@lorakit/format';
import {
	type ClipTokenizer,
	composedPrompts,
	findWord,
	parseWeightedPrompt,
	promptSchedule,
	takeNetworks,
	weightedWords,
} from '@lorakit/runtime';
import type { PictureSettings } from './picture-settings.js';
import { callsOf, type Weighting } from './prompt-language.js';

/** Where the words of a prompt are among the tokens that the UNet attends to. */
export interface PromptWords {
	/** Positions of the tokens of a word; none where the prompt has it not. */
	find(word: string): readonly number[];
	/** Every token, as text. */
	tokens(): readonly { readonly text: string; readonly position: number }[];
}

/** The prompt of a run and how its words are found. */
export interface SourcePrompt {
	readonly prompt: string;
	/** @throws {FormatError} `E_USAGE` for prompts whose words have no one place: those that change over the run, and AND. */
	words(tokenizer: ClipTokenizer, prompt: string): PromptWords;
}

/** The prompt of a picture, its words found as `--weighting` reads it. */
export function sourcePrompt(weighting: Weighting, settings: PictureSettings): SourcePrompt {
	const { prompt } = settings;
	return { prompt, words: weighting === 'none' ? plainWords : (tokenizer) => weighedWords(tokenizer, settings) };
}

function plainWords(tokenizer: ClipTokenizer, prompt: string): PromptWords {
	return {
		find: (word) => findWord(tokenizer, prompt, word),
		tokens: () =>
			Array.from(tokenizer.tokenize(prompt).subarray(0, tokenizer.maxLength - 2), (id, i) => ({
				text: tokenizer.decode([id]).trim(),
				position: i + 1,
			})),
	};
}

function weighedWords(tokenizer: ClipTokenizer, settings: PictureSettings): PromptWords {
	const { text } = takeNetworks(settings.prompt);
	const [first, ...more] = composedPrompts(text);
	const calls = callsOf(settings);
	const changes = (prompt: string): boolean => {
		const schedule = promptSchedule(prompt, calls);
		return schedule.some((part) => part.text !== schedule[0]?.text);
	};
	const against = settings.negative === undefined ? '' : takeNetworks(settings.negative).text;
	if (first === undefined || more.length > 0 || first.weight !== 1 || changes(first.text) || changes(against)) {
		throw new FormatError(
			'E_USAGE',
			`--attention-maps needs a prompt and a negative that stay the same over the run; ${quote(settings.prompt)}, or its negative, changes, or joins texts by AND.`,
		);
	}
	const { find, tokens } = weightedWords(tokenizer, parseWeightedPrompt(promptSchedule(first.text, calls)[0]?.text ?? '').segments);
	return { find, tokens: () => tokens.map(({ id, position }) => ({ text: tokenizer.decode([id]).trim(), position })) };
}
