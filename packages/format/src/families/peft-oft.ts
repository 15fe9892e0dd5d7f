import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, factor, type PeftOftConfig, requireBase, shapeError, type Values, weightDelta } from './delta.js';
import { flat, identityPlus, type Matrix, multiply, scaleInPlace, solve, subtract, transpose } from './matrix.js';
import { cayleyBlocks, rotateRows, scaleRows } from './rotations.js';

/**
 * OFT of PEFT: `oft_R.weight` (n, b (b - 1) / 2) holds upper triangles of skew blocks; W' = W R^T on the **input**
 * side (convolutions: in * kernel, flattened). R is a Neumann series of the Cayley transform or the transform
 * itself, which only the configuration says. One row with more blocks in the base is `block_share`.
 * Source: huggingface/peft@5d602fd tuners/oft/layer.py.
 */
export function peftOftDelta(input: FamilyInput): Delta {
	const { where, peftOft } = input;
	if (peftOft === undefined) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where} is PEFT OFT: use_cayley_neumann and num_cayley_neumann_terms of its configuration are needed to say what it does.`,
			{ at: input.module.path },
		);
	}
	const base = requireBase(input);
	const weight = flat(base);
	const vectors = factor(input, 'oft_R');
	const [count = 0, elements = 0] = vectors.shape;
	const b = (1 + Math.sqrt(1 + 8 * elements)) / 2;
	if (vectors.shape.length !== 2 || !Number.isInteger(b) || weight.cols % b !== 0) {
		throw shapeError(where, `oft_R (${vectors.shape.join(', ')}) is no set of upper triangles that divides ${weight.cols} inputs.`);
	}
	const blocks: Matrix[] = [];
	for (let k = 0; k < count; k++) blocks.push(rotation(where, vectors.data.subarray(k * elements, (k + 1) * elements), b, peftOft));
	const needed = weight.cols / b;
	const [shared] = blocks;
	const used = count === 1 && shared !== undefined ? Array.from({ length: needed }, () => shared) : blocks;
	return inputSide(input, base, used, undefined);
}

/**
 * BOFT of PEFT: `boft_R` (m, n, b, b), each stack a block diagonal between two permutations; W' = s (W M^T) with
 * `boft_s` per output row. Source: huggingface/peft@5d602fd tuners/boft/layer.py.
 */
export function peftBoftDelta(input: FamilyInput): Delta {
	const { where } = input;
	const base = requireBase(input);
	const stacks = factor(input, 'boft_R');
	const [m = 0, n = 0, b = 0] = stacks.shape;
	const size = product2(base);
	if (stacks.shape.length !== 4 || n * b !== size)
		throw shapeError(where, `boft_R (${stacks.shape.join(', ')}) does not cover ${size} inputs.`);
	// PEFT's Q is half the difference and its R (I - Q)(I + Q)^-1: the transpose of ours, hence the sign.
	const all = cayleyBlocks(where, stacks, -0.5, 0);
	let turned = transpose(where, flat(base));
	for (let i = 0; i < m; i++) {
		const order = m === 1 ? identityOrder(size) : peftButterfly(where, size, Math.floor(n / 2 ** i), Math.floor(b / 2));
		// M_i[r, c] = D[order[r], order[c]]: gather by the inverse, turn, gather by the order.
		const inner = scatterRows(turned, order);
		turned = gatherRows(rotateRows(where, all.slice(i * n, (i + 1) * n), inner, false), order);
	}
	return finish(input, base, turned, input.factors.get('boft_s'));
}

function rotation(where: string, triangle: Float64Array, b: number, config: PeftOftConfig): Matrix {
	const data = new Float64Array(b * b);
	let at = 0;
	for (let i = 0; i < b; i++) {
		for (let j = i + 1; j < b; j++) {
			const x = triangle[at++] ?? 0;
			data[i * b + j] = x;
			data[j * b + i] = -x;
		}
	}
	const q: Matrix = { rows: b, cols: b, data };
	if (!config.cayleyNeumann) return solve(where, identityPlus(q, 1), identityPlus(q, -1));
	return neumann(where, q, config.terms);
}

/** I + 2Q + 2Q^2 + ... + 2Q^(terms-2) + Q^(terms-1): the last power once. */
function neumann(where: string, q: Matrix, terms: number): Matrix {
	const sum = identityPlus(q, terms > 1 ? 2 : 0);
	if (terms <= 2) return sum;
	const addPower = (power: Matrix, times: number): void => {
		for (let i = 0; i < sum.data.length; i++) sum.data[i] = (sum.data[i] ?? 0) + times * (power.data[i] ?? 0);
	};
	let power = multiply(where, q, q);
	addPower(power, 2);
	for (let k = 3; k < terms - 1; k++) {
		power = multiply(where, power, q);
		addPower(power, 2);
	}
	addPower(multiply(where, power, q), 1);
	return sum;
}

/** W R^T = (R W^T)^T. */
function inputSide(
	input: FamilyInput,
	base: NonNullable<FamilyInput['base']>,
	blocks: readonly Matrix[],
	scale: Values | undefined,
): Delta {
	const turned = rotateRows(input.where, blocks, transpose(input.where, flat(base)), false);
	return finish(input, base, turned, scale);
}

function finish(input: FamilyInput, base: NonNullable<FamilyInput['base']>, turned: Matrix, scale: Values | undefined): Delta {
	const { where } = input;
	const merged = scaleRows(where, transpose(where, turned), scale);
	return weightDelta({ shape: base.shape, data: scaleInPlace(subtract(where, merged.data, base.data), input.strength) });
}

function product2(base: Values): number {
	return flat(base).cols;
}

function identityOrder(n: number): Int32Array {
	return Int32Array.from({ length: n }, (_, i) => i);
}

/** PEFT's block butterfly permutation: in each of `b` parts, runs of `r` at even places first, then those at odd ones. */
function peftButterfly(where: string, n: number, b: number, r: number): Int32Array {
	const part = Math.floor(n / Math.max(b, 1));
	if (b === 0 || r === 0 || b * r * 2 > n || part % r !== 0 || n % part !== 0) {
		throw shapeError(where, `${n} inputs have no butterfly of ${b} blocks over runs of ${r}.`);
	}
	const order = new Int32Array(n);
	const runs = part / r;
	for (let start = 0; start < n; start += part) {
		let at = start;
		for (const parity of [0, 1]) {
			for (let run = parity; run < runs; run += 2) {
				for (let j = 0; j < r; j++) order[at++] = start + run * r + j;
			}
		}
	}
	return order;
}

/** out[order[p]] = m[p]. */
function scatterRows(m: Matrix, order: Int32Array): Matrix {
	const data = new Float64Array(m.data.length);
	order.forEach((row, place) => {
		data.set(m.data.subarray(place * m.cols, (place + 1) * m.cols), row * m.cols);
	});
	return { rows: m.rows, cols: m.cols, data };
}

/** out[p] = m[order[p]]. */
function gatherRows(m: Matrix, order: Int32Array): Matrix {
	const data = new Float64Array(m.data.length);
	order.forEach((row, place) => {
		data.set(m.data.subarray(row * m.cols, (row + 1) * m.cols), place * m.cols);
	});
	return { rows: m.rows, cols: m.cols, data };
}
