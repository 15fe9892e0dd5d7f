import { cosineOf, gainOf } from '@lorakit/format';
import type { TensorMeasure } from './measure.js';
import { figure } from './measure.js';
import { compareNames } from './names.js';
import { differs, type JudgeInput, some, type Verdict } from './verdict.js';

/** One float32 division and one product: 3 u, and some room for a subject that prints seven digits. */
const DEFAULT_REL = 1e-6;

/** L2: the number that multiplies each module's delta. */
export function judgeScaling({ expect, answer, allowance }: JudgeInput): Verdict {
	if (answer.scaling === undefined) return differs('the answer has no "scaling"', [], 'no-answer');
	const wanted = new Map(Object.entries(expect.scaling ?? {}));
	const { missing, extra } = compareNames(wanted.keys(), answer.scaling.keys());
	if (missing.length > 0)
		return differs(`${missing.length} of ${wanted.size} modules are missing: ${some(missing)}`, missing, 'modules-dropped');
	if (extra.length > 0) return differs(`${extra.length} modules are not in the file: ${some(extra)}`, extra, 'wrong-module');
	const rel = allowance.rel ?? (allowance.abs === undefined ? DEFAULT_REL : 0);
	const wrong: TensorMeasure[] = [];
	let [ae, aa, ee, worst, error] = [0, 0, 0, 0, 0];
	for (const [name, exact] of wanted) {
		const got = answer.scaling.get(name) ?? Number.NaN;
		const off = Math.abs(got - exact);
		const allowed = (allowance.abs ?? 0) + rel * Math.abs(exact);
		const finite = Number.isFinite(off);
		const share = off === 0 ? 0 : finite ? off / allowed : Number.POSITIVE_INFINITY;
		[ae, aa, ee] = [ae + got * exact, aa + got * got, ee + exact * exact];
		[worst, error] = [Math.max(worst, share), Math.max(error, finite ? off : 0)];
		if (share <= 1) continue;
		const gain = exact === 0 ? Number.NaN : got / exact;
		wrong.push({
			name,
			elements: 1,
			gain,
			cosine: Math.sign(gain),
			error: finite ? off : 0,
			ulps: 0,
			share,
			over: 1,
			nonFinite: Number.isFinite(got) ? 0 : 1,
		});
	}
	const measure = {
		tensors: wanted.size,
		gain: figure(gainOf({ ee, ae })),
		cosine: figure(cosineOf({ ee, aa, ae })),
		error,
		ulps: 0,
		grade: null,
		share: figure(worst) ?? -1,
	};
	const [first] = wrong;
	if (first === undefined) return { status: 'passed', message: '', measure };
	const names = wrong.map((w) => w.name);
	const exact = wanted.get(first.name);
	const said = answer.scaling.get(first.name) ?? Number.NaN;
	return {
		status: 'failed',
		message: `the scaling of ${some(names, 1)} is ${exact}, the subject says ${Number.isFinite(said) ? said : 'that it is not finite'}`,
		measure,
		wrong,
	};
}
