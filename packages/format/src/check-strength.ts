import type { Adapter, TargetModule } from './adapter.js';

/** At which strength the loaded modules work. Counts add up to the loaded modules. */
export interface StrengthTally {
	readonly same: number;
	readonly differs: number;
	/** Alpha not fetched, or the reader has no rule for the family. */
	readonly unknown: number;
	/** At most five, one per reason first. */
	readonly examples: readonly {
		readonly component: string;
		readonly path: string;
		readonly own: number;
		readonly applied: number;
		readonly why: string;
	}[];
}

const EXAMPLES = 5;

/** Compare what a reader applies to the modules it loads with what the file means. */
export function strengthTally(
	adapter: Adapter,
	strength: (module: TargetModule) => { readonly scaling: number | undefined; readonly why: string },
	loaded: (index: number) => boolean,
): StrengthTally {
	let same = 0;
	let differs = 0;
	let unknown = 0;
	const examples = new Map<string, StrengthTally['examples'][number]>();
	adapter.modules.forEach((module, i) => {
		if (!loaded(i)) return;
		const { scaling, why } = strength(module);
		if (scaling === undefined || Number.isNaN(scaling) || Number.isNaN(module.scaling)) unknown++;
		else if (Math.abs(scaling - module.scaling) <= 1e-9 * Math.abs(module.scaling)) same++;
		else {
			differs++;
			const id = `${why}\u0000${module.scaling}`;
			if (examples.size < EXAMPLES && !examples.has(id)) {
				examples.set(id, { component: module.component, path: module.path, own: module.scaling, applied: scaling, why });
			}
		}
	});
	return { same, differs, unknown, examples: [...examples.values()] };
}
