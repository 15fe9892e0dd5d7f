import { deltaProducts, gainOf, totalProducts } from '@lorakit/format';
import { figure } from '../judge/measure.js';
import { roundTo } from '../judge/number-format.js';
import type { JudgeInput, Verdict } from '../judge/verdict.js';
import type { AdapterRef, Precision } from '../suite/case.js';
import { classifyDropped } from './classify-dropped.js';
import type { Finding } from './diagnose-case.js';
import { unique } from './diagnose-scaling.js';
import type { Code } from './diagnoses.js';
import { fits, goneModules, misfit, predict, type ReadUse } from './fit.js';
import { hypothesesFor } from './hypotheses.js';
import { type AdapterFacts, readAdapterFacts, weightLookup } from './module-facts.js';
import { baseOf, type Observation, type Observed, observe } from './observe.js';
import { type Lifecycle, lifecycles } from './uses.js';

/** L3 and L4: which formula gives what was added, module by module. */
export async function diagnoseWeights(verdict: Verdict, input: JudgeInput): Promise<Finding | undefined> {
	const observations = await observe(input);
	if (observations.every((o) => o.modules.length === 0)) return undefined;
	const seen = new Set(observations.flatMap((o) => o.modules.map((m) => m.key)));
	// A bias or another tensor that no formula here speaks of.
	if (verdict.wrong?.every((w) => !seen.has(w.name.replace(/\.weight$/, ''))) === true && verdict.wrong.length > 0) return undefined;
	const cycles = cyclesOf(input);
	const read = await readUses(input, cycles, observations);
	const fitting = read === undefined ? [] : fittingCodes(observations, cycles, read, input.precision, verdict.hint);
	const wrong = wrongModules(observations, input.precision);
	const [first] = fitting;
	if (first !== undefined) {
		return { ...first, runnersUp: unique(fitting.map((f) => f.code)), evidenceLevel: 'weights', modules: wrong };
	}
	return { ...byNumbers(verdict, observations, input), modules: wrong };
}

export interface Named {
	readonly code: Code;
	readonly detail?: string | undefined;
}

type Read = ReadonlyMap<string, AdapterFacts>;

/** L3 is one adapter that acts; L4 a script. */
export function cyclesOf({ case: { request } }: Pick<JudgeInput, 'case'>): readonly Lifecycle[] {
	if (request.op === 'weights') return lifecycles(request.actions);
	if (request.op !== 'delta') return [];
	const use = { adapter: request.adapter, strength: request.adapter.strength ?? 1 };
	return [{ code: undefined, exports: new Map([['delta', [use]]]) }];
}

/** Every adapter that some lifecycle uses; undefined when one cannot be read. */
export async function readUses(
	input: Pick<JudgeInput, 'case' | 'file'>,
	cycles: readonly Lifecycle[],
	observations: readonly Observation[],
): Promise<Read | undefined> {
	const base = baseOf(input.case);
	const shapes = new Map(observations.flatMap((o) => o.modules.map((m) => [m.key, m.shape] as const)));
	const weight = await weightLookup(base, input.file);
	const out = new Map<string, AdapterFacts>();
	for (const { exports } of cycles) {
		for (const uses of exports.values()) {
			for (const { adapter } of uses) {
				const key = keyOf(adapter);
				if (out.has(key)) continue;
				const facts = await readAdapterFacts(adapter, base, input.file, shapes, weight);
				if (facts === undefined) return undefined;
				out.set(key, facts);
			}
		}
	}
	return out;
}

/** Uses of one export with their facts. */
export function usesOf(cycle: Lifecycle | undefined, read: Read): (export_: string) => readonly ReadUse[] {
	return (name) =>
		(cycle?.exports.get(name) ?? []).flatMap((use) => {
			const facts = read.get(keyOf(use.adapter));
			return facts === undefined ? [] : [{ ...use, facts }];
		});
}

function keyOf({ file, config, textEncoder }: AdapterRef): string {
	return JSON.stringify([file, config, textEncoder]);
}

/**
 * All codes that explain everything, the nearest first among those that are much nearer than the right rule, else in
 * order: the more special first. Where the right rule explains as well as any, the numbers were only rounded.
 */
function fittingCodes(
	observations: readonly Observation[],
	cycles: readonly Lifecycle[],
	read: Read,
	precision: Precision,
	hint: string | undefined,
): readonly Named[] {
	const [right, ...broken] = cycles;
	const uses = usesOf(right, read);
	const rounding = misfit(observations, uses, undefined, precision);
	const fitting: (Named & { readonly off: number })[] = [];
	const add = (named: Named, off: number | undefined): void => {
		// No nearer than the right rule: the evidence does not show it.
		if (off !== undefined && (rounding === undefined || off < rounding / 4)) fitting.push({ ...named, off });
	};
	for (const cycle of broken) {
		if (cycle.code !== undefined) add({ code: cycle.code }, misfit(observations, usesOf(cycle, read), undefined, precision));
	}
	for (const h of hypothesesFor([...read.values()])) add({ code: h.code, detail: h.detail }, misfit(observations, uses, h, precision));
	if (rounding !== undefined) {
		const code = hint === 'not-restored' ? 'unload-by-subtraction' : 'rounded-too-often';
		fitting.sort((a, b) => a.off - b.off);
		return fitting.length > 0 ? fitting : [{ code }];
	}
	if (fitting.length > 0) return fitting;
	return otherModules(observations, uses, precision) ? [{ code: 'module-order' }] : [];
}

