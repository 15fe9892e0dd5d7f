import type { Naming, TargetModule } from '../adapter.js';
import type { WarningSink } from '../errors.js';
import type { FlatNameParts, NameContext, ResolvedNames } from './kohya-names.js';

/**
 * The common part of layouts that write a module path with `_` for `.` behind a prefix (`kohya`,
 * `lycoris-standalone`). Form entries, `ID` being the layout's id; each stands only where writing would give other
 * names than the file has:
 *
 * - `ID.prefix`: JSON of component -> prefix (`{"text_encoder":"lora_te1"}`)
 * - `ID.blocks`: `diffusers` or `sgm`, how the UNet's blocks are named
 * - `ID.names`: JSON of module id -> name, for single modules that none of this explains
 * - `ID.leaves`: `peft`, `diffusers`, `linear-layer` or `ai-toolkit`, when down and up are not `lora_down`, `lora_up`
 * - `ID.paths`: JSON of name -> `COMPONENT PATH`, written into the file itself where flattening loses the path (names
 *   that no table has, or that two models share); `ID.naming`: the naming of these paths
 * - `ID.kept`: `yes` in a file of a transformer that keeps other names than the layout's own choice
 * - `ID.dora`: `flat` when output-axis magnitudes are vectors
 * - `ID.fullrank`: `yes` for ai-toolkit's full differences under the down factor's name
 * - `alpha.*`: see `kohya-alpha.ts`
 */
export interface FlatLayout {
	readonly id: string;
	readonly prefixes: readonly string[];
	/** How flat names become paths. */
	readonly resolve: (keys: readonly FlatNameParts[]) => ResolvedNames;
	readonly prefixOf: (component: string, context: NameContext) => string | undefined;
	readonly blocksOf: (context: NameContext) => 'diffusers' | 'sgm';
	/** The naming to write a transformer of this family in, where the layout has a choice. */
	readonly naming?: ((family: string) => Naming | undefined) | undefined;
	/** Checks of the layout's own metadata. */
	readonly check: (metadata: ReadonlyMap<string, string>, modules: readonly TargetModule[], warn: WarningSink) => void;
}
