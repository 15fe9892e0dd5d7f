import type { TargetModule } from '../../adapter.js';
import { FormatError } from '../../errors.js';
import { scaleInPlace } from '../../families/matrix.js';
import type { LowRank } from '../../linalg/low-rank.js';
import { flattenProduct, productOf } from './delta-product.js';

/**
 * A module's delta as one product of thin matrices, in float64 from the stored bits, scaling and strength in `up`:
 *
 * | family | rank |
 * | --- | --- |
 * | LoRA, LoCon (mid folded into down), embedding LoRA (rows are tokens) | r |
 * | LoHa (cores folded first) | r1 r2 |
 * | LoKr (a whole factor counts as a product over its shorter side) | r1 r2 |
 *
 * Exact but for the rounding of doubles; no array of size (out, in) is made on the way.
 *
 * Undefined for everything whose delta is more than a product of its own factors: full differences, norms, whole
 * values, IA3, OFT, GLoRA, DoRA, and factors with a bias (`up_bias`) or a sparse or dense rest beside them.
 *
 * @throws {FormatError} `E_LORA_ALPHA` (alpha was not read, or is not finite), `E_LORA_SHAPE`, `E_LORA_UNPAIRED`,
 *   `E_UNSUPPORTED_ADAPTER`, `E_UNSUPPORTED_DTYPE`, `E_LIMIT`, and what reading the factors throws.
 */
export async function lowRankOf(module: TargetModule, strength = 1): Promise<LowRank | undefined> {
	const where = `${module.component} ${module.path}`;
	const delta = await productOf(module);
	if (delta === undefined) return undefined;
	const { up, down } = flattenProduct(where, delta);
	// `up` is ours: read and decoded for this call alone.
	scaleInPlace(up.data, finiteScaling(module) * strength);
	return { up, down, shape: delta.shape };
}

/** A module's scaling. @throws {FormatError} `E_LORA_ALPHA` when it is not finite or was not read. */
export function finiteScaling(module: TargetModule): number {
	if (Number.isFinite(module.scaling)) return module.scaling;
	throw new FormatError(
		'E_LORA_ALPHA',
		`${module.component} ${module.path} has scaling ${module.scaling} (rule ${module.rule}); its delta needs a finite one.`,
		{ at: module.path },
	);
}
