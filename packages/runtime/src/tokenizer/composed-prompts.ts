/** One of the prompts that AND joins, and its weight. */
export interface ComposedPrompt {
	readonly text: string;
	readonly weight: number;
}

const AND = /(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/u;
const WEIGHT = /^[-+]?(?:\d+\.?|\d*\.\d+)$/;

/**
 * `a cat :1.2 AND a dog`: prompts whose predictions are added up (composable diffusion), each with a weight, by default 1.
 * A prompt alone may have one too. As stable-diffusion-webui's modules/prompt_parser.py `get_multicond_prompt_list`.
 */
export function composedPrompts(prompt: string): readonly ComposedPrompt[] {
	return prompt.split(AND).map((part) => {
		const colon = part.lastIndexOf(':');
		const number = part.slice(colon + 1).trim();
		if (colon < 0 || !WEIGHT.test(number)) return { text: part.trimEnd(), weight: 1 };
		return { text: part.slice(0, colon).trimEnd(), weight: Number(number) };
	});
}
