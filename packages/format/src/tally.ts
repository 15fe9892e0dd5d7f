import type { Warning } from './errors.js';

/** Counts of values that rounding destroyed, over all tensors of a conversion. */
export interface Tally {
	observe(counts: { readonly underflow: number; readonly overflow: number }): void;
	/** `W_UNDERFLOW`, `W_OVERFLOW` with the counts; empty when nothing was lost. */
	warnings(): readonly Warning[];
}

/** A tally that starts at zero. */
export function createTally(): Tally {
	let underflow = 0;
	let overflow = 0;
	return {
		observe(counts) {
			underflow += counts.underflow;
			overflow += counts.overflow;
		},
		warnings() {
			const out: Warning[] = [];
			if (underflow > 0)
				out.push({
					code: 'W_UNDERFLOW',
					message: `${underflow} values that were not 0 became 0 in the smaller type; keep F32, or use BF16, which has F32's range.`,
				});
			if (overflow > 0)
				out.push({
					code: 'W_OVERFLOW',
					message: `${overflow} finite values became infinite in the smaller type; keep F32, or use BF16, which has F32's range.`,
				});
			return out;
		},
	};
}
