import type { TargetModule } from '../adapter.js';
import type { ConfiguredAlpha } from '../layouts/assemble.js';
import { alphaToWrite } from '../layouts/shared.js';
import { type NamePattern, namePattern, type PatternBudget, patternBudget, spend } from './name-pattern.js';

/**
 * What a PEFT configuration says about ranks and alphas, wherever it stands (adapter_config.json or diffusers'
 * lora_adapter_metadata). Source: huggingface/peft@5d602fd src/peft/tuners/lora/model.py `_create_and_replace`.
 */
export interface PeftScaling {
	readonly r: number;
	/** null: the text does not say. */
	readonly alpha: number | null;
	readonly rslora: boolean;
	/** Pattern -> rank, in the order of the text: the first that matches decides. */
	readonly rankPattern: ReadonlyMap<string, number>;
	readonly alphaPattern: ReadonlyMap<string, number>;
}

/** Resolves a module name. */
export type PeftResolver = (name: string) => { readonly rank: number; readonly alpha: number | null };

/** PEFT's own resolution: first pattern that matches, else the whole name as a key, else the default. @throws {FormatError} `E_CONFIG`, `E_LIMIT`. */
export function peftResolver(scaling: PeftScaling): PeftResolver {
	const budget = patternBudget();
	const ranks = compile(scaling.rankPattern, budget);
	const alphas = compile(scaling.alphaPattern, budget);
	return (name) => ({
		rank: find(ranks, name) ?? scaling.rankPattern.get(name) ?? scaling.r,
		alpha: find(alphas, name) ?? scaling.alphaPattern.get(name) ?? scaling.alpha,
	});
}

/** The resolver as `assembleModules` asks for it. `nameOf` gives the module's name in the model that PEFT sees. */
export function configuredBy(
	scaling: PeftScaling,
	source: ConfiguredAlpha['source'],
	nameOf: (path: string) => string,
): (path: string) => ConfiguredAlpha {
	const resolve = peftResolver(scaling);
	return (path) => {
		const { rank, alpha } = resolve(nameOf(path));
		return { alpha, source: alpha === null ? 'none' : source, rslora: scaling.rslora, rank };
	};
}

interface Ranked {
	/** Place in the text: of all that match, the first decides. */
	readonly order: number;
	readonly pattern: NamePattern;
	readonly value: number;
}

/** Plain names by their length, so that thousands of them for thousands of modules are not all compared; the rest in order. */
interface Compiled {
	readonly plain: ReadonlyMap<number, readonly Ranked[]>;
	readonly others: readonly Ranked[];
	readonly budget: PatternBudget;
}

/** Steps of asking whether names of one length could match. */
const STEPS_PER_LENGTH = 1 / 32;

function compile(patterns: ReadonlyMap<string, number>, budget: PatternBudget): Compiled {
	const plain = new Map<number, Ranked[]>();
	const others: Ranked[] = [];
	let order = 0;
	for (const [text, value] of patterns) {
		const pattern = namePattern(text, budget);
		const ranked = { order: order++, pattern, value };
		if (pattern.length === undefined) others.push(ranked);
		else {
			const same = plain.get(pattern.length);
			if (same === undefined) plain.set(pattern.length, [ranked]);
			else same.push(ranked);
		}
	}
	return { plain, others, budget };
}

function find({ plain, others, budget }: Compiled, name: string): number | undefined {
	let best: Ranked | undefined;
	const search = (list: readonly Ranked[]): void => {
		for (const ranked of list) {
			if (best !== undefined && ranked.order > best.order) return;
			if (!ranked.pattern.matches(name)) continue;
			best = ranked;
			return;
		}
	};
	spend(budget, plain.size * STEPS_PER_LENGTH);
	for (const [length, list] of plain) {
		const at = name.length - length;
		if (at === 0 || (at > 0 && name.charCodeAt(at - 1) === 46)) search(list);
	}
	search(others);
	return (best as Ranked | undefined)?.value;
}

/** One module as `fitPeftScaling` sees it. */
export interface FitModule {
	/** Name in the model that PEFT sees. */
	readonly name: string;
	readonly rank: number;
	readonly alpha: number;
}

/** A configuration found for given modules. */
export interface FittedScaling {
	readonly scaling: PeftScaling;
	/** Largest relative error of a module's scaling; 0 when exact. */
	readonly bound: number;
}

