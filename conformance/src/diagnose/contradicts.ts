import type { AdapterRequest, Case, Precision } from '../suite/case.js';
import { cyclesOf, readUses, usesOf } from './diagnose-weights.js';
import type { Code } from './diagnoses.js';
import { explains } from './fit.js';
import { hypothesesFor } from './hypotheses.js';
import { readAdapterFacts } from './module-facts.js';
import { observe } from './observe.js';

/** True when a subject with that fault, in whatever variant, would have failed this case, which was passed. */
export async function contradicts(entry: Case, code: Code, precision: Precision, file: (ref: string) => string): Promise<boolean> {
	try {
		return entry.level === 'L2' ? await ofScaling(entry, code, file) : await ofWeights(entry, code, precision, file);
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
