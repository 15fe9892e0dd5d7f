import type { Warning } from '@lorakit/format';

/** Counts what rounding to a narrower type destroyed while files are written. */
export interface RoundingTally {
	observe(counts: { readonly underflow: number; readonly overflow: number }): void;
	warnings(): readonly Warning[];
}

export function roundingTally(): RoundingTally {
	let underflow = 0;
	let overflow = 0;
	return {
		observe(counts) {
			underflow += counts.underflow;
			overflow += counts.overflow;
		},
		warnings: () => [
			...(underflow === 0
				? []
				: [
						{
							code: 'W_UNDERFLOW' as const,
							message: `${underflow} trained values that were not 0 became 0 in the smaller type; write F32 or BF16.`,
						},
					]),
			...(overflow === 0
				? []
				: [{ code: 'W_OVERFLOW' as const, message: `${overflow} trained values became infinite in the smaller type; write F32 or BF16.` }]),
		],
	};
}
