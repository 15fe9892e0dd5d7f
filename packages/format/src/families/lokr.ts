import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, factor, shapeError, type Values, weightDelta } from './delta.js';
import { allocate, flat, multiply, product, transpose } from './matrix.js';
import { applyOuter, foldCore } from './tucker.js';

/**
 * s kron(W1, W2); W1 (a, c) whole or as w1_a w1_b; W2 (b, d[, kernel]) whole, as w2_a w2_b, or Tucker with
 * `lokr_t2` and w2_a (r, b). Source: KohakuBlueleaf/LyCORIS@f49d30d functional/lokr.py; LAYOUTS 5.5.
 */
export function lokrDelta(input: FamilyInput): Delta {
	const { where } = input;
	if (input.factors.has('lokr_t1')) {
		throw new FormatError('E_UNSUPPORTED_ADAPTER', `${where} has lokr_t1, which no known writer makes and no reader applies.`, {
			at: input.module.path,
		});
	}
	return weightDelta(kron(where, left(input), secondFactor(input), input.scaling * input.strength));
}

function left(input: FamilyInput): Values {
	const whole = input.factors.get('lokr_w1');
	if (whole !== undefined) return whole;
	const m = multiply(input.where, flat(factor(input, 'lokr_w1_a')), flat(factor(input, 'lokr_w1_b')));
	return { shape: [m.rows, m.cols], data: m.data };
}

/** W2 (b, d[, kernel]), multiplied out of its parts. */
export function secondFactor(input: Pick<FamilyInput, 'where' | 'module' | 'factors'>): Values {
	const { where } = input;
	const whole = input.factors.get('lokr_w2');
	if (whole !== undefined) return whole;
	const a = factor(input, 'lokr_w2_a');
	const b = factor(input, 'lokr_w2_b');
	const core = input.factors.get('lokr_t2');
	if (core !== undefined) return applyOuter(where, transpose(where, flat(a)), foldCore(where, core, b));
	const m = multiply(where, flat(a), flat(b));
	return { shape: [m.rows, ...b.shape.slice(1)], data: m.data };
}

/**
 * kron(W1 (a, c), W2 (b, d, k...)) = (a b, c d, k...). W2 may be flat (b, d * k): the result has the same order
 * of elements, so only the shape is less telling.
 */
function kron(where: string, w1: Values, w2: Values, scale: number): Values {
	const [a = 1, c = 1, ...ones] = w1.shape;
	const [b = 1, d = 1, ...kernel] = w2.shape;
	if (product(ones) !== 1) throw shapeError(where, `the first factor of a LoKr has a kernel (${w1.shape.join(', ')}).`);
	const taps = product(kernel);
	const run = d * taps;
	const out = allocate(where, a * b * c * run);
	let at = 0;
	for (let i = 0; i < a; i++) {
		for (let p = 0; p < b; p++) {
			for (let j = 0; j < c; j++) {
				const x = w1.data[i * c + j] ?? 0;
				const from = p * run;
				for (let q = 0; q < run; q++) out[at++] = x * (w2.data[from + q] ?? 0) * scale;
			}
		}
	}
	return { shape: [a * b, c * d, ...kernel], data: out };
}
