import { compareNames } from './names.js';
import { differs, type JudgeInput, PASSED, some, type Verdict } from './verdict.js';

/** L1: modules, ranks, and names that match nothing; exact. */
export function judgeDescribe({ expect, answer }: JudgeInput): Verdict {
	if (answer.modules === undefined) return differs('the answer has no "modules"', [], 'no-answer');
	const wanted = new Map(Object.entries(expect.modules ?? {}));
	const { missing, extra } = compareNames(wanted.keys(), answer.modules.keys());
	if (missing.length > 0) {
		const what = extra.length > 0 ? `; it has ${some(extra, 2)} instead` : '';
		return differs(
			`${missing.length} of ${wanted.size} modules are missing: ${some(missing)}${what}`,
			missing,
			extra.length > 0 ? 'wrong-module' : 'modules-dropped',
		);
	}
	if (extra.length > 0) return differs(`${extra.length} modules are not in the file: ${some(extra)}`, extra, 'wrong-module');
	const ranks = [...wanted].filter(([name, rank]) => answer.modules?.get(name) !== rank);
	const [first] = ranks;
	if (first !== undefined) {
		const names = ranks.map(([name]) => name);
		return differs(
			`the rank of ${some(names)} is ${first[1] ?? 'none'}, the subject says ${answer.modules.get(first[0]) ?? 'none'}`,
			names,
			'rank-wrong',
		);
	}
	const unmatched = compareNames(expect.unmatched ?? [], answer.unmatched ?? []);
	if (unmatched.missing.length > 0) {
		return differs(`${some(unmatched.missing)} match nothing, and the subject does not say so`, unmatched.missing, 'silent-leftovers');
	}
	if (unmatched.extra.length > 0)
		return differs(`the subject leaves out ${some(unmatched.extra)}, which have a meaning`, unmatched.extra, 'modules-dropped');
	if (expect.layout !== undefined && answer.layout !== undefined && expect.layout !== answer.layout) {
		return differs(`the layout is ${expect.layout}, the subject says ${answer.layout}`, [], 'layout-wrong');
	}
	return PASSED;
}
