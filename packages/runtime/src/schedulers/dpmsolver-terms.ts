import type { Mix } from './solver-sigmas.js';

export type DpmAlgorithm = 'dpmsolver++' | 'sde-dpmsolver++' | 'dpmsolver' | 'sde-dpmsolver';
export type DpmSolverType = 'midpoint' | 'heun';

/** One step as a sum: kept x sample + factors x model outputs (latest first) + noise x unit noise. */
export interface DpmTerms {
	readonly kept: number;
	readonly factors: readonly number[];
	readonly noise: number;
}

/**
 * Factors of a multistep update of order 1, 2 or 3. The formulas are those of diffusers'
 * `dpm_solver_first_order_update`, `multistep_dpm_solver_second_order_update` and `..._third_order_update`
 * (scheduling_dpmsolver_multistep.py), from arXiv 2211.01095 (algorithm 2) and 2206.00927 (appendix B).
 *
 * @param mixes of every call, and the end's; the step goes from that of `call` to the next
 */
export function dpmTerms(algorithm: DpmAlgorithm, solver: DpmSolverType, order: number, mixes: readonly Mix[], call: number): DpmTerms {
	const [from, to] = [mixes[call] as Mix, mixes[call + 1] as Mix];
	const h = to.lambda - from.lambda;
	const { kept, noise, weights } = derivativeWeights(algorithm, solver, order, from, to, h);
	const [w0, w1 = 0, w2 = 0] = weights;
	if (order === 1) return { kept, factors: [w0 as number], noise };

	const r0 = (from.lambda - (mixes[call - 1] as Mix).lambda) / h;
	if (order === 2) return { kept, factors: [(w0 as number) + w1 / r0, -w1 / r0], noise };

	// First differences d0 = (m0 - m1) / r0 and d1 = (m1 - m2) / r1; D1 = d0 + r0 / (r0 + r1) (d0 - d1); D2 = (d0 - d1) / (r0 + r1).
	const r1 = ((mixes[call - 1] as Mix).lambda - (mixes[call - 2] as Mix).lambda) / h;
	const bend = (w1 * r0 + w2) / (r0 + r1);
	const [f0, f1] = [(w1 + bend) / r0, bend / r1];
	return { kept, factors: [(w0 as number) + f0, -f0 - f1, f1], noise };
}

/** Factors of the sample, of the noise, and of D0 (the latest output), D1 and D2 (its first and second differences). */
function derivativeWeights(
	algorithm: DpmAlgorithm,
	solver: DpmSolverType,
	order: number,
	from: Mix,
	to: Mix,
	h: number,
): { kept: number; noise: number; weights: readonly number[] } {
	// The third order has one form only, whose D1 is that of heun.
	const midpoint = order === 2 && solver === 'midpoint';
	switch (algorithm) {
		case 'dpmsolver++':
			return { kept: to.sigma / from.sigma, noise: 0, weights: weightsOf(-to.alpha, -h, midpoint) };
		case 'dpmsolver':
			return { kept: to.alpha / from.alpha, noise: 0, weights: weightsOf(-to.sigma, h, midpoint) };
		case 'sde-dpmsolver++':
			return {
				kept: (to.sigma / from.sigma) * Math.exp(-h),
				noise: to.sigma * Math.sqrt(-Math.expm1(-2 * h)),
				weights: stochasticWeights(-to.alpha, -2 * h, midpoint),
			};
		case 'sde-dpmsolver':
			return {
				kept: to.alpha / from.alpha,
				noise: to.sigma * Math.sqrt(Math.expm1(2 * h)),
				weights: weightsOf(-2 * to.sigma, h, midpoint),
			};
	}
}

/**
 * Factors of D0, D1 and D2: `scale` times e^x - 1, (e^x - 1) / x - 1 and (e^x - 1 - x) / x^2 - 1/2; midpoint takes half
 * of the first for the second.
 */
function weightsOf(scale: number, x: number, midpoint: boolean): readonly number[] {
	const phi1 = Math.expm1(x);
	const w0 = scale * phi1;
	return midpoint ? [w0, 0.5 * w0] : [w0, scale * (phi1 / x - 1), scale * ((phi1 - x) / (x * x) - 0.5)];
}

/** The last differs for the stochastic algorithm: diffusers adds its half with the other sign, and so do we. */
function stochasticWeights(scale: number, x: number, midpoint: boolean): readonly number[] {
	const weights = weightsOf(scale, x, midpoint);
	return midpoint ? weights : [...weights.slice(0, 2), (weights[2] as number) + scale];
}
