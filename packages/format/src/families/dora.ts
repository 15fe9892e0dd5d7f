import { type Delta, type DoraStrength, type FamilyInput, requireBase, shapeError, type Values } from './delta.js';
import { allocate, product } from './matrix.js';

/**
 * DoRA over any low-rank delta: V = W + D, W' = g V / |V|, with the norm along the axis that the magnitude
 * g stands for. Returns W' - W (scaled as `rule` says).
 *
 * `out`: one g per output row, norm over all other axes. `in`: one g per input channel, norm over the output axis
 * (and the kernel). Sources: huggingface/peft@5d602fd tuners/lora/dora.py; LyCORIS@f49d30d modules/locon.py
 * `apply_weight_decompose` (its machine epsilon beside the norm is left out); LAYOUTS 5.6.
 *
 * @param raw the delta of the factors at strength 1 (`peft`: at the strength asked for)
 */
export function doraDelta(input: FamilyInput, raw: Delta, rule: DoraStrength): Delta {
	const base = requireBase(input);
	const { where, strength } = input;
	const magnitude = input.factors.get('magnitude');
	const delta = raw.weight;
	if (magnitude === undefined || delta === undefined) throw shapeError(where, 'DoRA needs a magnitude and factors of the weight.');
	if (delta.data.length !== base.data.length) {
		throw shapeError(where, `its delta (${delta.shape.join(', ')}) does not fit the base's weight (${base.shape.join(', ')}).`);
	}
	// An embedding's magnitude is per embedding dimension, over all tokens: its second axis (PEFT DoraEmbeddingLayer).
	const axis = input.module.family === 'embedding' ? 'in' : (input.module.magnitudeAxis ?? 'out');
	const out = base.shape[0] ?? 1;
	const inner = base.shape[1] ?? 1;
	const taps = product(base.shape.slice(2));
	const groups = axis === 'out' ? out : inner;
	if (magnitude.data.length !== groups) {
		throw shapeError(
			where,
			`its magnitude has ${magnitude.data.length} numbers; the base has ${groups} ${axis === 'out' ? 'output rows' : 'input channels'}.`,
		);
	}
	const groupOf = (i: number): number => (axis === 'out' ? Math.floor(i / (inner * taps)) : Math.floor(i / taps) % inner);
	const squares = new Float64Array(groups);
	const v = allocate(where, base.data.length);
	for (let i = 0; i < v.length; i++) {
		const x = (base.data[i] ?? 0) + (delta.data[i] ?? 0);
		v[i] = x;
		const g = groupOf(i);
		squares[g] = (squares[g] ?? 0) + x * x;
	}
	const factors = squares.map((square, g) => {
		const full = (magnitude.data[g] ?? 0) / Math.sqrt(square);
		return rule === 'lycoris' ? strength * (full - 1) + 1 : full;
	});
	const share = rule === 'interpolate' ? strength : 1;
	for (let i = 0; i < v.length; i++) {
		const merged = (v[i] ?? 0) * (factors[groupOf(i)] ?? 0);
		v[i] = share * (merged - (base.data[i] ?? 0));
	}
	const weight: Values = { shape: base.shape, data: v };
	return { weight, bias: raw.bias };
}
