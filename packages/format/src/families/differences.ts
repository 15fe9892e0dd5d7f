import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, requireBase, shapeError, type Values } from './delta.js';
import { scaleInPlace, subtract } from './matrix.js';

/** `.diff` of the weight, `.diff_b` of the bias, `.diff_m` of Wan's modulation table; no scaling. LAYOUTS 5.7. */
export function fullDelta(input: FamilyInput): Delta {
	const { factors } = input;
	if (factors.has('diff') && factors.has('diff_m')) throw shapeError(input.where, 'it has both diff and diff_m; a module has one weight.');
	return { weight: scaled(input, factors.get('diff') ?? factors.get('diff_m')), bias: scaled(input, factors.get('diff_b')) };
}

/** `.w_norm` and `.b_norm`: differences of a norm's weight and bias. LyCORIS@f49d30d modules/norms.py. */
export function normDelta(input: FamilyInput): Delta {
	return { weight: scaled(input, input.factors.get('w_norm')), bias: scaled(input, input.factors.get('b_norm')) };
}

/** Whole values (PEFT `modules_to_save`, `bias`; ComfyUI `set_weight`): what is there minus the base. */
export function wholeDelta(input: FamilyInput): Delta {
	const { factors, where } = input;
	if (factors.has('reshape_weight')) {
		throw new FormatError('E_UNSUPPORTED_ADAPTER', `${where} has reshape_weight, which gives the base another shape: it has no delta.`, {
			at: input.module.path,
		});
	}
	const weight = factors.get('set_weight') ?? factors.get('weight');
	const bias = factors.get('bias');
	const base = requireBase(input);
	if (bias !== undefined && base.bias === undefined) {
		throw new FormatError('E_BASE_MISMATCH', `${where} replaces a bias, and the base's bias was not given.`, { at: input.module.path });
	}
	return {
		weight:
			weight === undefined
				? undefined
				: { shape: weight.shape, data: scaleInPlace(subtract(where, weight.data, base.data), input.strength) },
		bias:
			bias === undefined || base.bias === undefined
				? undefined
				: { shape: bias.shape, data: scaleInPlace(subtract(where, bias.data, base.bias), input.strength) },
	};
}

function scaled(input: FamilyInput, values: Values | undefined): Values | undefined {
	return values === undefined ? undefined : { shape: values.shape, data: scaleInPlace(values.data.slice(), input.strength) };
}
