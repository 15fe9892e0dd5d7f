import { FormatError } from '@lorakit/format';
import type { AttentionControl } from '../pipeline/denoise.js';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import type { AttentionMaps, MapCollector } from './attention-maps.js';
import { layerSize } from './map-pictures.js';
import { wordTokens } from './word-tokens.js';

export interface LocalBlendOptions {
	/** The base's (the first of two), with the learned tokens that the prompts use. */
	readonly tokenizer: ClipTokenizer;
	/** The source, then every edit: the prompts of the batch. */
	readonly prompts: readonly string[];
	/** By prompt, what may change: at least one word each, "circle" of the source and "square" of the edit. */
	readonly words: readonly (readonly string[])[];
	/** Share of a picture's largest attention above which a place may change. Default: 0.3. */
	readonly threshold?: number | undefined;
	/** Share of the run before the first blend, 0 to 1. Default: 0.2. */
	readonly start?: number | undefined;
}

/** As in null_text_w_ptp.ipynb of google/prompt-to-prompt; the older notebook blends from the first call on. */
export const LOCAL_BLEND_START = 0.2;
export const LOCAL_BLEND_THRESHOLD = 0.3;

/**
 * The local blend of Prompt-to-Prompt: after every call the latents of an edit are the source's but where the attention to
 * the words, its own or the source's, is high. The rule is LocalBlend's of google/prompt-to-prompt (and of diffusers'
 * examples/community/pipeline_prompt2prompt.py): mean over layers, heads and calls so far of the attention to the words
 * together, the largest of 3 x 3 places, enlarged to the latents by the nearest place, divided by its largest, above the
 * threshold.
 *
 * @param maps collects over the edits, of the layers of `placeLayers`; made for this run
 * @throws {FormatError} `E_USAGE` for a prompt without a word, words that are not in it, shares outside 0 to 1.
 */
export function localBlend(maps: MapCollector, options: LocalBlendOptions): AttentionControl {
	const { tokenizer, prompts, words, threshold = LOCAL_BLEND_THRESHOLD, start = LOCAL_BLEND_START } = options;
	if (!(threshold >= 0 && threshold < 1))
		throw new FormatError('E_USAGE', `The threshold of the local blend is ${threshold}; from 0 to below 1 is needed.`);
	if (!(start >= 0 && start <= 1))
		throw new FormatError('E_USAGE', `The local blend starts at ${start} of the run; a share from 0 to 1 is needed.`);
	const tokens = prompts.map((prompt, i): readonly number[] => {
		const own = words[i] ?? [];
		if (own.length === 0) throw new FormatError('E_USAGE', `The local blend has no word of the prompt "${prompt}".`);
		return own.flatMap((word) => wordTokens(tokenizer, prompt, word));
	});
	return {
		key: maps.key,
		processor: maps.processor,
		feeds: (call, calls) => maps.feeds?.(call, calls) ?? {},
		taps: maps.taps,
		seen: (call, results) => maps.seen?.(call, results),
		blend(call, calls, latents, shape) {
			if (call + 1 <= Math.trunc(start * calls)) return latents;
			return blended(latents, shape, attentionMasks(maps.mean(), tokens, [shape[2], shape[3]], threshold));
		},
	};
}

/** By picture, 1 for every place of the latents whose attention to its words is above the threshold, else 0. */
function attentionMasks(
	maps: AttentionMaps,
	tokens: readonly (readonly number[])[],
	latents: readonly [number, number],
	threshold: number,
): readonly Uint8Array[] {
	return tokens.map((own, picture) => {
		let size: readonly [number, number] | undefined;
		let sum = new Float64Array(0);
		for (const [path, { shape, data }] of maps) {
			const [, places = 0, width = 0] = shape;
			if (size === undefined) {
				size = layerSize(path, places, latents);
				sum = new Float64Array(places);
			}
			if (places !== sum.length) throw new FormatError('E_USAGE', 'The local blend needs maps of layers of one size: placeLayers.');
			const from = picture * places * width;
			for (let place = 0; place < places; place++) {
				for (const token of own) sum[place] = (sum[place] ?? 0) + (data[from + place * width + token] ?? 0) / maps.size;
			}
		}
		if (size === undefined) throw new FormatError('E_USAGE', 'The local blend needs maps of at least one layer.');
		const large = largestAround(sum, size);
		const most = large.reduce((a, b) => Math.max(a, b), 0);
		const [h, w] = size;
		const [height, width] = latents;
		return Uint8Array.from({ length: height * width }, (_, i) => {
			const [y, x] = [Math.floor((Math.floor(i / width) * h) / height), Math.floor(((i % width) * w) / width)];
			// Nothing looks at the words: nothing changes.
			return most > 0 && (large[y * w + x] ?? 0) / most > threshold ? 1 : 0;
		});
	});
}

/** The largest of each place and its eight neighbours. */
function largestAround(plane: Float64Array, [h, w]: readonly [number, number]): Float64Array {
	return plane.map((_, i) => {
		const [y, x] = [Math.floor(i / w), i % w];
		let most = Number.NEGATIVE_INFINITY;
		for (let r = Math.max(0, y - 1); r <= Math.min(h - 1, y + 1); r++) {
			for (let c = Math.max(0, x - 1); c <= Math.min(w - 1, x + 1); c++) most = Math.max(most, plane[r * w + c] ?? 0);
		}
		return most;
	});
}

/** source + mask * (own - source) with the mask of the picture or of the source, in float32. */
function blended(
	latents: Float32Array,
	[pictures, channels, height, width]: readonly [number, number, number, number],
	masks: readonly Uint8Array[],
): Float32Array {
	const plane = height * width;
	const size = channels * plane;
	const out = Float32Array.from(latents);
	for (let picture = 1; picture < pictures; picture++) {
		for (let i = 0; i < size; i++) {
			const source = latents[i] ?? 0;
			const changes = masks[0]?.[i % plane] === 1 || masks[picture]?.[i % plane] === 1;
			out[picture * size + i] = changes ? source + Math.fround((latents[picture * size + i] ?? 0) - source) : source;
		}
	}
	return out;
}
