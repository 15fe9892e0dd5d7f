import type { Adapter, Role, TargetModule } from '../adapter.js';
import { type CastResult, castTensor } from '../cast.js';
import { isFloat } from '../dtype.js';
import type { Tensor } from '../tensor.js';

/** Types that `--dtype` may ask for. */
export type CastDType = 'F16' | 'BF16' | 'F32';

/** Told what each cast did to the values, when they are computed. */
export type CastObserver = (result: CastResult) => void;

/**
 * Cast every float factor and embedding to `dtype`. Alpha and `.scale` tensors keep their type: a rounded alpha
 * would change every element, not one. Widening is exact; narrowing rounds once (bound in the derivation).
 */
export function castAdapter(adapter: Adapter, dtype: CastDType, observe?: CastObserver): Adapter {
	return {
		...adapter,
		modules: adapter.modules.map((m) => castModule(m, dtype, observe)),
		embeddings: adapter.embeddings.map((e) => ({ ...e, vectors: castFloat(e.vectors, dtype, observe) })),
	};
}

function castModule(module: TargetModule, dtype: CastDType, observe: CastObserver | undefined): TargetModule {
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor][]) factors[role] = castFloat(tensor, dtype, observe);
	return { ...module, factors };
}

/** A float tensor in another type; anything else, and the same type, as it is. */
export function castFloat(tensor: Tensor, dtype: CastDType, observe?: CastObserver): Tensor {
	return isFloat(tensor.dtype) && tensor.dtype !== dtype ? castTensor(tensor, dtype, observe) : tensor;
}
