import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { composedPrompts } from '../tokenizer/composed-prompts.js';
import { promptSchedule, type ScheduledText, textOfCall } from '../tokenizer/prompt-schedule.js';
import { parseWeightedPrompt } from '../tokenizer/prompt-weights.js';
import { type Conditioning, joined } from './conditioning.js';
import { alongTokens, type ChunkedText, encodeChunks, paddedWith } from './encode-chunks.js';
import { half } from './encode-prompts.js';
import { zeroStates } from './encode-text.js';
import { encodeWeighted } from './encode-weighted.js';
import { conditionOn, type EncodedPrompt, type PromptOptions, type StableDiffusion } from './stable-diffusion.js';

export interface ScheduledOptions extends PromptOptions {
	/** Calls of the model that the prompts' steps and shares count: the run's steps, twice as many for Heun. */
	readonly steps: number;
}

/**
 * A prompt in AUTOMATIC1111's language with all that changes over the run: `[from:to:when]`, `[a|b]` (`promptSchedule`), and
 * texts joined by AND, each with a weight (`composedPrompts`), over weights and lengths as `encodeWeighted` has them. The
 * negative may change too; in it AND is a word. `<networks>` are the caller's: `takeNetworks`.
 *
 * Of texts joined by AND, a shorter one is filled up with its own last state (stable-diffusion-webui
 * modules/prompt_parser.py `stack_conds`).
 *
 * @param negative undefined: an empty one
 * @throws {FormatError} those of the language and of `encodeWeighted`.
 */
export async function encodeScheduled(
	model: StableDiffusion,
	prompt: string,
	negative: string | undefined,
	{ steps, ...options }: ScheduledOptions,
): Promise<EncodedPrompt> {
	const parts = composedPrompts(prompt).map(({ text, weight }) => ({ weight, schedule: promptSchedule(text, steps) }));
	const against = negative === undefined ? undefined : promptSchedule(negative, steps);
	const [first] = parts;
	if (
		first !== undefined &&
		parts.length === 1 &&
		first.weight === 1 &&
		isOne(first.schedule) &&
		(against === undefined || isOne(against))
	) {
		const segments = (schedule: readonly ScheduledText[]) => parseWeightedPrompt(textOfCall(schedule, 0)).segments;
		return encodeWeighted(model, segments(first.schedule), against === undefined ? undefined : segments(against), options);
	}
	const known = new Map<string, ChunkedText>();
	const encoded = async (text: string): Promise<ChunkedText> => {
		const found = known.get(text) ?? (await encodeChunks(model, parseWeightedPrompt(text).segments, options.clipSkip));
		known.set(text, found);
		return found;
	};
	const empty = await encoded('');
	const weights = parts.map(({ weight }) => weight);
	const weighed = weights.length === 1 && weights[0] === 1 ? undefined : weights;
	const made = new Map<string, Conditioning>();
	const byCall: Conditioning[] = [];
	let ids: EncodedPrompt['ids'] = [];
	// After the last step the first texts come again: one call more says all.
	for (let call = 0; call <= steps + 1; call++) {
		const texts = parts.map(({ schedule }) => textOfCall(schedule, call));
		const other = against === undefined ? undefined : textOfCall(against, call);
		const key = JSON.stringify([texts, other]);
		let conditioning = made.get(key);
		if (conditioning === undefined) {
			const own = stacked(await Promise.all(texts.map(encoded)));
			const opposed = other === undefined ? empty : await encoded(other);
			const combined = combine(model, own, opposed, empty, other === undefined, options);
			conditioning = composed(combined.conditionings, weighed);
			made.set(key, conditioning);
			if (call === 0) ids = combined.ids;
		}
		byCall.push(conditioning);
	}
	const [start] = byCall;
	if (start === undefined) throw new TypeError('a run without calls');
	return { conditioning: { ...start, at: (call) => byCall[Math.min(call, steps + 1)] ?? start }, truncated: [], ids };
}

function isOne(schedule: readonly ScheduledText[]): boolean {
	return schedule.every(({ text }) => text === schedule[0]?.text);
}

/** All as long as the longest: the last state of a shorter one again and again. */
function stacked(texts: readonly ChunkedText[]): readonly ChunkedText[] {
	const chunks = Math.max(...texts.map((text) => text.chunks));
	return texts.map((text) =>
		text.chunks === chunks
			? text
			: { ...text, chunks, texts: text.texts.map(({ states, pooled }) => ({ states: lengthened(states, chunks / text.chunks), pooled })) },
	);
}

function lengthened(states: HostTensor, factor: number): HostTensor {
	const [, tokens = 0, width = 0] = states.shape;
	const last = f32Tensor([1, 1, width], Float32Array.from(states.data.subarray((tokens - 1) * width)));
	return alongTokens([states, ...new Array<HostTensor>(Math.round(tokens * (factor - 1))).fill(last)]);
}

/** Each text with the negative, both as long as the longer. */
function combine(
	{ base }: StableDiffusion,
	texts: readonly ChunkedText[],
	negative: ChunkedText,
	empty: ChunkedText,
	noneGiven: boolean,
	{ count = 1, height, width }: PromptOptions,
): { readonly conditionings: readonly Conditioning[]; readonly ids: EncodedPrompt['ids'] } {
	const length = Math.max(negative.chunks, ...texts.map(({ chunks }) => chunks));
	const against = paddedWith(empty, negative, length);
	const own = texts.map((text) => paddedWith(empty, text, length));
	const zeros = noneGiven && base.forceZerosForEmptyPrompt;
	return {
		conditionings: own.map((text) =>
			conditionOn(base, text.texts, zeros ? text.texts.map(zeroStates) : against.texts, { count, height, width }),
		),
		ids: (own[0]?.ids ?? []).map((row, i) => [row, against.ids[i] ?? row]),
	};
}

/** The texts of one batch: the unconditional rows of the first, then those of each text. */
function composed(parts: readonly Conditioning[], weights: readonly number[] | undefined): Conditioning {
	const [first] = parts;
	if (first === undefined) throw new TypeError('a prompt without texts');
	if (weights === undefined) return first;
	const rows = (of: (part: Conditioning, guided: boolean) => HostTensor, guided: boolean): HostTensor =>
		[...(guided ? [half(of(first, true), 0)] : []), ...parts.map((part) => of(part, false))].reduce(joined);
	const { added } = first;
	return {
		states: (guided) => rows((part, both) => part.states(both), guided),
		...(added === undefined ? {} : { added: (guided: boolean) => rows((part, both) => part.added?.(both) ?? added(both), guided) }),
		weights,
	};
}
