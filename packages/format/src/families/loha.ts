import { type Delta, type FamilyInput, factor, shapeError, type Values, weightDelta } from './delta.js';
import { flat, multiply, transpose } from './matrix.js';
import { applyOuter, foldCore } from './tucker.js';

/**
 * s (w1_a w1_b) * (w2_a w2_b), element by element. With cores `hada_t1/t2` the a-factors are (r, out).
 * Source: KohakuBlueleaf/LyCORIS@f49d30d functional/loha.py; LAYOUTS 5.4.
 */
export function lohaDelta(input: FamilyInput): Delta {
	const one = half(input, 'hada_w1_a', 'hada_w1_b', 'hada_t1');
	const two = half(input, 'hada_w2_a', 'hada_w2_b', 'hada_t2');
	if (one.data.length !== two.data.length) {
		throw shapeError(input.where, `the halves of a LoHa are (${one.shape.join(', ')}) and (${two.shape.join(', ')}); they must be alike.`);
	}
	const scale = input.scaling * input.strength;
	// `one` is ours alone, so its memory can take the result.
	for (let i = 0; i < one.data.length; i++) one.data[i] = (one.data[i] ?? 0) * (two.data[i] ?? 0) * scale;
	return weightDelta(one);
}

function half(input: FamilyInput, a: 'hada_w1_a' | 'hada_w2_a', b: 'hada_w1_b' | 'hada_w2_b', t: 'hada_t1' | 'hada_t2'): Values {
	const { where } = input;
	const left = factor(input, a);
	const right = factor(input, b);
	const core = input.factors.get(t);
	if (core === undefined) {
		const m = multiply(where, flat(left), flat(right));
		return { shape: [m.rows, ...right.shape.slice(1)], data: m.data };
	}
	return applyOuter(where, transpose(where, flat(left)), foldCore(where, core, right));
}
