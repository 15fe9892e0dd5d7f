import { type PlacedTensor, placeTensor, splitLeaf } from '../modules/checkpoint-names.js';
import { canonicalTextEncoderPath } from '../modules/text-encoder-templates.js';

export type { PlacedTensor, TensorLeaf } from '../modules/checkpoint-names.js';

/**
 * Which part of which module one stored tensor is. In a component folder names are the component's own (text encoders
 * with or without their `text_model.` level); a single-file checkpoint has them behind prefixes, in LDM, sgm, OpenCLIP,
 * BFL or Stability names. None for tensors that are no module's: position ids, EMA copies, schedules, the VAE of a single file.
 *
 * @param component the folder (`unet`, `text_encoder`, ...); undefined for a single file
 */
export function placeBaseTensor(component: string | undefined, name: string, shape: readonly number[]): readonly PlacedTensor[] {
	if (component === undefined) return placeTensor(name, shape);
	const split = splitLeaf(name);
	if (split === undefined) return [];
	const path = component.startsWith('text_encoder') ? (canonicalTextEncoderPath(split.path)?.path ?? split.path) : split.path;
	return [{ component, path, leaf: split.leaf, shape, rows: undefined, transposed: false }];
}
