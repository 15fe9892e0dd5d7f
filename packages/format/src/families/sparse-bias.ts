import { FormatError } from '../errors.js';
import { type FamilyInput, shapeError, type Values } from './delta.js';
import { allocate } from './matrix.js';

/**
 * The sparse rest that LyCORIS' extraction keeps beside a LoRA: `bias_indices` (2, n) and `bias_values` (n) of a
 * weight difference of shape `bias_size` (out, in * kernel). It is a part of the weight, whatever its name.
 * A1111 also reads it dense, as `.bias` of the weight's shape.
 * Source: KohakuBlueleaf/LyCORIS@f49d30d lycoris/utils/__init__.py (extraction writes alpha = rank beside it).
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` when the module's scaling is not 1: whether it scales this part
 *   too is not proven.
 */
export function sparseDifference(input: FamilyInput): Values | undefined {
	const indices = input.factors.get('bias_indices');
	const values = input.factors.get('bias_values');
	const size = input.factors.get('bias_size');
	const dense = input.factors.get('bias_dense');
	if (indices === undefined && values === undefined && size === undefined && dense === undefined) return undefined;
	const { where } = input;
	if (dense !== undefined) {
		if (input.scaling === 1 && indices === undefined) return dense;
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where} has A1111's dense difference (.bias) beside factors scaled by ${input.scaling}; readers disagree on whether the scaling covers it.`,
			{ at: input.module.path },
		);
	}
	if (indices === undefined || values === undefined || size === undefined) {
		throw shapeError(where, 'bias_indices, bias_values and bias_size must come together.');
	}
	if (input.scaling !== 1) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where} has a sparse difference beside factors scaled by ${input.scaling}; readers disagree on whether the scaling covers it.`,
			{ at: input.module.path },
		);
	}
	const [rows = 0, cols = 0] = size.data;
	const count = values.data.length;
	if (size.data.length !== 2 || indices.data.length !== 2 * count || !(rows > 0 && cols > 0)) {
		throw shapeError(
			where,
			`a sparse difference of ${count} values needs indices (2, ${count}) and a size (out, in), not ${indices.data.length} and [${size.data.join(', ')}].`,
		);
	}
	const out = allocate(where, rows * cols);
	for (let n = 0; n < count; n++) {
		const row = indices.data[n] ?? -1;
		const col = indices.data[count + n] ?? -1;
		if (row < 0 || row >= rows || col < 0 || col >= cols)
			throw shapeError(where, `its sparse difference names element (${row}, ${col}) of (${rows}, ${cols}).`);
		// Coalesced by the writer; repeated places add up, as in torch's to_dense.
		out[row * cols + col] = (out[row * cols + col] ?? 0) + (values.data[n] ?? 0);
	}
	return { shape: [rows, cols], data: out };
}
