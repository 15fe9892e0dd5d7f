import type { Code, Explanation } from './explanations.js';
import { ADAPTER_EXPLANATIONS } from './explanations-adapter.js';
import { CONVERSION_EXPLANATIONS } from './explanations-conversion.js';
import { FILE_EXPLANATIONS } from './explanations-file.js';
import { SAFETENSORS_EXPLANATIONS } from './explanations-safetensors.js';
import { TORCH_EXPLANATIONS } from './explanations-torch.js';
import { TRANSFORM_EXPLANATIONS } from './explanations-transforms.js';
import { WARNING_EXPLANATIONS } from './explanations-warnings.js';
import { METADATA_WARNING_EXPLANATIONS } from './explanations-warnings-metadata.js';

/** Every code and its explanation: the compiler checks that none is missing and none is too many. */
export const EXPLANATIONS: Readonly<Record<Code, Explanation>> = {
	...SAFETENSORS_EXPLANATIONS,
	...TORCH_EXPLANATIONS,
	...FILE_EXPLANATIONS,
	...ADAPTER_EXPLANATIONS,
	...CONVERSION_EXPLANATIONS,
	...TRANSFORM_EXPLANATIONS,
	...WARNING_EXPLANATIONS,
	...METADATA_WARNING_EXPLANATIONS,
};
