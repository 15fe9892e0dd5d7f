import type { OpName } from '@lorakit/runtime';
import { arrangementDerivatives } from './arrangement-derivatives.js';
import { attentionDerivative } from './attention-derivative.js';
import { convolutionDerivatives } from './convolution-derivatives.js';
import type { Derivatives } from './derivative.js';
import { elementwiseDerivatives } from './elementwise-derivatives.js';
import { normDerivatives } from './norm-derivatives.js';
import { productDerivatives } from './product-derivatives.js';

/**
 * How each operation passes a gradient on. Composites have rules of their own where what they stand for would keep more,
 * or do more, than it needs.
 *
 * @param maxScores most attention scores that are there at once
 */
export function derivatives(maxScores: number): Derivatives<OpName> {
	return {
		...elementwiseDerivatives,
		...arrangementDerivatives,
		...productDerivatives,
		...convolutionDerivatives,
		...normDerivatives,
		attention: attentionDerivative(maxScores),
	};
}

export type { Contribution, Derivative } from './derivative.js';
