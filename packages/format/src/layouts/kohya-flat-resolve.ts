import type { Naming, TargetModule } from '../adapter.js';
import { flattenPath } from '../modules/index.js';
import { groupParts, type NamedPart, type PartGroup } from './assemble.js';
import { stringMap } from './kohya-alpha.js';
import type { FlatLayout } from './kohya-flat-layout.js';
import type { FlatKey } from './kohya-keys.js';
import { flatName, type ResolvedNames } from './kohya-names.js';

/** Every name resolved. */
export interface FlatNames {
	readonly names: ResolvedNames;
	readonly runs: readonly NamedRun[];
	readonly parts: readonly NamedPart[];
	/** `parts` by module. @throws {FormatError} `E_LORA_DUPLICATE_MODULE`. */
	readonly groups: () => readonly PartGroup[];
}

const RESOLVED = new WeakMap<readonly FlatKey[], Map<FlatLayout, FlatNames>>();

/** The names of a file resolved: once for all files of the same names, unless the file says some of them itself. */
export function namesOf(layout: FlatLayout, keys: readonly FlatKey[], form: ReadonlyMap<string, string>): FlatNames {
	if (form.has(`${layout.id}.paths`) || form.has(`${layout.id}.naming`))
		return resolveAll(withSaidPaths(layout, layout.resolve(keys), keys, form), keys);
	let byLayout = RESOLVED.get(keys);
	if (byLayout === undefined) {
		byLayout = new Map();
		RESOLVED.set(keys, byLayout);
	}
	let known = byLayout.get(layout);
	if (known === undefined) {
		known = resolveAll(layout.resolve(keys), keys);
		byLayout.set(layout, known);
	}
	return known;
}

function resolveAll(names: ResolvedNames, keys: readonly FlatKey[]): FlatNames {
	const parts: NamedPart[] = [];
	const runs: NamedRun[] = [];
	let last = '';
	let resolved: ModuleName = NO_NAME;
	for (const key of keys) {
		const name = flatName(key);
		if (name !== last) {
			resolved = names.byName.get(name) ?? { component: 'unet', path: key.flat, resolved: false };
			runs.push({ module: resolved, name, prefix: key.prefix, style: names.byName.get(name)?.style });
			last = name;
		}
		const { component, path } = resolved;
		parts.push({ key: key.key, component, path, resolved: resolved.resolved, role: key.role });
	}
	let groups: readonly PartGroup[] | undefined;
	return {
		names,
		runs,
		parts,
		groups() {
			groups ??= groupParts(parts);
			return groups;
		},
	};
}

/** A question that the keys alone answer, asked once for one list of them. */
export function ofKeys<T>(work: (keys: readonly FlatKey[]) => T): (keys: readonly FlatKey[]) => T {
	const answers = new WeakMap<readonly FlatKey[], { readonly answer: T }>();
	return (keys) => {
		let known = answers.get(keys);
		if (known === undefined) {
			known = { answer: work(keys) };
			answers.set(keys, known);
		}
		return known.answer;
	};
}

/** Tensors of one name that stand together, and the module they belong to. */
export interface NamedRun {
	readonly module: ModuleName;
	readonly name: string;
	readonly prefix: string;
	readonly style: 'diffusers' | 'sgm' | undefined;
}

type ModuleName = Pick<TargetModule, 'component' | 'path' | 'resolved'>;

const NO_NAME: ModuleName = { component: '', path: '', resolved: false };

/** The names as resolved, except where the file says the path and flattening it gives this very name. */
function withSaidPaths(
	layout: FlatLayout,
	names: ResolvedNames,
	keys: readonly FlatKey[],
	form: ReadonlyMap<string, string>,
): ResolvedNames {
	const said = stringMap(form.get(`${layout.id}.paths`) ?? '{}');
	const naming = form.get(`${layout.id}.naming`);
	if (said.size === 0 && naming === undefined) return names;
	const byName = new Map(names.byName);
	for (const key of keys) {
		const text = said.get(flatName(key)) ?? '';
		const cut = text.indexOf(' ');
		const path = text.slice(cut + 1);
		if (cut > 0 && flattenPath(path) === key.flat)
			byName.set(flatName(key), { component: text.slice(0, cut), path, resolved: true, style: undefined });
	}
	return { ...names, naming: NAMINGS.find((n) => n === naming) ?? names.naming, byName };
}

const NAMINGS: readonly Naming[] = ['diffusers', 'bfl', 'sai', 'native'];
