import type { TrainableTensor } from '../model/trainable-tensor.js';
import { AdamW } from './adamw.js';
import { AdamW8bit } from './adamw-8bit.js';
import type { Optimizer } from './optimizer.js';
import { type OptimizerOptionsInput, parseOptimizerOptions } from './optimizer-options.js';
import { Prodigy } from './prodigy.js';

/**
 * An optimizer over tensors. It holds them and changes their values in place; everything it needs besides is allocated here.
 *
 * @param options what is left out has its default
 * @param tensors in the order in which their sums are added, so keep it for a run
 * @throws {FormatError} `E_CONFIG` for options that cannot be, `E_USAGE` for tensors of one name or a wrong shape
 */
export function createOptimizer(options: OptimizerOptionsInput, tensors: readonly TrainableTensor[]): Optimizer {
	const known = parseOptimizerOptions(options);
	switch (known.kind) {
		case 'adamw':
			return new AdamW(known, tensors);
		case 'adamw8bit':
			return new AdamW8bit(known, tensors);
		case 'prodigy':
			return new Prodigy(known, tensors);
	}
}
