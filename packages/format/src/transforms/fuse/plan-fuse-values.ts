import type { Role } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import type { Values } from '../../families/delta.js';
import { computeDelta, needsBase, readFactors, rowsOf } from '../../families/index.js';
import type { FuseJob } from './plan-fuse-touched.js';

/**
 * Read a module's factors and refuse what would break a base: NaN and Inf, and forms whose meaning is not proven.
 * @throws {FormatError} `E_NONFINITE` naming module and factor; `E_LORA_SHAPE`, `E_UNSUPPORTED_ADAPTER`; what reading throws.
 */
export async function checkFactors(job: FuseJob): Promise<void> {
	const { module } = job;
	const factors = await readFactors(module);
	for (const [role, { data }] of factors) {
		if (allFinite(data)) continue;
		const at = data.findIndex((x) => x - x !== 0);
		const name = module.factors[role]?.origin;
		throw new FormatError(
			'E_NONFINITE',
			`${quote(`${module.component} ${module.path}`)} has ${data[at]} at element ${at} of its ${role}${name === undefined ? '' : ` (${quote(name)})`}; it would turn the base into NaN, so nothing is fused. The file is damaged: fetch it again.`,
			{ at: name ?? module.path },
		);
	}
	probe(job, factors);
}

/** Zero times anything finite is zero: one sum tells of all, without a call for each. */
function allFinite(data: Float64Array): boolean {
	let sum = 0;
	for (let i = 0; i < data.length; i++) sum += 0 * (data[i] ?? 0);
	return sum === 0;
}

/** Ask for no rows, or for the delta without its base: what is wrong with the factors themselves shows. */
function probe(job: FuseJob, factors: ReadonlyMap<Role, Values>): void {
	const { module, strength, settings, fanIn, doraStrength, stored } = job;
	const options = { strength, fanIn, doraStrength, peftOft: settings.oft };
	if (!needsBase(module)) {
		const shape = stored.parts.get('weight')?.shape ?? [0];
		const rows = rowsOf(module, factors, shape, options);
		if (rows.sliceable) rows.weight(0, 0);
		return;
	}
	if (module.factors.magnitude !== undefined) return;
	try {
		computeDelta(module, factors, options);
	} catch (error) {
		// Wanting the base is what these families do.
		if (!(error instanceof FormatError) || error.code !== 'E_BASE_MISMATCH') throw error;
	}
}
