import { FormatError } from '../errors.js';
import { type Delta, type FamilyInput, factor, requireBase, shapeError, weightDelta } from './delta.js';
import { flat, type Matrix, subtract } from './matrix.js';
import { cayleyBlocks, oftConstraint, rotateRows, scaleRows, towardsIdentity } from './rotations.js';

/**
 * OFT of kohya and LyCORIS: rows of block k become R_k^T W_k; `rescale` multiplies rows; the strength draws R
 * towards the identity. Source: KohakuBlueleaf/LyCORIS@f49d30d modules/diag_oft.py `make_weight`; LAYOUTS 5.9.
 */
export function oftDelta(input: FamilyInput): Delta {
	const { where } = input;
	if (!input.factors.has('oft_blocks')) {
		throw new FormatError('E_UNSUPPORTED_ADAPTER', `${where} is OFT by oft_diag, an early LyCORIS form whose meaning is not proven.`, {
			at: input.module.path,
		});
	}
	const base = requireBase(input);
	const blocks = cayleyBlocks(where, factor(input, 'oft_blocks'), 1, oftConstraint(input)).map((r) => towardsIdentity(r, input.strength));
	const turned = scaleRows(where, rotateRows(where, blocks, flat(base), true), input.factors.get('rescale'));
	return weightDelta({ shape: base.shape, data: subtract(where, turned.data, base.data) });
}

/**
 * BOFT of LyCORIS: m butterfly factors, each of which pairs rows at distance 2^i b/2, turns them by R (not R^T) and
 * puts them back. Source: KohakuBlueleaf/LyCORIS@f49d30d modules/boft.py `make_weight`.
 */
export function boftDelta(input: FamilyInput): Delta {
	const { where } = input;
	const stacks = factor(input, 'oft_blocks');
	const [m = 0, n = 0, b = 0] = stacks.shape;
	const base = requireBase(input);
	const rows = base.shape[0] ?? 0;
	if (stacks.shape.length !== 4 || n * b !== rows) {
		throw shapeError(where, `butterfly blocks (${stacks.shape.join(', ')}) do not cover ${rows} output rows.`);
	}
	const all = cayleyBlocks(where, stacks, 1, oftConstraint(input)).map((r) => towardsIdentity(r, input.strength));
	let weight: Matrix = flat(base);
	for (let i = 0; i < m; i++) {
		const order = butterflyOrder(where, rows, 2 ** i * Math.floor(b / 2));
		const mixed = rotateRows(where, all.slice(i * n, (i + 1) * n), takeRows(weight, order), false);
		weight = putRows(mixed, order);
	}
	const scaled = scaleRows(where, weight, input.factors.get('rescale'));
	return weightDelta({ shape: base.shape, data: subtract(where, scaled.data, base.data) });
}

/** Rows as (groups, 2, k) -> (groups, k, 2): place p of the result holds row order[p]. */
function butterflyOrder(where: string, rows: number, k: number): Int32Array {
	if (k === 0 || rows % (2 * k) !== 0) throw shapeError(where, `${rows} rows cannot be paired at distance ${k}.`);
	const order = new Int32Array(rows);
	let at = 0;
	for (let group = 0; group < rows; group += 2 * k) {
		for (let j = 0; j < k; j++) {
			order[at++] = group + j;
			order[at++] = group + k + j;
		}
	}
	return order;
}

function takeRows(m: Matrix, order: Int32Array): Matrix {
	const data = new Float64Array(m.data.length);
	order.forEach((row, place) => {
		data.set(m.data.subarray(row * m.cols, (row + 1) * m.cols), place * m.cols);
	});
	return { rows: m.rows, cols: m.cols, data };
}

function putRows(m: Matrix, order: Int32Array): Matrix {
	const data = new Float64Array(m.data.length);
	order.forEach((row, place) => {
		data.set(m.data.subarray(place * m.cols, (place + 1) * m.cols), row * m.cols);
	});
	return { rows: m.rows, cols: m.cols, data };
}
