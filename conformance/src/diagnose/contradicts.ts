import type { AdapterRequest, Case, ForwardRequest, Precision } from '../suite/case.js';
import { isNear, readModuleUses } from './diagnose-module-output.js';
import { cyclesOf, readUses, usesOf } from './diagnose-weights.js';
import type { Code } from './diagnoses.js';
import { explains, predict } from './fit.js';
import { hypothesesFor } from './hypotheses.js';
import { readAdapterFacts } from './module-facts.js';
import { observe } from './observe.js';
import { recordedOutputs } from './recorded-outputs.js';

/** True when a subject with that fault, in whatever variant, would have failed this case, which was passed. */
export async function contradicts(entry: Case, code: Code, precision: Precision, file: (ref: string) => string): Promise<boolean> {
	try {
		switch (entry.request.op) {
			case 'scaling':
				return await ofScaling(entry, code, file);
			case 'forward':
			case 'image':
				return await ofOutputs(entry, code, precision, file);
			default:
				return await ofWeights(entry, code, precision, file);
		}
	} catch {
		return false;
	}
}

async function ofScaling(entry: Case, code: Code, file: (ref: string) => string): Promise<boolean> {
	const { adapter, base } = entry.request as AdapterRequest;
	const facts = await readAdapterFacts(adapter, base, file, new Map(), async () => undefined);
	if (facts === undefined) return false;
	const variants = hypothesesFor([facts]).filter((h) => h.code === code && h.scalar);
	if (variants.length === 0) return false;
	const expected = Object.entries(entry.expect.scaling ?? {});
	return !variants.some((h) =>
		expected.every(([key, value]) => {
			const module = facts.byKey.get(key);
			return module !== undefined && Math.abs(h.effect(module, facts, adapter.strength ?? 1).factor - value) <= 1e-5 * Math.abs(value);
		}),
	);
}

async function ofWeights(entry: Case, code: Code, precision: Precision, file: (ref: string) => string): Promise<boolean> {
	// What a right subject would have written: what this one wrote, since it passed.
	const observations = await observe({ case: entry, expect: entry.expect, file, precision });
	const cycles = cyclesOf({ case: entry });
	const read = await readUses({ case: entry, file }, cycles, observations);
	if (read === undefined) return false;
	const broken = cycles.find((c) => c.code === code);
	if (broken !== undefined) return !explains(observations, usesOf(broken, read), undefined, precision);
	const variants = hypothesesFor([...read.values()]).filter((h) => h.code === code);
	return variants.length > 0 && !variants.some((h) => explains(observations, usesOf(cycles[0], read), h, precision));
}

/** Faults that stand for several formulas: that one of them was recorded refutes none of the others. */
const SEVERAL: ReadonlySet<Code> = new Set(['block-dropped', 'rank-of-first-module-for-all', 'alpha-of-first-module-for-all']);

async function ofOutputs(entry: Case, code: Code, precision: Precision, file: (ref: string) => string): Promise<boolean> {
	const request = entry.request as ForwardRequest;
	if (request.module !== undefined) return await ofModule(request, code, file);
	if (SEVERAL.has(code)) return false;
	const allowance = entry.tolerance?.[precision] ?? {};
	const mine = (await recordedOutputs(entry, entry.expect, file)).filter((w) => w.code === code);
	// Far enough that the case would have failed.
	return mine.some(({ wrong, exact }) => {
		let [off, largest] = [0, 0];
		for (let i = 0; i < exact.length; i++) {
			off = Math.max(off, Math.abs((wrong[i] ?? 0) - (exact[i] ?? 0)));
			largest = Math.max(largest, Math.abs(exact[i] ?? 0));
		}
		return off > (allowance.abs ?? 0) + (allowance.rel ?? 0) * largest;
	});
}

async function ofModule(
	{ component, module = '', adapters, base }: ForwardRequest,
	code: Code,
	file: (ref: string) => string,
): Promise<boolean> {
	const read = await readModuleUses(`${component}.${module}`, adapters, base, file);
	if (read === undefined) return false;
	const { key, held, uses } = read;
	const right = predict(key, held.values.length, uses, undefined);
	const variants = hypothesesFor(uses.map((u) => u.facts)).filter((h) => h.code === code);
	return variants.length > 0 && !variants.some((h) => isNear(predict(key, right.length, uses, h), right, 1e-6));
}
