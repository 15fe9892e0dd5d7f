import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, factor, shapeError, type Values, weightDelta } from './delta.js';
import { add, flat, multiply, product, scaleInPlace } from './matrix.js';
import { sparseDifference } from './sparse-bias.js';
import { foldCore } from './tucker.js';

/**
 * s B A for linear and k x k convolution modules (A carries the kernel, B is 1 x 1), with the core of a LoCon
 * folded into A first; plus s * `up_bias` (PEFT `lora_bias`) and LyCORIS' sparse rest. LAYOUTS 5.1 to 5.3, 5.12.
 */
export function loraDelta(input: FamilyInput): Delta {
	const { where, scaling, strength } = input;
	const up = factor(input, 'up');
	if (product(up.shape.slice(2)) !== 1) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where}: the kernel is on up (${up.shape.join(', ')}) instead of down; no reader of the field applies that.`,
			{ at: input.module.path },
		);
	}
	const down = wholeDown(where, factor(input, 'down'), input.factors.get('mid'));
	const scale = scaling * strength;
	const weight = multiply(where, { rows: up.shape[0] ?? 0, cols: up.shape[1] ?? 0, data: up.data }, flat(down), scale);
	const shape = [weight.rows, ...down.shape.slice(1)];
	const rest = sparseDifference(input);
	return {
		weight: { shape, data: rest === undefined ? weight.data : add(where, weight.data, scaleInPlace(rest.data, strength)) },
		bias: upBias(input, scale),
	};
}

/** `down` with the core of a LoCon folded in, so that up times this is the delta. @throws {FormatError} `E_LORA_SHAPE`. */
export function wholeDown(where: string, down: Values, mid: Values | undefined): Values {
	if (mid === undefined) return down;
	if (product(down.shape.slice(2)) !== 1) {
		throw shapeError(where, `with a mid, down must be 1 x 1 but is (${down.shape.join(', ')}).`);
	}
	return foldCore(where, mid, { shape: down.shape.slice(0, 2), data: down.data });
}

/** s * bias of B (PEFT `lora_B.bias`), scaled as PEFT scales it. */
function upBias(input: FamilyInput, scale: number): Values | undefined {
	const bias = input.factors.get('up_bias');
	return bias === undefined ? undefined : { shape: bias.shape, data: scaleInPlace(bias.data.slice(), scale) };
}

/** (B A)^T s: rows are tokens. PEFT `lora_embedding_A` (r, vocab), `lora_embedding_B` (dim, r). LAYOUTS 5.14. */
export function embeddingDelta(input: FamilyInput): Delta {
	const down = factor(input, 'embedding_down');
	const up = factor(input, 'embedding_up');
	const { where } = input;
	const [rank = 0, vocab = 0] = down.shape;
	const [dim = 0, inner = 0] = up.shape;
	if (inner !== rank)
		throw shapeError(where, `embedding factors (${down.shape.join(', ')}) and (${up.shape.join(', ')}) have different ranks.`);
	const product2 = multiply(
		where,
		{ rows: dim, cols: rank, data: up.data },
		{ rows: rank, cols: vocab, data: down.data },
		input.scaling * input.strength,
	);
	const out = new Float64Array(product2.data.length);
	for (let d = 0; d < dim; d++) for (let v = 0; v < vocab; v++) out[v * dim + d] = product2.data[d * vocab + v] ?? 0;
	return weightDelta({ shape: [vocab, dim], data: out });
}
