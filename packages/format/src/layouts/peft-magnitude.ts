import type { TargetModule } from '../adapter.js';
import { reshaped, type Tensor } from '../tensor.js';

/**
 * DoRA's magnitude in PEFT's shape: (out) for linear layers, (1, out, 1, 1) for 2-D convolutions, (1, out, 1, ...)
 * for others (LAYOUTS §5.6, measured). Undefined for a magnitude per input column, which PEFT cannot say.
 */
export function peftMagnitude(module: TargetModule): Tensor | undefined {
	const { magnitude, down } = module.factors;
	if (magnitude === undefined || module.magnitudeAxis !== 'out') return undefined;
	const out = magnitude.shape.reduce((product, dim) => product * dim, 1);
	const rank = down?.shape.length ?? 2;
	return reshaped(magnitude, rank <= 2 ? [out] : [1, out, ...new Array<number>(rank - 2).fill(1)]);
}
