import type { Adapter, TargetModule } from './adapter.js';
import type { Count, InspectBlock, InspectComponent, StrengthRange } from './inspect-types.js';

/** What one pass over the modules gives. */
export interface ModuleSummary {
	readonly components: InspectComponent[];
	readonly blocks: InspectBlock[];
	readonly ranks: Count<number>[];
	readonly alphas: Count<number | null>[];
	readonly alphaSources: Count<string>[];
	readonly rules: Count<string>[];
	readonly families: Count<string>[];
	readonly strength: StrengthRange | null;
	readonly dora: number;
	readonly unresolved: number;
}

/** Running figures of a group of modules. */
class Group {
	modules = 0;
	minRank = Number.POSITIVE_INFINITY;
	maxRank = 0;
	minScaling = Number.POSITIVE_INFINITY;
	maxScaling = Number.NEGATIVE_INFINITY;

	add(module: TargetModule): void {
		this.modules++;
		const { rank, scaling } = module;
		if (rank !== undefined) {
			if (rank < this.minRank) this.minRank = rank;
			if (rank > this.maxRank) this.maxRank = rank;
		}
		// NaN (unread) fails both comparisons.
		if (scaling < this.minScaling) this.minScaling = scaling;
		if (scaling > this.maxScaling) this.maxScaling = scaling;
	}

	strength(): StrengthRange | null {
		return this.maxScaling === Number.NEGATIVE_INFINITY ? null : { min: this.minScaling, max: this.maxScaling };
	}

	rank(): { min: number; max: number } | null {
		return this.maxRank === 0 ? null : { min: this.minRank, max: this.maxRank };
	}
}

/** Counts values that come in long runs of the same one. */
class Tally<K> {
	readonly #counts = new Map<K, number>();
	#last: K | undefined;
	#run = 0;

	add(value: K): void {
		if (value === this.#last) this.#run++;
		else {
			this.counts();
			this.#last = value;
			this.#run = 1;
		}
	}

	/** In the order of first sight. */
	counts(): ReadonlyMap<K, number> {
		if (this.#last !== undefined && this.#run > 0) this.#counts.set(this.#last, (this.#counts.get(this.#last) ?? 0) + this.#run);
		this.#run = 0;
		return this.#counts;
	}
}

class Component {
	readonly group: Group = new Group();
	readonly ranks: Tally<number> = new Tally();
	readonly families: Tally<string> = new Tally();
	readonly blocks: Map<string, Group> = new Map();
}

/** Count everything about the modules in one pass; sorts only the few distinct values. */
export function summariseModules(adapter: Adapter): ModuleSummary {
	const components = new Map<string, Component>();
	const alphas = new Tally<number | null>();
	const sources = new Tally<string>();
	const rules = new Tally<string>();
	const all = new Group();
	let dora = 0;
	let unresolved = 0;
	let component: Component | undefined;
	let name = '';
	for (const module of adapter.modules) {
		if (component === undefined || module.component !== name) {
			name = module.component;
			component = components.get(name) ?? new Component();
			components.set(name, component);
		}
		component.group.add(module);
		all.add(module);
		if (module.rank !== undefined) component.ranks.add(module.rank);
		component.families.add(module.family);
		alphas.add(module.alpha);
		sources.add(module.alphaSource);
		rules.add(module.rule);
		if (module.factors.magnitude !== undefined) dora++;
		if (!module.resolved) unresolved++;
		const where = module.resolved ? blockOf(module.path) : '(names not taken apart)';
		let block = component.blocks.get(where);
		if (block === undefined) {
			block = new Group();
			component.blocks.set(where, block);
		}
		block.add(module);
	}
	const ordered = [...components].sort(([a], [b]) => componentRank(a) - componentRank(b) || natural(a, b));
	return {
		components: ordered.map(([component, c]) => ({
			component,
			modules: c.group.modules,
			ranks: byValue(c.ranks.counts()),
			strength: c.group.strength(),
			families: byCount(c.families.counts()),
		})),
		blocks: ordered.flatMap(([component, c]) =>
			[...c.blocks]
				.sort(([a], [b]) => blockRank(a) - blockRank(b) || natural(a, b))
				.map(([block, g]) => ({ component, block, modules: g.modules, rank: g.rank(), strength: g.strength() })),
		),
		ranks: byValue(merged([...components.values()].map((c) => c.ranks.counts()))),
		alphas: byCount(alphas.counts()),
		alphaSources: byCount(sources.counts()),
		rules: byCount(rules.counts()),
		families: byCount(merged([...components.values()].map((c) => c.families.counts()))),
		strength: all.strength(),
		dora,
		unresolved,
	};
}

/** Block of a path: everything up to and with its first number (`down_blocks.0`), the last word before it (`layers.3`), or its first word. */
export function blockOf(path: string): string {
	if (path.startsWith('mid_block')) return 'mid_block';
	let begin = 0;
	for (;;) {
		const dot = path.indexOf('.', begin);
		if (dot < 0) break;
		const digit = path.charCodeAt(dot + 1);
		if (digit >= 48 && digit <= 57) {
			const end = path.indexOf('.', dot + 1);
			return path.slice(begin, end < 0 ? path.length : end);
		}
		begin = dot + 1;
	}
	const dot = path.indexOf('.');
	return dot < 0 ? path : path.slice(0, dot);
}

function merged<K>(maps: readonly ReadonlyMap<K, number>[]): Map<K, number> {
	const out = new Map<K, number>();
	for (const map of maps) for (const [key, n] of map) out.set(key, (out.get(key) ?? 0) + n);
	return out;
}

function byCount<K>(counts: ReadonlyMap<K, number>): Count<K>[] {
	return [...counts].sort((a, b) => b[1] - a[1]).map(([value, modules]) => ({ value, modules }));
}

function byValue(counts: ReadonlyMap<number, number>): Count<number>[] {
	return [...counts].sort((a, b) => a[0] - b[0]).map(([value, modules]) => ({ value, modules }));
}

const COMPONENTS: readonly string[] = ['unet', 'transformer', 'text_encoder'];

function componentRank(component: string): number {
	const at = COMPONENTS.findIndex((c) => component.startsWith(c));
	return at < 0 ? COMPONENTS.length : at;
}

const ORDER: readonly string[] = ['conv_in', 'time_', 'add_', 'down_blocks', 'mid_block', 'up_blocks', 'conv_'];

function blockRank(block: string): number {
	const at = ORDER.findIndex((prefix) => block.startsWith(prefix));
	return at < 0 ? ORDER.length : at;
}

/** `layers.2` before `layers.10`. */
function natural(a: string, b: string): number {
	const cutA = a.lastIndexOf('.');
	const cutB = b.lastIndexOf('.');
	const headA = a.slice(0, cutA < 0 ? undefined : cutA);
	const headB = b.slice(0, cutB < 0 ? undefined : cutB);
	if (headA !== headB) return headA < headB ? -1 : 1;
	return Number(a.slice(cutA + 1)) - Number(b.slice(cutB + 1)) || 0;
}
