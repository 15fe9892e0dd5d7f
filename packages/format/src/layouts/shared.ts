import type { Adapter, BaseGuess, MetadataNote, TargetModule } from '../adapter.js';
import type { Warning } from '../errors.js';
import { guessBase } from '../modules/index.js';
import type { Tensor } from '../tensor.js';
import type { LayoutInput } from './layout.js';

/** Base guess from the modules of an adapter: widths come from the factors. */
export function guessBaseOf(modules: readonly TargetModule[], naming: Adapter['naming'], metadata: ReadonlyMap<string, string>): BaseGuess {
	return guessBase({
		modules: modules.map((m) => {
			const { inFeatures, outFeatures } = widths(m);
			return { component: m.component, path: m.path, naming, inFeatures, outFeatures };
		}),
		metadata,
	});
}

/** In and out features that a module's factors imply; undefined where the family does not say. */
export function widths(module: TargetModule): { readonly inFeatures: number | undefined; readonly outFeatures: number | undefined } {
	const f = module.factors;
	switch (module.family) {
		case 'lora':
		case 'locon':
			return { inFeatures: f.down?.shape[1], outFeatures: f.up?.shape[0] };
		case 'loha':
			return f.hada_t1 === undefined
				? { inFeatures: f.hada_w1_b?.shape[1], outFeatures: f.hada_w1_a?.shape[0] }
				: { inFeatures: f.hada_w1_b?.shape[1], outFeatures: f.hada_w1_a?.shape[1] };
		case 'full':
			return { inFeatures: f.diff?.shape[1], outFeatures: f.diff?.shape[0] ?? f.diff_b?.shape[0] };
		case 'norm':
			return { inFeatures: undefined, outFeatures: (f.w_norm ?? f.b_norm)?.shape[0] };
		case 'glora':
			return { inFeatures: undefined, outFeatures: f.glora_b1?.shape[0] };
		default:
			return { inFeatures: undefined, outFeatures: undefined };
	}
}

/** Everything a layout has to put together for an Adapter, with the fields most layouts leave empty made optional. */
export interface AdapterParts {
	readonly layout: string;
	readonly input: LayoutInput;
	readonly naming: Adapter['naming'];
	readonly modules: readonly TargetModule[];
	readonly metadata: ReadonlyMap<string, string>;
	readonly warnings: readonly Warning[];
	readonly embeddings?: Adapter['embeddings'];
	readonly consumed?: readonly MetadataNote[];
	readonly form?: ReadonlyMap<string, string>;
	readonly unknown?: ReadonlyMap<string, Tensor>;
	readonly dead?: ReadonlyMap<string, string>;
}

/** Build the Adapter: container warnings first, base guessed from the modules. */
export function makeAdapter(parts: AdapterParts): Adapter {
	const { input } = parts;
	return {
		naming: parts.naming,
		modules: parts.modules,
		embeddings: parts.embeddings ?? [],
		metadata: parts.metadata,
		consumed: parts.consumed ?? [],
		form: parts.form ?? new Map(),
		unknown: parts.unknown ?? new Map(),
		dead: parts.dead ?? new Map(),
		base: guessBaseOf(parts.modules, parts.naming, parts.metadata),
		source: { layout: parts.layout, container: input.file.container, name: input.file.name },
		warnings: [...input.file.warnings, ...parts.warnings],
	};
}

/** True when a module's scaling is exactly 1, so that a layout without alpha says it as it is. */
export function isUnscaled(module: TargetModule): boolean {
	return module.scaling === 1 || module.rule === 'none' || module.rule === 'constraint';
}

/** Modules whose strength a layout without alpha cannot say. */
export function scaledModules(adapter: Adapter): readonly TargetModule[] {
	return adapter.modules.filter((m) => !isUnscaled(m));
}

/**
 * The alpha that a layout with `alpha / rank` must write so that the module keeps its scaling.
 * `bound`: relative error of that number against the true one once it is stored as float64 (0 when it is the file's own alpha).
 * undefined: the family has no alpha (norm, full, ...), or there is nothing to say.
 */
export function alphaToWrite(module: TargetModule): { readonly alpha: number; readonly bound: number } | undefined {
	switch (module.rule) {
		case 'alpha/rank':
			// LoKr of PEFT with both factors full: alpha / r is not what alpha-tensor layouts compute (they ignore alpha).
			return module.alpha === null || module.rank === undefined ? undefined : { alpha: module.alpha, bound: 0 };
		case 'alpha/sqrt(rank)':
		case 'scale-tensor':
			return module.rank === undefined ? undefined : { alpha: module.scaling * module.rank, bound: 2 ** -52 };
		case 'one':
			return module.rank === undefined ? undefined : { alpha: module.rank, bound: 0 };
		case 'constraint':
			return module.alpha === null ? undefined : { alpha: module.alpha, bound: 0 };
		default:
			return undefined;
	}
}
