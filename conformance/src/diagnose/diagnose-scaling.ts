import type { JudgeInput } from '../judge/verdict.js';
import type { AdapterRequest } from '../suite/case.js';
import { classifyDropped } from './classify-dropped.js';
import type { Finding } from './diagnose-case.js';
import type { Code } from './diagnoses.js';
import { hypothesesFor } from './hypotheses.js';
import { readAdapterFacts } from './module-facts.js';

/** Scaling factors are printed numbers: seven digits at f32, three at 16 bits. */
const CLOSE = { f32: 1e-5, f16: 2e-3, bf16: 1.6e-2 } as const;

/** L2: which formula gives all of the subject's factors. */
export async function diagnoseScaling({ case: entry, expect, answer, file, precision }: JudgeInput): Promise<Finding | undefined> {
	const { adapter: ref, base } = entry.request as AdapterRequest;
	const expected = new Map(Object.entries(expect.scaling ?? {}));
	const got = answer.scaling ?? new Map<string, number>();
	const close = (a: number, b: number): boolean => Math.abs(a - b) <= CLOSE[precision] * Math.max(Math.abs(a), Math.abs(b));
	const gone = new Set([...expected.keys()].filter((key) => expected.get(key) !== 0 && (got.get(key) ?? 0) === 0));
	const others = [...expected].every(([key, value]) => gone.has(key) || close(got.get(key) ?? 0, value));
	const wrong = [...expected].filter(([key, value]) => !close(got.get(key) ?? 0, value)).map(([key]) => key);
	const fitting: { code: Code; detail?: string | undefined }[] = [];
	const facts = await readAdapterFacts(ref, base, file, new Map(), async () => undefined);
	for (const { code, detail, scalar, effect } of facts === undefined ? [] : hypothesesFor([facts])) {
		if (!scalar || facts === undefined) continue;
		const all = [...expected.keys()].every((key) => {
			const module = facts.byKey.get(key);
			return module !== undefined && close(effect(module, facts, ref.strength ?? 1).factor, got.get(key) ?? 0);
		});
		if (all) fitting.push({ code, detail });
	}
	if (fitting.length === 0 && gone.size > 0 && others) fitting.push(...classifyDropped([...expected.keys()], gone));
	const [first] = fitting;
	if (first !== undefined) return { ...first, runnersUp: unique(fitting.map((f) => f.code)), evidenceLevel: 'scaling', modules: wrong };
	const ratios = [...expected].filter(([, value]) => value !== 0).map(([key, value]) => (got.get(key) ?? 0) / value);
	const [ratio] = ratios;
	if (ratio !== undefined && ratios.every((r) => close(r, ratio))) {
		return {
			code: 'factor-wrong',
			detail: `factor ${Number(ratio.toPrecision(6))}`,
			runnersUp: [],
			evidenceLevel: 'scaling',
			modules: wrong,
			gain: ratio,
		};
	}
	return { code: 'unexplained', runnersUp: [], evidenceLevel: 'scaling', modules: wrong };
}

/** Each once, in order. */
export function unique<T>(values: readonly T[]): readonly T[] {
	return [...new Set(values)];
}
