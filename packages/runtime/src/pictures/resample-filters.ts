/** Filters by Pillow's names. */
export const RESAMPLE_FILTERS = ['box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const;
export type ResampleFilter = (typeof RESAMPLE_FILTERS)[number];

/** A filter: zero outside `support`, in source pixels when enlarging. */
export interface Filter {
	readonly support: number;
	weight(x: number): number;
}

/** Pillow's filters (python-pillow/Pillow src/libImaging/Resample.c); bicubic has a = -0.5, where OpenCV and torch have -0.75. */
export const FILTERS: Readonly<Record<ResampleFilter, Filter>> = {
	box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
	bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
	hamming: { support: 1, weight: hamming },
	bicubic: { support: 2, weight: bicubic },
	lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function hamming(signed: number): number {
	const x = Math.abs(signed);
	if (x === 0) return 1;
	return x >= 1 ? 0 : (Math.sin(x * Math.PI) / (x * Math.PI)) * (0.54 + 0.46 * Math.cos(x * Math.PI));
}

function bicubic(signed: number): number {
	const x = Math.abs(signed);
	if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
	return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

function sinc(x: number): number {
	return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}
