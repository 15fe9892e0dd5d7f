import type { Role, TargetModule } from './adapter.js';
import { fileKey, isBeside, preferredLeaf, readsLeaf } from './check-leaves.js';
import { acceptedNames, type CheckTarget, knownPrefixes, type NameQuery } from './check-names.js';
import { moduleStrength, rowOf } from './runtimes.js';
import { originsOf, type Tensor } from './tensor.js';

/** What becomes of one module in a reader. */
export type ModuleFate =
	/** Loaded whole. */
	| 'loaded'
	/** Loaded without something that stands beside its factors. */
	| 'partial'
	/** The reader knows the form of the name, but our tables cannot say whether the base has the module. */
	| 'unverified'
	| 'not-loaded';

/** Why a module is not (wholly) loaded. Stable names. */
export type FateReason = 'name' | 'leaf' | 'family' | 'beside' | 'positional' | 'adapter-name' | 'not-in-base' | 'unresolved';

export interface ModuleCheck {
	readonly fate: ModuleFate;
	readonly reason: FateReason | undefined;
	/** Shared by all modules it holds for. */
	readonly why: string;
	/** One key of the module in the file. */
	readonly key: string;
	/** Names under which the reader would find that key. */
	readonly nearest: readonly string[];
}

/** What the whole check needs beside the module. */
export interface ModuleContext {
	readonly target: CheckTarget;
	readonly readerName: string;
	readonly query: (module: TargetModule) => NameQuery;
	readonly inBase: (module: TargetModule) => boolean;
	/** The reader converts this whole layout by a rule of its own, names and all. */
	readonly wholeLayout: boolean;
}

/** Every tensor of a module with its name in the file. */
export function moduleKeys(module: TargetModule): { readonly role: Role | 'alpha' | 'scale'; readonly key: string }[] {
	const keys: { role: Role | 'alpha' | 'scale'; key: string }[] = [];
	const add = (role: Role | 'alpha' | 'scale', tensor: Tensor | undefined): void => {
		if (tensor === undefined) return;
		for (const key of tensor.origin === undefined ? originsOf(tensor) : [tensor.origin]) keys.push({ role, key });
	};
	for (const [role, tensor] of Object.entries(module.factors)) add(role as Role, tensor);
	add('alpha', module.alphaTensor);
	add('scale', module.scaleTensor);
	return keys;
}

/** Decide one module. Never throws. */
export function checkModule(module: TargetModule, context: ModuleContext): ModuleCheck {
	const { target, readerName } = context;
	const keys = moduleKeys(module);
	const first = keys[0]?.key ?? module.path;
	const names = acceptedNames(target, context.query(module));
	const accepted = new Set(names);
	const [best] = names;
	const nearestOf = (suffix: string): string[] =>
		best === undefined || !module.resolved ? [] : [`${best}${preferredLeaf(target, suffix)}`];
	const not = (reason: FateReason, why: string, key = first, nearest: readonly string[] = []): ModuleCheck => ({
		fate: 'not-loaded',
		reason,
		why,
		key,
		nearest,
	});

	if (!rowOf(target).families.has(module.family)) return not('family', `${readerName} does not compute ${familyName(module)}`);
	if (!context.inBase(module)) return not('not-in-base', 'the base given has no such module');
	if (context.wholeLayout) return { fate: 'loaded', reason: undefined, why: '', key: first, nearest: [] };
	let partial: ModuleCheck | undefined;
	for (const { role, key } of keys) {
		const file = fileKey(key);
		if (file === undefined)
			return not(
				'positional',
				`the names are positions in a list, which ${readerName} does not read`,
				key,
				nearestOf(role === 'up' ? '.lora_up.weight' : '.lora_down.weight'),
			);
		if (file.adapterName !== undefined && !(target === 'comfyui' && file.adapterName === 'default')) {
			return not('adapter-name', `the leaf carries the PEFT adapter name "${file.adapterName.slice(0, 40)}"`, key, nearestOf(file.suffix));
		}
		if (role === 'alpha' || role === 'scale') continue; // strength, not loading: reported apart
		if (module.resolved ? !accepted.has(file.module) : !knownPrefixes(target).some((p) => file.module.startsWith(p))) {
			return not(
				'name',
				best === undefined
					? `${readerName} has no name for modules of this base`
					: `${readerName} looks for this module under another name`,
				key,
				nearestOf(file.suffix),
			);
		}
		const besides = isBeside(role, module.family);
		if (!readsLeaf(target, file.suffix) || (target === 'diffusers' && role === 'magnitude' && file.suffix === '.dora_scale')) {
			if (!besides) return not('leaf', `${readerName} does not read ${file.suffix.slice(1)}`, key, nearestOf(file.suffix));
			partial ??= {
				fate: 'partial',
				reason: 'beside',
				why: `${readerName} ignores ${file.suffix.slice(1)}, so the result is another`,
				key,
				nearest: nearestOf(file.suffix),
			};
		}
	}
	if (partial !== undefined) return partial;
	if (!module.resolved) {
		return {
			fate: 'unverified',
			reason: 'unresolved',
			why: `${readerName} knows names of this form, but whether the base has the module is not known here (give --base)`,
			key: first,
			nearest: [],
		};
	}
	return { fate: 'loaded', reason: undefined, why: '', key: first, nearest: [] };
}

/** Strength that the target applies; for PEFT's and diffusers' own places of alpha see the table. */
export function targetStrength(target: CheckTarget, module: TargetModule): { readonly scaling: number | undefined; readonly why: string } {
	return moduleStrength(rowOf(target), module);
}

/** Family for people. */
export function familyName(module: TargetModule): string {
	const NAMES = new Map<string, string>([
		['lora', 'LoRA'],
		['locon', 'LoCon with a Tucker core (lora_mid)'],
		['loha', 'LoHa'],
		['lokr', 'LoKr'],
		['full', 'full differences (.diff)'],
		['norm', 'norm differences'],
		['ia3', 'IA3'],
		['peft-ia3', "PEFT's IA3"],
		['oft', 'OFT'],
		['boft', 'BOFT'],
		['peft-oft', "PEFT's OFT"],
		['peft-boft', "PEFT's BOFT"],
		['glora', 'GLoRA'],
		['embedding', 'embedding LoRA'],
		['whole', 'whole weights'],
	]);
	return NAMES.get(module.family) ?? module.family;
}
