import { createRandom } from './random.js';

/** Which elements DARE keeps: 1 keep, 0 drop. */
export type DareMask = Uint8Array;

/** A mask of `count` elements, each kept with probability `density`, from `createRandom(key)`. */
export function dareMask(key: string, count: number, density: number): DareMask {
	const random = createRandom(key);
	const mask = new Uint8Array(count);
	for (let i = 0; i < count; i++) mask[i] = random() < density ? 1 : 0;
	return mask;
}

/**
 * Drop and rescale: what the mask keeps is divided by `density`, so that the expected value stays.
 * Source: PEFT 0.21 peft/utils/merge_utils.py random_pruning with rescale. From a density of 1 on nothing is done.
 */
export function droppedAndRescaled(values: Float64Array, mask: DareMask, density: number): Float64Array {
	if (density >= 1) return values;
	const out = new Float64Array(values.length);
	for (let i = 0; i < out.length; i++) if (mask[i] === 1) out[i] = (values[i] as number) / density;
	return out;
}
