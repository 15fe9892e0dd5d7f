import { FormatError } from '@lorakit/format';
import type { Value } from '../graph/index.js';
import { sizeOf } from '../graph/ops.js';

/**
 * First of the rows that the prompts condition: the last `pictures` rows of the batch. With guidance the rows before
 * them are the unconditional half.
 * @throws {FormatError} `E_USAGE` when the batch is not that of so many pictures.
 */
export function firstConditionalRow(batched: Value, pictures: number): number {
	const batch = sizeOf(batched, 0);
	if (batch !== pictures && batch !== 2 * pictures) {
		throw new FormatError(
			'E_USAGE',
			`An attention control for ${pictures} picture(s) is used for a batch of ${batch} rows; it needs ${pictures}, or ${2 * pictures} with guidance.`,
		);
	}
	return batch - pictures;
}
