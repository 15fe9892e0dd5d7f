import { FormatError, quote } from '@lorakit/format';
import type { Ops, Value } from '../graph/index.js';
import { add, concat, matmul, mul, scalar, sizeOf, slice, sub } from '../graph/ops.js';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import type { EditingControl } from './attention-maps.js';
import { firstConditionalRow } from './conditional-rows.js';
import { hookedAttention, type ProbabilityHook, type ProbabilityPart } from './explicit-attention.js';
import { refineMapper, replaceMapper, sameTokens, type TokenMapper } from './token-mappers.js';
import { wordTokens } from './word-tokens.js';

/** A part of the run, 0 to 1: from, to; one number is [0, number]. */
export type StepRange = number | readonly [number, number];

/** A change of the prompt that keeps the picture. */
export interface PromptEdit {
	/**
	 * `replace`: as many words as the source, some of them others. `refine`: words added or taken away. `reweight`: the
	 * same tokens as the source (usually the same prompt), some of them stronger or weaker.
	 */
	readonly kind: 'replace' | 'refine' | 'reweight';
	readonly prompt: string;
	/** Factors on the attention to words of the edited prompt; with any kind, `reweight` needs them. Negative ones are allowed. */
	readonly weights?: readonly { readonly word: string; readonly factor: number }[] | undefined;
	/** While the source's cross-attention is used. Default: 0.8. */
	readonly cross?: StepRange | undefined;
	/** Otherwise for these words of the edited prompt; a later one is stronger. */
	readonly crossWords?: readonly { readonly word: string; readonly range: StepRange }[] | undefined;
	/** While the source's self-attention is used, in layers of up to `selfLimit` places. Default: 0.4. */
	readonly self?: StepRange | undefined;
}

export interface PromptToPromptOptions {
	/** The base's (the first of two), with the learned tokens that the prompts use: `StableDiffusion.tokenizers`. */
	readonly tokenizer: ClipTokenizer;
	readonly source: string;
	readonly edits: readonly PromptEdit[];
	/** Self-attention of layers with more places is left alone. Default: 16 * 16. */
	readonly selfLimit?: number | undefined;
	/** Query rows in so many pieces: less memory, same numbers. */
	readonly slices?: number | undefined;
}

/** 16 x 16, as ptp and diffusers' community pipeline have it (the notebook of null-text inversion has 32 x 32). */
const SELF_LIMIT = 16 ** 2;

/**
 * Prompt-to-Prompt (Hertz et al. 2022): pictures of edited prompts that keep the layout of the source's. One batch makes
 * all: the source first, then each edit, from equal latents, with as many rows of conditioning (`encodePrompts`).
 *
 * In the conditional half, with P the source's probabilities and Q an edit's own:
 *
 * - cross-attention: a * (P M) + b * Q with a = w e s and b = w e (1 - s) + 1 - w, where M and s are the mapper's matrix
 *   and shared tokens, e the weights of the words, and w is 1 for tokens whose range has the present call, else 0;
 * - self-attention of layers with up to `selfLimit` places: P while the call is in `self`, else Q.
 *
 * M, a, b and the switch are inputs of the graph: all edits of so many prompts share one session.
 *
 * Ranges are in calls of the model, as in google/prompt-to-prompt (ptp_utils.py, update_alpha_time_word, and its
 * notebook's AttentionControlEdit): with n calls, [from, to) of cross-attention is trunc(share * (n + 1)), of
 * self-attention trunc(share * n). The notebook's local blend is not there.
 *
 * @throws {FormatError} `E_USAGE` for prompts that do not fit the kind, words that are not in them, shares outside 0 to 1.
 */
export function promptToPrompt({ tokenizer, source, edits, selfLimit = SELF_LIMIT, slices }: PromptToPromptOptions): EditingControl {
	if (edits.length === 0) throw new FormatError('E_USAGE', 'Prompt-to-Prompt needs at least one edited prompt beside the source.');
	const plans = edits.map((edit) => planEdit(tokenizer, source, edit));
	const edit: ProbabilityPart = {
		wants: ({ kind, query }) => kind === 'cross' || sizeOf(query, 1) <= selfLimit,
		apply: editRows(edits.length, tokenizer.maxLength),
	};
	return {
		key: `p2p edits=${edits.length} self=${selfLimit} slices=${slices ?? 1}`,
		edit,
		processor: hookedAttention({ edit, slices }),
		feeds: (call, calls) => Object.assign({}, ...plans.map((plan, i) => plan(i + 1, call, calls))),
	};
}

type Part = 'mapper' | 'source' | 'own' | 'self';

const inputName = (edit: number, part: Part): string => `p2p:${edit}:${part}`;