/** Rank and alpha of a module in PEFT's words; undefined for families that PEFT does not scale. */
export function fitModule(module: TargetModule, name: string, rslora: boolean): (FitModule & { readonly bound: number }) | undefined {
	if (module.family === 'lokr' && module.rank === undefined) return fitFullLokr(module, name);
	if (module.rank === undefined) return undefined;
	if (rslora) return module.alpha === null ? undefined : { name, rank: module.rank, alpha: module.alpha, bound: 0 };
	const write = alphaToWrite(module);
	return write === undefined ? undefined : { name, rank: module.rank, alpha: write.alpha, bound: write.bound };
}

/**
 * LoKr with both factors full: PEFT multiplies alpha / r of its configuration all the same, and makes the second
 * factor full when r >= max(b, d) / 2 (src/peft/tuners/lokr/layer.py). Its r is what the configuration said, if one did.
 */
function fitFullLokr(module: TargetModule, name: string): FitModule & { readonly bound: number } {
	const w2 = module.factors.lokr_w2?.shape ?? [];
	const least = Math.max(1, Math.ceil(Math.max(w2[0] ?? 1, w2[1] ?? 1) / 2));
	if (module.rule === 'alpha/rank' && module.alpha !== null && module.alpha !== 0 && module.scaling !== 0) {
		const rank = Math.round(module.alpha / module.scaling);
		if (rank >= least && module.alpha / rank === module.scaling) return { name, rank, alpha: module.alpha, bound: 0 };
	}
	const alpha = module.scaling * least;
	return { name, rank: least, alpha, bound: alpha / least === module.scaling ? 0 : 2 ** -52 };
}

/**
 * The shortest configuration in which PEFT gives every module its rank and alpha: the commonest values as
 * defaults, a pattern with the full name for each module that differs. `^` only where a plain name would also match
 * another module (releases before 0.15 do not know it, but take a plain full name).
 */
export function fitPeftScaling(modules: readonly FitModule[], rslora: boolean): PeftScaling {
	const r = commonest(modules.map((m) => m.rank)) ?? 8;
	const alpha = commonest(modules.map((m) => m.alpha)) ?? r;
	const sorted = [...modules].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
	const tails = suffixCounts(sorted);
	const key = (name: string): string => ((tails.get(name) ?? 0) > 1 ? '^' : '') + name.replace(/[^\w.-]/g, (c) => `\\${c}`);
	const rankPattern = new Map<string, number>();
	const alphaPattern = new Map<string, number>();
	for (const m of sorted) {
		if (m.rank !== r) rankPattern.set(key(m.name), m.rank);
		if (m.alpha !== alpha) alphaPattern.set(key(m.name), m.alpha);
	}
	return { r, alpha, rslora, rankPattern, alphaPattern };
}

/** For every name, how many names end with it at a dot (itself included). */
function suffixCounts(modules: readonly FitModule[]): ReadonlyMap<string, number> {
	const counts = new Map<string, number>();
	for (const { name } of modules) {
		counts.set(name, (counts.get(name) ?? 0) + 1);
	}
	for (const { name } of modules) {
		for (let at = name.indexOf('.'); at >= 0; at = name.indexOf('.', at + 1)) {
			const tail = name.slice(at + 1);
			const seen = counts.get(tail);
			if (seen !== undefined) counts.set(tail, seen + 1);
		}
	}
	return counts;
}

/** The value that stands most often; of equals the smallest. */
function commonest(values: readonly number[]): number | undefined {
	const counts = new Map<number, number>();
	for (const v of values) counts.set(v, (counts.get(v) ?? 0) + 1);
	let best: number | undefined;
	let most = 0;
	for (const [value, n] of counts) {
		if (n > most || (n === most && best !== undefined && value < best)) {
			best = value;
			most = n;
		}
	}
	return best;
}

/** Scalings that a text and a module may differ by and still mean the same: what an F32 alpha elsewhere costs on the way. */
const AGREE = 1e-6;

/** True when a configuration gives this module the rank and (but for rounding on the way) the scaling that it has. */
export function scalingAgrees(module: TargetModule, rank: number, alpha: number | null, rslora: boolean): boolean {
	if (module.rank !== undefined && module.rank !== rank) return false;
	const said = alpha === null ? 1 : alpha / (rslora ? Math.sqrt(rank) : rank);
	return said === module.scaling || Math.abs(said - module.scaling) <= AGREE * Math.abs(module.scaling);
}
