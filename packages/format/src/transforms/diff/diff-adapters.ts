import type { Adapter, Embedding, TargetModule } from '../../adapter.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { deltaOf } from '../../families/index.js';
import { decodeFloats } from '../../half.js';
import { flattenPath } from '../../modules/grammar.js';
import { renameNaming } from '../naming/rename-naming.js';
import { compareDeltas } from './diff-adapters-pair.js';
import type { DiffBlock, DiffEmbedding, DiffModule, DiffReport, DiffSide, DiffSummary } from './diff-adapters-types.js';
import { energyOf, factorBytes, type ModuleDelta, type ModuleEnergy, moduleDelta, needsBaseWarnings } from './energy.js';
import type { BaseReader } from './energy-base.js';
import { compareBlocks, energyBlockOf } from './energy-blocks.js';

export interface DiffOptions {
	/** Weights of the base, for what depends on them. */
	readonly base?: BaseReader | undefined;
	/** Largest relative difference at which two adapters are still the same. Default 1e-6. */
	readonly tolerance?: number | undefined;
	/** Bytes of factors. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Two ways to store one float32 adapter agree to this: above the rounding of F32, below that of F16. */
export const SAME_TOLERANCE = 1e-6;

/**
 * Compare what two adapters do, module by module and block by block, at strength 1: norms, ranks, cosines. Layouts,
 * dtypes and names do not matter, only deltas. Products are compared by Gram traces; the full delta is never made
 * for them. Streams: at most the factors of one module of each side are in memory.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` (weights of different sizes), `E_NONFINITE`, and those of reading.
 */
export async function diffAdapters(a: Adapter, given: Adapter, options: DiffOptions = {}): Promise<DiffReport> {
	const warnings: Warning[] = [];
	const b = inNamesOf(a, given, warnings);
	const pairs = pairModules(a, b);
	const modules: DiffModule[] = [];
	const measured: ModuleEnergy[] = [];
	const total = pairs.reduce((sum, [one, two]) => sum + factorBytes(one) + factorBytes(two), 0);
	let done = 0;
	for (const [one, two] of pairs) {
		const result = await compareModule(one, two, options.base, [a.source.name, given.source.name]);
		modules.push(result.module);
		measured.push(...result.measured);
		done += factorBytes(one) + factorBytes(two);
		options.onProgress?.(done, total);
	}
	modules.sort((x, y) => compareBlocks(energyBlockOf(x.component, x.path), energyBlockOf(y.component, y.path)));
	const embeddings = await compareEmbeddings(a.embeddings, b.embeddings);
	const tolerance = options.tolerance ?? SAME_TOLERANCE;
	return {
		schema: 'lora.diff/1',
		a: sideOf(a),
		b: sideOf(given),
		...verdict(modules, embeddings, tolerance),
		tolerance,
		total: summarise(modules),
		blocks: blocksOf(modules),
		modules,
		embeddings,
		warnings: [...warnings, ...needsBaseWarnings(measured)],
	};
}

function inNamesOf(a: Adapter, b: Adapter, warnings: Warning[]): Adapter {
	if (a.naming === b.naming) return b;
	try {
		return renameNaming(b, a.naming);
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		warnings.push({
			code: 'W_UNRESOLVED',
			message: `${quote(b.source.name)} has ${b.naming} names and ${quote(a.source.name)} ${a.naming} names, and one cannot be told in the other's: ${error.message}`,
		});
		return b;
	}
}

function pairModules(a: Adapter, b: Adapter): readonly (readonly [TargetModule | undefined, TargetModule | undefined])[] {
	// A flattened name that no table could take apart still meets its dotted self.
	const flat = [...a.modules, ...b.modules].some((m) => !m.resolved);
	const key = (m: TargetModule): string => `${m.component}\u0000${flat ? flattenPath(m.path) : m.path}\u0000${KINDS.get(m.family) ?? ''}`;
	const open = new Map(b.modules.map((m) => [key(m), m]));
	const pairs: [TargetModule | undefined, TargetModule | undefined][] = [];
	for (const m of a.modules) {
		const k = key(m);
		pairs.push([m, open.get(k)]);
		open.delete(k);
	}
	for (const m of open.values()) pairs.push([undefined, m]);
	return pairs;
}

/** Families that a module may have beside another one under the same name. */
const KINDS: ReadonlyMap<string, string> = new Map([['norm', 'norm']]);

async function compareModule(
	a: TargetModule | undefined,
	b: TargetModule | undefined,
	base: BaseReader | undefined,
	[nameA, nameB]: readonly [string, string],
): Promise<{ readonly module: DiffModule; readonly measured: readonly ModuleEnergy[] }> {
	const any = a ?? b;
	if (any === undefined) throw new TypeError('a pair of nothing');
	const { component, path } = a !== undefined && (a.resolved || b === undefined) ? a : (b ?? any);
	let deltaA = a === undefined ? undefined : await moduleDelta(a, base);
	let deltaB = b === undefined ? undefined : await moduleDelta(b, base);
	const energyA = a === undefined || deltaA === undefined ? undefined : namedEnergy(nameA, a, deltaA);
	const energyB = b === undefined || deltaB === undefined ? undefined : namedEnergy(nameB, b, deltaB);
	const measured = [energyA, energyB].filter((e) => e !== undefined);
	let comparison: ReturnType<typeof compareDeltas>;
	if (
		a !== undefined &&
		b !== undefined &&
		deltaA !== undefined &&
		deltaB !== undefined &&
		energyA !== undefined &&
		energyB !== undefined
	) {
		if (deltaA.kind === 'product' && deltaB.kind === 'dense') deltaA = await dense(a, deltaA);
		if (deltaB.kind === 'product' && deltaA.kind === 'dense') deltaB = await dense(b, deltaB);
		comparison = compareDeltas(`${component} ${path}`, deltaA, deltaB, energyA.norm ** 2, energyB.norm ** 2);
	}
	const [x, y] = [energyA?.norm ?? 0, energyB?.norm ?? 0];
	const larger = Math.max(x, y);
	return {
		module: {
			component,
			path,
			block: energyBlockOf(component, path).label,
			a: energyA === undefined ? null : sideValues(energyA),
			b: energyB === undefined ? null : sideValues(energyB),
			inner: comparison?.inner ?? null,
			cosine: comparison === undefined || x === 0 || y === 0 ? null : clamp(comparison.inner / (x * y)),
			difference: comparison === undefined ? null : larger === 0 ? 0 : Math.sqrt(Math.max(0, comparison.squaredDistance)) / larger,
			distance: comparison === undefined ? null : Math.sqrt(Math.max(0, comparison.squaredDistance)),
			measure: energyA?.measure === 'factors' || energyB?.measure === 'factors' ? 'factors' : 'delta',
		},
		measured,
	};
}

/** `energyOf`; what it refuses says in which of the two files. */
function namedEnergy(name: string, module: TargetModule, delta: ModuleDelta): ModuleEnergy {
	try {
		return energyOf(module, delta);
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		throw new FormatError(error.code, `${quote(name)}: ${error.message}`, { at: error.at, cause: error });
	}
}

async function dense(module: TargetModule, delta: ModuleDelta): Promise<ModuleDelta> {
	if (delta.kind !== 'product') return delta;
	const { weight, bias } = await deltaOf(module);
	return { kind: 'dense', values: [weight?.data, bias?.data].filter((v) => v !== undefined) };
}

function sideValues(energy: ModuleEnergy): NonNullable<DiffModule['a']> {
	const { family, rank, norm, stableRank, effectiveRank, values } = energy;
	return { family, rank, norm, stableRank, effectiveRank, values: values === null ? null : Array.from(values) };
}

/** Rounding takes a cosine of 1 just past it. */
function clamp(cosine: number): number {
	return Math.max(-1, Math.min(1, cosine));
}

function sideOf(adapter: Adapter): DiffSide {
	return {
		name: adapter.source.name,
		layout: adapter.source.layout,
		base: adapter.base.label,
		modules: adapter.modules.length,
		embeddings: adapter.embeddings.length,
	};
}

function verdict(
	modules: readonly DiffModule[],
	embeddings: readonly DiffEmbedding[],
	tolerance: number,
): Pick<DiffReport, 'same' | 'verdict' | 'largest'> {
	const onlyA = modules.filter((m) => m.b === null && (m.a?.norm ?? 0) > 0).length;
	const onlyB = modules.filter((m) => m.a === null && (m.b?.norm ?? 0) > 0).length;
	const odd = modules.find((m) => m.a !== null && m.b !== null && m.difference === null);
	let largest: DiffReport['largest'] = null;
	for (const { component, path, difference } of modules) {
		if (difference !== null && difference > (largest?.difference ?? -1)) largest = { component, path, difference };
	}
	const words = embeddings.filter((e) => e.difference === null || e.difference > tolerance);
	const worst = largest?.difference ?? 0;
	const same = onlyA + onlyB === 0 && odd === undefined && worst <= tolerance && words.length === 0;
	const where = largest === null ? '' : ` (${largest.component} ${largest.path})`;
	if (same) {
		const text =
			worst === 0 ? 'the same adapter: no difference' : `the same adapter: largest relative difference ${worst.toPrecision(2)}${where}`;
		return { same, verdict: text, largest };
	}
	const parts: string[] = [];
	if (onlyA > 0) parts.push(`${onlyA} modules only in the first`);
	if (onlyB > 0) parts.push(`${onlyB} modules only in the second`);
	if (worst > tolerance) parts.push(`largest relative difference ${worst.toPrecision(2)}${where}`);
	if (odd !== undefined) parts.push(`${odd.component} ${odd.path} cannot be compared without the base`);
	if (words.length > 0) parts.push(`${words.length} embeddings differ`);
	return { same, verdict: `different: ${parts.join('; ')}`, largest };
}

function summarise(modules: readonly DiffModule[]): DiffSummary {
	let [a, b, inner, distance] = [0, 0, 0, 0];
	let [onlyA, onlyB, both] = [0, 0, 0];
	for (const m of modules) {
		if (m.b === null) onlyA++;
		else if (m.a === null) onlyB++;
		else both++;
		if (m.measure === 'factors') continue;
		a += (m.a?.norm ?? 0) ** 2;
		b += (m.b?.norm ?? 0) ** 2;
		inner += m.inner ?? 0;
		distance += m.distance === null ? (m.a?.norm ?? 0) ** 2 + (m.b?.norm ?? 0) ** 2 : m.distance ** 2;
	}
	return {
		modules: modules.length,
		both,
		onlyA,
		onlyB,
		normA: Math.sqrt(a),
		normB: Math.sqrt(b),
		cosine: a > 0 && b > 0 ? clamp(inner / Math.sqrt(a * b)) : null,
		difference: Math.max(a, b) > 0 ? Math.sqrt(distance / Math.max(a, b)) : 0,
	};
}

function blocksOf(modules: readonly DiffModule[]): DiffBlock[] {
	const groups = new Map<string, DiffModule[]>();
	for (const m of modules) {
		const key = `${m.component}\u0000${m.block}`;
		const group = groups.get(key);
		if (group === undefined) groups.set(key, [m]);
		else group.push(m);
	}
	// The modules are in order, so the groups are.
	return [...groups.values()].map((group) => ({ component: group[0]?.component ?? '', block: group[0]?.block ?? '', ...summarise(group) }));
}

async function compareEmbeddings(a: readonly Embedding[], b: readonly Embedding[]): Promise<DiffEmbedding[]> {
	const key = (e: Embedding): string => `${e.component}\u0000${e.token}`;
	const open = new Map(b.map((e) => [key(e), e]));
	const out: DiffEmbedding[] = [];
	for (const one of a) {
		const two = open.get(key(one));
		open.delete(key(one));
		out.push({
			component: one.component,
			token: one.token,
			in: two === undefined ? 'a' : 'both',
			difference: two === undefined ? null : await vectorDifference(one, two),
		});
	}
	for (const two of open.values()) out.push({ component: two.component, token: two.token, in: 'b', difference: null });
	return out;
}

/** |a - b| / max(|a|, |b|); null when they are of different sizes. */
async function vectorDifference(a: Embedding, b: Embedding): Promise<number | null> {
	const x = decodeFloats(a.vectors.dtype, await a.vectors.read());
	const y = decodeFloats(b.vectors.dtype, await b.vectors.read());
	if (x.length !== y.length) return null;
	let [sum, one, two] = [0, 0, 0];
	for (let i = 0; i < x.length; i++) {
		sum += ((x[i] ?? 0) - (y[i] ?? 0)) ** 2;
		one += (x[i] ?? 0) ** 2;
		two += (y[i] ?? 0) ** 2;
	}
	return Math.max(one, two) === 0 ? 0 : Math.sqrt(sum / Math.max(one, two));
}