/** Every wrong module got what belongs to another one of its shape. */
function otherModules(observations: readonly Observation[], usesOf: (name: string) => readonly ReadUse[], precision: Precision): boolean {
	let moved = 0;
	for (const { name, modules } of observations) {
		const uses = usesOf(name);
		for (const m of modules) {
			const noise = m.noise(precision);
			if (fits(m.got, predict(m.key, m.got.length, uses, undefined), noise, precision)) continue;
			if (!modules.some((other) => other !== m && belongsTo(m, other, uses, noise, precision))) return false;
			moved++;
		}
	}
	return moved > 0;
}

function belongsTo(m: Observed, other: Observed, uses: readonly ReadUse[], noise: number, precision: Precision): boolean {
	if (other.got.length !== m.got.length) return false;
	if (fits(m.got, predict(other.key, m.got.length, uses, undefined), noise, precision)) return true;
	// The other's delta with the module's own factor.
	const own = uses[0]?.facts.byKey.get(m.key);
	const theirs = uses[0]?.facts.byKey.get(other.key);
	if (uses.length !== 1 || own === undefined || theirs === undefined) return false;
	const ratio = theirs.scaling === 0 ? 0 : own.scaling / theirs.scaling;
	return fits(
		m.got,
		predict(other.key, m.got.length, uses, undefined).map((x) => x * ratio),
		noise,
		precision,
	);
}

/** What can be said without a formula. */
function byNumbers(verdict: Verdict, observations: readonly Observation[], { precision }: JudgeInput): Finding {
	const modules = observations.flatMap((o) => o.modules);
	const evidenceLevel = 'weights';
	if (verdict.hint === 'not-restored') {
		const slight = modules.every((m) => fits(m.got, m.expected, m.noise(precision), precision));
		return { code: slight ? 'unload-by-subtraction' : 'not-restored', runnersUp: [], evidenceLevel };
	}
	if (verdict.hint === 'untouched-changed') return { code: 'untouched-changed', runnersUp: [], evidenceLevel };
	const { gone, right } = goneModules(modules, precision);
	const due = modules.filter((m) => m.expected.some((x) => x !== 0));
	if (gone.length > 0 && gone.length + right.length === due.length) {
		const shapes = new Map(modules.map((m) => [m.key, m.shape]));
		const [first, ...rest] = classifyDropped(
			due.map((m) => m.key),
			new Set(gone),
			shapes,
		);
		if (first !== undefined) return { ...first, runnersUp: rest.map((r) => r.code), evidenceLevel };
	}
	const gain = commonGain(due, precision);
	if (gain !== undefined) {
		return { code: 'factor-wrong', detail: `factor ${Number(gain.toPrecision(5))}`, runnersUp: [], evidenceLevel, gain: figure(gain) };
	}
	const coarse = coarserPrecision(modules, precision);
	if (coarse !== undefined) return { code: coarse, runnersUp: [], evidenceLevel };
	return { code: 'unexplained', runnersUp: [], evidenceLevel };
}

/**
 * Right up to a coarser precision. Numbers that all have eight bits were rounded to bfloat16, although float16 could
 * hold them too; so the narrower type is asked first, and by the size of the errors only when the bits do not say.
 */
function coarserPrecision(modules: readonly Observed[], precision: Precision): 'bf16-rounding' | 'f16-rounding' | undefined {
	const right = (to: Precision): boolean => modules.every((m) => fits(m.got, m.expected, m.noise(to), to));
	const holds = (to: Precision): boolean => modules.every((m) => m.written.every((x) => roundTo(to, x) === x));
	if (precision === 'bf16') return undefined;
	const candidates = precision === 'f16' ? (['bf16'] as const) : (['bf16', 'f16'] as const);
	for (const to of candidates) if (holds(to) && right(to)) return `${to}-rounding`;
	for (const to of [...candidates].reverse()) if (right(to)) return `${to}-rounding`;
	return undefined;
}

/** One factor for all modules, nothing else wrong. */
function commonGain(modules: readonly Observed[], precision: Precision): number | undefined {
	const gain = gainOf(totalProducts(modules.map(({ got, expected }) => deltaProducts(got, expected))));
	if (!Number.isFinite(gain) || Math.abs(gain - 1) < 1e-3) return undefined;
	const same = modules.every((m) =>
		fits(
			m.got,
			m.expected.map((x) => x * gain),
			m.noise(precision),
			precision,
		),
	);
	return same ? gain : undefined;
}

function wrongModules(observations: readonly Observation[], precision: Precision): readonly string[] {
	const out: string[] = [];
	for (const { modules } of observations) {
		for (const m of modules) if (!fits(m.got, m.expected, m.noise(precision), precision)) out.push(m.key);
	}
	return unique(out).slice(0, 8);
}
