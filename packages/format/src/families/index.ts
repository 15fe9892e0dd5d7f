import type { Family, TargetModule } from '../adapter.js';
import { computeDelta, readFactors } from './compute-delta.js';
import type { Delta, DeltaOptions } from './delta.js';

export { computeDelta, FAMILIES, readFactors } from './compute-delta.js';
export type { BaseWeight, Delta, DeltaOptions, DoraStrength, FamilyDelta, FamilyInput, PeftOftConfig, Values } from './delta.js';
export { type DeltaRows, type RowBase, rowsOf } from './rows.js';
export { foldCore } from './tucker.js';

const ON_BASE: ReadonlySet<Family> = new Set<Family>(['ia3', 'peft-ia3', 'oft', 'boft', 'peft-oft', 'peft-boft', 'glora', 'whole']);

/** True when the module's delta is a function of the base's weight. */
export function needsBase(module: TargetModule): boolean {
	return module.factors.magnitude !== undefined || ON_BASE.has(module.family);
}

/**
 * What a module adds to its base, in float64 from the stored bits: the reference for every transform.
 *
 * @throws {FormatError} `E_LORA_SHAPE` (factors or base do not fit), `E_BASE_MISMATCH` (needs a base), `E_LORA_ALPHA`
 *   (alpha was not read), `E_UNSUPPORTED_ADAPTER` (meaning not proven), `E_UNSUPPORTED_DTYPE`, `E_LIMIT`, and what
 *   reading the factors throws.
 */
export async function deltaOf(module: TargetModule, options: DeltaOptions = {}): Promise<Delta> {
	if (!Number.isFinite(module.scaling)) return computeDelta(module, new Map(), options);
	return computeDelta(module, await readFactors(module), options);
}
