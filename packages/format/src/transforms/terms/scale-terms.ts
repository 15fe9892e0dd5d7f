import { FormatError } from '../../errors.js';
import type { Strength } from '../strength/adapter-use.js';
import { planTerms } from './plan-terms.js';
import type { TermPlan } from './terms-types.js';

/**
 * The same plan at other strengths, as `planTerms` would make it anew. Factors that were read are not read again, nor is the
 * base for DoRA (but under PEFT's rule, where the norm depends on the strength): of a low rank only `up` is made anew.
 *
 * @param strengths one for each of the plan's adapters, in their order
 * @throws {FormatError} `E_USAGE` when they are not as many; as `planTerms` for a module that had strength 0 until now.
 */
export async function scaleTerms(plan: TermPlan, strengths: readonly Strength[]): Promise<TermPlan> {
	if (strengths.length !== plan.uses.length) {
		throw new FormatError('E_USAGE', `${strengths.length} strengths were given for ${plan.uses.length} adapters; give one for each.`);
	}
	const uses = plan.uses.map((use, n) => ({ ...use, strength: strengths[n] ?? use.strength }));
	return planTerms(plan.base, uses, { ...plan.options, previous: plan });
}
