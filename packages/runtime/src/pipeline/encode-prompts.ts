import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { type Conditioning, joined } from './conditioning.js';
import type { EncodedPrompt, PromptOptions, StableDiffusion } from './stable-diffusion.js';

/**
 * Several prompts, each with the same negative, as the conditioning of one batch: a picture for each, in order.
 * @throws {FormatError} `E_USAGE` for no prompt; those of `encodePrompt`.
 */
export async function encodePrompts(
	model: StableDiffusion,
	prompts: readonly string[],
	negative: string | undefined,
	options: PromptOptions,
): Promise<EncodedPrompt> {
	const encoded: EncodedPrompt[] = [];
	for (const prompt of prompts) encoded.push(await model.encodePrompt(prompt, negative, options));
	return joinPrompts(encoded);
}

/**
 * Prompts that were encoded one by one as those of one batch. Ids are (prompts, tokens) then.
 * @throws {FormatError} `E_USAGE` for none, for prompts of different numbers of tokens, and for those of `encodeScheduled`.
 */
export function joinPrompts(prompts: readonly EncodedPrompt[]): EncodedPrompt {
	const [first] = prompts;
	if (first === undefined) throw new FormatError('E_USAGE', 'A batch needs at least one prompt.');
	const conditionings = prompts.map(({ conditioning }) => conditioning);
	if (conditionings.some(({ at, weights }) => at !== undefined || weights !== undefined)) {
		throw new FormatError('E_USAGE', 'Prompts that change over the run, or join texts by AND, cannot share a batch with others.');
	}
	const all = (one: (conditioning: Conditioning) => HostTensor, guided: boolean): HostTensor => {
		const parts = conditionings.map(one);
		if (parts.some(({ shape }) => shape.length !== parts[0]?.shape.length || shape.slice(1).join() !== parts[0]?.shape.slice(1).join())) {
			throw new FormatError('E_USAGE', 'The prompts of one batch must have as many tokens each.');
		}
		if (!guided) return parts.reduce(joined);
		// Each has its unconditional rows first; the batch has those of all of them first.
		return joined(parts.map((part) => half(part, 0)).reduce(joined), parts.map((part) => half(part, 1)).reduce(joined));
	};
	const row = (ids: readonly Int32Array[]): Int32Array => Int32Array.from(ids.flatMap((part) => [...part]));
	return {
		conditioning: {
			states: (guided) => all((c) => c.states(guided), guided),
			...(first.conditioning.added === undefined ? {} : { added: (guided: boolean) => all((c) => needed(c.added?.(guided)), guided) }),
		},
		truncated: prompts.flatMap(({ truncated }) => truncated),
		ids: first.ids.map((_, encoder) => [
			row(prompts.map(({ ids }) => ids[encoder]?.[0] ?? new Int32Array())),
			row(prompts.map(({ ids }) => ids[encoder]?.[1] ?? new Int32Array())),
		]),
	};
}

/** The first or the second half of the rows. */
export function half({ shape, data }: HostTensor, which: 0 | 1): HostTensor {
	const rows = (shape[0] ?? 0) / 2;
	const size = data.length / 2;
	return f32Tensor([rows, ...shape.slice(1)], Float32Array.from(data.subarray(which * size, (which + 1) * size)));
}

function needed(tensor: HostTensor | undefined): HostTensor {
	if (tensor === undefined) throw new TypeError('added conditions are missing');
	return tensor;
}
