/** Round numbers from 0 to at least `max`: four to six steps. `[0]` alone when there is nothing to show. */
export function linearTicks(max: number): readonly number[] {
	if (!(max > 0) || !Number.isFinite(max)) return [0];
	const rough = max / 4;
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = (STEPS.find((s) => s * power >= rough * 0.999999) ?? 10) * power;
	const ticks: number[] = [];
	for (let i = 0; ; i++) {
		// From integers, so that 0.30000000000000004 is never a label.
		const tick = Number((i * step).toPrecision(12));
		ticks.push(tick);
		if (tick >= max) return ticks;
	}
}

const STEPS: readonly number[] = [1, 2, 2.5, 5, 10];

/** Whole decades around the positive values: [lowest, highest] exponents of ten; undefined without any. */
export function decadesOf(values: Iterable<number>, most: number): readonly [number, number] | undefined {
	let low = Number.POSITIVE_INFINITY;
	let high = 0;
	for (const v of values) {
		if (!(v > 0) || !Number.isFinite(v)) continue;
		if (v < low) low = v;
		if (v > high) high = v;
	}
	if (high === 0) return undefined;
	// Zero is never -0.
	const top = Math.ceil(Math.log10(high) - 1e-9) + 0;
	const bottom = Math.floor(Math.log10(low) + 1e-9);
	return [Math.max(Math.min(bottom, top - 1), top - most), top];
}