/** Rows of the conditional half: the source stays, each edit is mixed with it. */
function editRows(edits: number, tokens: number): ProbabilityHook {
	const inputs = inputsOf();
	return ({ ops }, { kind, query }, probabilities) => {
		const source = firstConditionalRow(query, edits + 1);
		const row = (i: number): Value => slice(ops, probabilities, 0, i, i + 1);
		const input = (i: number, part: Part, shape: readonly number[]): Value => inputs(ops, inputName(i, part), shape);
		const columns = sizeOf(probabilities, 3);
		if (kind === 'cross' && columns !== tokens) {
			throw new FormatError('E_USAGE', `Prompt-to-Prompt is for prompts of ${tokens} tokens; these have ${columns}.`);
		}
		const first = row(source);
		const mixed = Array.from({ length: edits }, (_, n): Value => {
			const [i, own] = [n + 1, row(source + n + 1)];
			if (kind === 'self') {
				const part = input(i, 'self', []);
				return add(ops, mul(ops, first, part), mul(ops, own, sub(ops, scalar(ops, 1), part)));
			}
			const mapped = matmul(ops, first, input(i, 'mapper', [tokens, tokens]));
			return add(ops, mul(ops, mapped, input(i, 'source', [tokens])), mul(ops, own, input(i, 'own', [tokens])));
		});
		return concat(ops, 0, slice(ops, probabilities, 0, 0, source + 1), ...mixed);
	};
}

/** An input is made by the first layer of a graph that needs it and used by all. */
function inputsOf(): (ops: Ops, name: string, shape: readonly number[]) => Value {
	const known = new WeakMap<Ops, Map<string, Value>>();
	return (ops, name, shape) => {
		const own = known.get(ops) ?? new Map<string, Value>();
		known.set(ops, own);
		const value = own.get(name) ?? ops.input(name, shape);
		own.set(name, value);
		return value;
	};
}

/** What an edit feeds, by its number, the call, and calls in all. */
type EditPlan = (i: number, call: number, calls: number) => Readonly<Record<string, HostTensor>>;

function planEdit(tokenizer: ClipTokenizer, source: string, edit: PromptEdit): EditPlan {
	const { prompt, weights = [], crossWords = [] } = edit;
	const tokens = tokenizer.maxLength;
	const { matrix, shared } = mapperOf(tokenizer, source, edit);
	const factors = new Float32Array(tokens).fill(1);
	for (const { word, factor } of weights) {
		if (!Number.isFinite(factor)) throw new FormatError('E_USAGE', `The weight ${factor} of ${quote(word)} is no number.`);
		for (const position of wordTokens(tokenizer, prompt, word)) factors[position] = factor;
	}
	const everywhere = checkRange(edit.cross ?? 0.8, prompt);
	const ranges = new Array<readonly [number, number]>(tokens).fill(everywhere);
	for (const { word, range } of crossWords) {
		for (const position of wordTokens(tokenizer, prompt, word)) ranges[position] = checkRange(range, prompt);
	}
	const self = checkRange(edit.self ?? 0.4, prompt);
	return (i, call, calls) => {
		const within = (range: readonly [number, number], steps: number): number =>
			Math.trunc(range[0] * steps) <= call && call < Math.trunc(range[1] * steps) ? 1 : 0;
		const [mapped, own] = [new Float32Array(tokens), new Float32Array(tokens)];
		for (const [j, range] of ranges.entries()) {
			const used = within(range, calls + 1);
			const [factor, both] = [factors[j] ?? 1, shared[j] ?? 1];
			mapped[j] = used * factor * both;
			own[j] = used * factor * (1 - both) + 1 - used;
		}
		return {
			[inputName(i, 'mapper')]: f32Tensor([tokens, tokens], matrix),
			[inputName(i, 'source')]: f32Tensor([tokens], mapped),
			[inputName(i, 'own')]: f32Tensor([tokens], own),
			[inputName(i, 'self')]: f32Tensor([], Float32Array.of(within(self, calls))),
		};
	};
}

function mapperOf(tokenizer: ClipTokenizer, source: string, { kind, prompt, weights = [] }: PromptEdit): TokenMapper {
	if (kind === 'replace') return replaceMapper(tokenizer, source, prompt);
	if (kind === 'refine') return refineMapper(tokenizer, source, prompt);
	if (weights.length === 0) throw new FormatError('E_USAGE', `To reweight ${quote(prompt)}, say which words and how much.`);
	const [own, other] = [tokenizer.tokenize(prompt).length, tokenizer.tokenize(source).length];
	if (own !== other) {
		throw new FormatError(
			'E_USAGE',
			`${quote(prompt)} has ${own} tokens and the source ${other}; to reweight, both need as many. Use replace or refine with weights.`,
		);
	}
	return sameTokens(tokenizer.maxLength);
}

function checkRange(range: StepRange, prompt: string): readonly [number, number] {
	const [from, to] = typeof range === 'number' ? [0, range] : range;
	if (!(from >= 0 && from <= to && to <= 1)) {
		throw new FormatError('E_USAGE', `The part of the run from ${from} to ${to}, for ${quote(prompt)}: both must be 0 to 1, in order.`);
	}
	return [from, to];
}
