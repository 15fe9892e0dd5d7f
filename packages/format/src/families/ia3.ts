import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, factor, requireBase, shapeError, weightDelta } from './delta.js';
import { allocate, product } from './matrix.js';

/**
 * IA3 of LyCORIS: W * weight, per output row (`on_input` 0) or per input channel (1).
 * Source: KohakuBlueleaf/LyCORIS@f49d30d modules/ia3.py; LAYOUTS 5.8.
 */
export function ia3Delta(input: FamilyInput): Delta {
	const onInput = factor(input, 'on_input').data[0] ?? 0;
	return rowsOrColumns(input, factor(input, 'ia3_weight').data, onInput !== 0 ? 'in' : 'out', 0);
}

/**
 * IA3 of PEFT: W' = W * l, so W (l - 1). Linear: l is (out, 1), or (1, in) in feed-forward layers; there no bias
 * changes, else the bias is multiplied too. Convolutions store both as (1, n, 1, 1): where out = in nothing says
 * which. Source: huggingface/peft@5d602fd tuners/ia3/layer.py.
 */
export function peftIa3Delta(input: FamilyInput): Delta {
	const l = factor(input, 'ia3_l');
	const base = requireBase(input);
	const out = base.shape[0] ?? 1;
	const inner = base.shape[1] ?? 1;
	const count = l.data.length;
	let axis: 'out' | 'in';
	if (l.shape.length === 2) axis = l.shape[0] === 1 && count !== 1 ? 'in' : 'out';
	else if (count === out && count === inner && count !== 1) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${input.where}: ia3_l (${l.shape.join(', ')}) fits inputs and outputs alike; only the feedforward_modules of its configuration decide.`,
			{ at: input.module.path },
		);
	} else axis = count === out ? 'out' : 'in';
	const delta = rowsOrColumns(input, l.data, axis, 1);
	if (axis === 'in' || base.bias === undefined) return delta;
	return {
		weight: delta.weight,
		bias: { shape: [base.bias.length], data: base.bias.map((b, i) => b * ((l.data[i] ?? 0) - 1) * input.strength) },
	};
}

function rowsOrColumns(input: FamilyInput, vector: Float64Array, axis: 'out' | 'in', neutral: number): Delta {
	const base = requireBase(input);
	const { where, strength } = input;
	const inner = base.shape[1] ?? 1;
	const taps = product(base.shape.slice(2));
	const expected = axis === 'out' ? (base.shape[0] ?? 1) : inner;
	if (vector.length !== expected)
		throw shapeError(where, `its IA3 vector has ${vector.length} numbers for ${expected} ${axis === 'out' ? 'rows' : 'columns'}.`);
	const out = allocate(where, base.data.length);
	for (let i = 0; i < out.length; i++) {
		const n = axis === 'out' ? Math.floor(i / (inner * taps)) : Math.floor(i / taps) % inner;
		out[i] = (base.data[i] ?? 0) * ((vector[n] ?? 0) - neutral) * strength;
	}
	return weightDelta({ shape: base.shape, data: out });
}
