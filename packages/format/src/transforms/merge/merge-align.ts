import type { Adapter, Naming, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { flattenPath } from '../../modules/index.js';
import type { BaseInventory } from '../../modules/inventory.js';
import { withWholeLinear1 } from '../naming/linear1-qkv.js';
import { renameNaming } from '../naming/rename-naming.js';
import { resolveWithBase } from '../resolve-with-base.js';
import { type AdapterUse, strengthOf } from '../strength/adapter-use.js';

/** One adapter's part in one module. */
export interface MergePart {
	/** Position in `uses`. */
	readonly input: number;
	readonly name: string;
	readonly module: TargetModule;
	/** The user's strength, which the module's own scaling is not in. */
	readonly strength: number;
}

/** Every adapter's part in one module of the base. */
export interface MergeGroup {
	readonly component: string;
	readonly path: string;
	readonly resolved: boolean;
	readonly parts: readonly MergePart[];
}

/** Adapters in one naming, their modules grouped in the order in which they are first met. */
export interface Aligned {
	readonly naming: Naming;
	readonly adapters: readonly Adapter[];
	readonly groups: readonly MergeGroup[];
}

/**
 * Bring adapters to one naming and put their modules together. Strengths are asked for with the adapter's own paths,
 * before renaming: block weights know diffusers' names, which SD1, SD2 and SDXL always have.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` for adapters of different models, `E_MODULE_UNRESOLVED` and others of renaming.
 */
export function alignAdapters(uses: readonly AdapterUse[], base: BaseInventory | undefined): Aligned {
	refuseOtherBases(uses);
	const whole = uses.map(({ adapter }) => withWholeLinear1(base === undefined ? adapter : resolveWithBase(adapter, base)));
	const renamed = inOneNaming(whole);
	const adapters = resolveTogether(renamed);
	const groups = new Map<string, { component: string; path: string; resolved: boolean; parts: MergePart[] }>();
	for (const [input, adapter] of adapters.entries()) {
		const use = uses[input];
		if (use === undefined) continue;
		for (const module of adapter.modules) {
			const key = `${module.component}\u0000${module.path}`;
			const part: MergePart = { input, name: use.name, module, strength: strengthOf(use.strength, module) };
			const group = groups.get(key);
			if (group === undefined)
				groups.set(key, { component: module.component, path: module.path, resolved: module.resolved, parts: [part] });
			else group.parts.push(part);
		}
	}
	return { naming: adapters[0]?.naming ?? 'diffusers', adapters, groups: [...groups.values()] };
}

/** Families of base models that are sure and not the same make no sum. */
function refuseOtherBases(uses: readonly AdapterUse[]): void {
	let sure: AdapterUse | undefined;
	for (const use of uses) {
		const { family, confidence } = use.adapter.base;
		if (confidence < 0.9 || family === 'unknown' || family === 'sd1or2') continue;
		if (sure === undefined) {
			sure = use;
			continue;
		}
		if (sure.adapter.base.family === family) continue;
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${quote(sure.name)} is for ${sure.adapter.base.label} and ${quote(use.name)} is for ${use.adapter.base.label}; adapters of different models cannot be merged.`,
		);
	}
}

function inOneNaming(adapters: readonly Adapter[]): readonly Adapter[] {
	const namings = [...new Set(adapters.map((a) => a.naming))];
	if (namings.length <= 1) return adapters;
	// diffusers' names tell the parts apart that BFL and Stability fuse, so that an adapter of one part fits.
	const wanted: readonly Naming[] = ['diffusers', ...namings.filter((n) => n !== 'diffusers')];
	let first: unknown;
	for (const naming of wanted) {
		try {
			return adapters.map((a) => renameNaming(a, naming));
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
			first ??= error;
		}
	}
	throw first;
}

/** A flattened name that no table could take apart is the path of another adapter that flattens to it. */
function resolveTogether(adapters: readonly Adapter[]): readonly Adapter[] {
	if (adapters.every((a) => a.modules.every((m) => m.resolved))) return adapters;
	const paths = new Map<string, string>();
	for (const { modules } of adapters) {
		for (const m of modules) if (m.resolved) paths.set(`${m.component}\u0000${flattenPath(m.path)}`, m.path);
	}
	return adapters.map((adapter) => ({
		...adapter,
		modules: adapter.modules.map((m) => {
			const path = m.resolved ? undefined : paths.get(`${m.component}\u0000${m.path}`);
			return path === undefined ? m : { ...m, path, resolved: true };
		}),
	}));
}
