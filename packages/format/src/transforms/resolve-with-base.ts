import type { Adapter, TargetModule } from '../adapter.js';
import { FormatError, quote } from '../errors.js';
import { flattenPath } from '../modules/index.js';
import type { BaseInventory } from '../modules/inventory.js';

/**
 * Give modules whose flattened names no table could take apart their real paths, from the modules of a base.
 * Names are matched by flattening the base's paths, never by splitting on `_`.
 * @throws {FormatError} `E_AMBIGUOUS` when two paths of the base are the same flattened.
 */
export function resolveWithBase(adapter: Adapter, base: BaseInventory): Adapter {
	if (adapter.modules.every((m) => m.resolved)) return adapter;
	const byFlat = new Map<string, string[]>();
	for (const [component, modules] of base.components) {
		for (const { path } of modules) {
			const key = `${component}\u0000${flattenPath(path)}`;
			const known = byFlat.get(key);
			if (known === undefined) byFlat.set(key, [path]);
			else known.push(path);
		}
	}
	const modules = adapter.modules.map((m): TargetModule => {
		if (m.resolved) return m;
		const [path, other] = byFlat.get(`${m.component}\u0000${m.path}`) ?? [];
		if (path !== undefined && other !== undefined) {
			throw new FormatError(
				'E_AMBIGUOUS',
				`${quote(`${m.component} ${m.path}`)} may be ${quote(path)} or ${quote(other)} of ${base.name}; nothing in the file decides.`,
				{ at: m.path },
			);
		}
		return path === undefined ? m : { ...m, path, resolved: true };
	});
	return { ...adapter, modules };
}

/**
 * Refuse an adapter for another base: names that the base lacks, or whose weight has another width.
 * @throws {FormatError} `E_MODULE_NOT_IN_BASE`, `E_BASE_MISMATCH`.
 */
export function checkAgainstBase(adapter: Adapter, base: BaseInventory): void {
	const missing: string[] = [];
	const misfits: string[] = [];
	for (const m of adapter.modules) {
		const known = base.components.get(m.component);
		if (known === undefined) continue;
		const target = lookup(known).get(m.path);
		if (target === undefined) {
			missing.push(`${m.component} ${m.path}`);
			continue;
		}
		const { down, up } = m.factors;
		if (down === undefined || up === undefined) continue;
		const [out, inn] = target;
		if (inn !== undefined && (down.shape[1] !== inn || up.shape[0] !== out)) {
			misfits.push(`${m.component} ${m.path} is (${target.join(', ')}) in the base, the adapter has (${up.shape[0]}, ${down.shape[1]})`);
		}
	}
	const compared = adapter.modules.filter((m) => base.components.has(m.component)).length;
	if (misfits.length > 0 || (missing.length > 0 && missing.length === compared)) {
		throw new FormatError(
			'E_BASE_MISMATCH',
			`The adapter is not for ${base.name}: ${misfits[0] ?? `none of its ${compared} modules is there (first: ${missing[0]})`}; give the base it was trained on.`,
		);
	}
	if (missing.length > 0) {
		throw new FormatError(
			'E_MODULE_NOT_IN_BASE',
			`${missing.length} of ${compared} modules are not in ${base.name}, first: ${missing[0]}.`,
		);
	}
}

const LOOKUPS = new WeakMap<object, ReadonlyMap<string, readonly number[]>>();

function lookup(modules: readonly { readonly path: string; readonly shape: readonly number[] }[]): ReadonlyMap<string, readonly number[]> {
	let map = LOOKUPS.get(modules);
	if (map === undefined) {
		map = new Map(modules.map((m) => [m.path, m.shape]));
		LOOKUPS.set(modules, map);
	}
	return map;
}
