import { isOldGlora } from '../scaling.js';
import { type Delta, type FamilyInput, factor, requireBase, shapeError, type Values, weightDelta } from './delta.js';
import { add, allocate, flat, type Matrix, multiply, product, scaleInPlace } from './matrix.js';
import { applyOuter, foldCore } from './tucker.js';

/**
 * s (b1 b2 + (W a1) a2); old LyCORIS files hold each pair the other way round: s (b2 b1 + (W a2) a1). `bm` is the
 * core of b1 and b2. Convolutions: a acts on the input channels. Source: KohakuBlueleaf/LyCORIS@f49d30d
 * modules/glora.py `make_weight`; LAYOUTS 5.10.
 */
export function gloraDelta(input: FamilyInput): Delta {
	const { where } = input;
	const base = requireBase(input);
	const [first, second] = isOld(input) ? (['2', '1'] as const) : (['1', '2'] as const);
	const b = outer(input, factor(input, `glora_b${first}`), factor(input, `glora_b${second}`));
	const a = onChannels(where, onChannels(where, base, flat(factor(input, `glora_a${first}`))), flat(factor(input, `glora_a${second}`)));
	return weightDelta({ shape: base.shape, data: scaleInPlace(add(where, b.data, a.data), input.scaling * input.strength) });
}

function isOld(input: FamilyInput): boolean {
	const { glora_a1: a1, glora_a2: a2, glora_b1: b1, glora_b2: b2 } = input.module.factors;
	return a1 !== undefined && a2 !== undefined && b1 !== undefined && b2 !== undefined && isOldGlora(a1, a2, b1, b2);
}

function outer(input: FamilyInput, left: Values, right: Values): Values {
	const core = input.factors.get('glora_bm');
	if (core !== undefined) return applyOuter(input.where, flat(left), foldCore(input.where, core, right));
	const m = multiply(input.where, flat(left), flat(right));
	return { shape: [m.rows, ...right.shape.slice(1)], data: m.data };
}

/** out[o, j, k...] = sum over i of w[o, i, k...] * m[i, j]. */
function onChannels(where: string, w: Values, m: Matrix): Values {
	const [rows = 1, channels = 1, ...kernel] = w.shape;
	if (m.rows !== channels) throw shapeError(where, `a factor (${m.rows}, ${m.cols}) does not meet ${channels} input channels of the base.`);
	const taps = product(kernel);
	const out = allocate(where, rows * m.cols * taps);
	for (let o = 0; o < rows; o++) {
		for (let i = 0; i < channels; i++) {
			const from = (o * channels + i) * taps;
			for (let j = 0; j < m.cols; j++) {
				const x = m.data[i * m.cols + j] ?? 0;
				const to = (o * m.cols + j) * taps;
				for (let k = 0; k < taps; k++) out[to + k] = (out[to + k] ?? 0) + x * (w.data[from + k] ?? 0);
			}
		}
	}
	return { shape: [rows, m.cols, ...kernel], data: out };
}
