import type { Family, Role, TargetModule } from '../adapter.js';
import { numel } from '../dtype.js';
import { FormatError } from '../errors.js';
import { decodeFloats } from '../half.js';
import { MAX_COMPUTED_TENSOR_BYTES } from '../limits.js';
import { type Delta, type DeltaOptions, type FamilyDelta, type FamilyInput, shapeError, type Values } from './delta.js';
import { fullDelta, normDelta, wholeDelta } from './differences.js';
import { doraDelta } from './dora.js';
import { gloraDelta } from './glora.js';
import { ia3Delta, peftIa3Delta } from './ia3.js';
import { lohaDelta } from './loha.js';
import { lokrDelta } from './lokr.js';
import { embeddingDelta, loraDelta } from './lora.js';
import { flat, transpose } from './matrix.js';
import { boftDelta, oftDelta } from './oft.js';
import { peftBoftDelta, peftOftDelta } from './peft-oft.js';

/** What each family's factors do to a weight: one function a family. */
export const FAMILIES: ReadonlyMap<Family, FamilyDelta> = new Map<Family, FamilyDelta>([
	['lora', loraDelta],
	['locon', loraDelta],
	['loha', lohaDelta],
	['lokr', lokrDelta],
	['full', fullDelta],
	['norm', normDelta],
	['ia3', ia3Delta],
	['peft-ia3', peftIa3Delta],
	['oft', oftDelta],
	['boft', boftDelta],
	['peft-oft', peftOftDelta],
	['peft-boft', peftBoftDelta],
	['glora', gloraDelta],
	['embedding', embeddingDelta],
	['whole', wholeDelta],
]);

/** Every factor as doubles. @throws {FormatError} `E_LIMIT`, `E_UNSUPPORTED_DTYPE`, and what reading throws. */
export async function readFactors(module: TargetModule): Promise<ReadonlyMap<Role, Values>> {
	const out = new Map<Role, Values>();
	for (const [role, tensor] of Object.entries(module.factors) as [Role, TargetModule['factors'][Role]][]) {
		if (tensor === undefined) continue;
		if ((numel(tensor.shape) ?? Number.POSITIVE_INFINITY) * 8 > MAX_COMPUTED_TENSOR_BYTES) {
			throw new FormatError(
				'E_LIMIT',
				`${module.component} ${module.path} ${role} is larger than ${MAX_COMPUTED_TENSOR_BYTES} bytes as doubles.`,
			);
		}
		out.set(role, { shape: tensor.shape, data: decodeFloats(tensor.dtype, await tensor.read()) });
	}
	return out;
}

/**
 * The delta of factors that were read: THE arithmetic, for whole weights and for rows of them (`rows.ts`).
 * @throws {FormatError} as `deltaOf`.
 */
export function computeDelta(module: TargetModule, factors: ReadonlyMap<Role, Values>, options: DeltaOptions): Delta {
	const where = `${module.component} ${module.path}`;
	if (!Number.isFinite(module.scaling)) {
		throw new FormatError('E_LORA_ALPHA', `${where} has scaling ${module.scaling} (rule ${module.rule}); its delta needs a finite one.`, {
			at: module.path,
		});
	}
	const family = FAMILIES.get(module.family);
	if (family === undefined) throw new FormatError('E_UNSUPPORTED_ADAPTER', `${where} is ${module.family}; its delta is not known.`);
	const rule = options.doraStrength ?? 'interpolate';
	const strength = options.strength ?? 1;
	const dora = module.factors.magnitude !== undefined;
	const input: FamilyInput = {
		where,
		module,
		factors,
		scaling: module.scaling,
		strength,
		base: baseOf(where, options),
		peftOft: options.peftOft,
	};
	// DoRA's own rule takes the strength, so the factors count in full under it (PEFT: scaled).
	const raw = family(dora && rule !== 'peft' ? { ...input, strength: 1 } : input);
	return shaped(where, withBiasBeside(input, dora ? doraDelta(input, raw, rule) : raw), options);
}

/** Roles of a bias that `fullDelta` handles itself. */
const OWN_BIAS: ReadonlySet<Family> = new Set<Family>(['full']);

/**
 * `.diff_b` beside the factors of any family: a difference of the bias with the user's strength and no scaling.
 * Source: comfyanonymous/ComfyUI@0323d87 comfy/lora.py `load_lora`, where it is a patch of its own.
 */
function withBiasBeside(input: FamilyInput, delta: Delta): Delta {
	const beside = OWN_BIAS.has(input.module.family) ? undefined : input.factors.get('diff_b');
	if (beside === undefined) return delta;
	const own = delta.bias?.data;
	if (own !== undefined && own.length !== beside.data.length)
		throw shapeError(input.where, `diff_b has ${beside.data.length} numbers, the other part of its bias ${own.length}.`);
	return {
		weight: delta.weight,
		bias: { shape: beside.shape, data: beside.data.map((x, i) => x * input.strength + (own?.[i] ?? 0)) },
	};
}

function baseOf(where: string, options: DeltaOptions): FamilyInput['base'] {
	const { base } = options;
	if (base === undefined) return undefined;
	if (numel(base.shape) !== base.weight.length)
		throw shapeError(where, `the base's weight has ${base.weight.length} values for (${base.shape.join(', ')}).`);
	const bias = base.bias;
	if (options.fanIn !== true) return { shape: base.shape, data: base.weight, bias };
	const m = transpose(where, flat({ shape: base.shape, data: base.weight }));
	return { shape: [m.rows, m.cols], data: m.data, bias };
}

function shaped(where: string, delta: Delta, options: DeltaOptions): Delta {
	let { weight } = delta;
	if (weight === undefined) return delta;
	if (options.fanIn === true) {
		const m = transpose(where, flat(weight));
		weight = { shape: [m.rows, m.cols], data: m.data };
	}
	const shape = options.shape ?? options.base?.shape;
	if (shape === undefined) return { weight, bias: delta.bias };
	if (numel(shape) !== weight.data.length)
		throw shapeError(where, `its delta (${weight.shape.join(', ')}) does not fit a weight of (${shape.join(', ')}).`);
	return { weight: { shape, data: weight.data }, bias: delta.bias };
}
