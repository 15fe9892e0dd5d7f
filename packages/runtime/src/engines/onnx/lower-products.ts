import { type Emitter, matrixShape, type Operand } from './emitter.js';
import { type LoweringRules, neverEmpty, operand } from './lowering.js';

/**
 * Products of matrices. What can be a Gemm is one: it takes the second matrix as it is stored, (out, in), and adds
 * the bias in the same pass. Measured at the sizes of Stable Diffusion 1.5, 2 cores: as fast as MatMul with the weight
 * transposed beforehand and Add (48 and 48 ms for 8192 rows of 320 by 320), without the transposed copy of the weight.
 */
export const productRules: LoweringRules<'matmul' | 'linear' | 'lowRank'> = {
	matmul(emit, inputs, { transposeA, transposeB }) {
		const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
		if (a.shape.length === 2 && b.shape.length === 2) return gemm(emit, a.name, b.name, transposeA, transposeB);
		const [x, y] =
			typeof a.shape.at(transposeA ? -2 : -1) === 'number' ? [a, b] : neverEmpty(emit, a, transposeA ? -2 : -1, b, transposeB ? -1 : -2);
		// ONNX Runtime fuses the exchanged axes into the product (MatmulTransposeFusion).
		return emit.node('MatMul', [transposeA ? swapped(emit, x) : x.name, transposeB ? swapped(emit, y) : y.name]);
	},
	linear(emit, inputs, _, shape) {
		return emit.fromRows(gemm(emit, emit.rows(operand(inputs, 0)), operand(inputs, 1).name, false, true, inputs[2]?.name), shape);
	},
	lowRank(emit, inputs, _, shape) {
		const [base, x, down] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
		const inner = gemm(emit, emit.rows(x), down.name, false, true);
		emit.shaped(inner, [matrixShape(x.shape)[0], down.shape[0] ?? 1]);
		// The base is what the second product is added to: with rank 0 nothing is, and its bits stay.
		return emit.fromRows(gemm(emit, inner, operand(inputs, 3).name, false, true, emit.rows(base)), shape);
	},
};

function gemm(emit: Emitter, a: string, b: string, transA: boolean, transB: boolean, c?: string): string {
	return emit.node('Gemm', c === undefined ? [a, b] : [a, b, c], { transA: { int: transA ? 1 : 0 }, transB: { int: transB ? 1 : 0 } });
}

/** The last two axes exchanged. */
function swapped(emit: Emitter, x: Operand): string {
	const perm = x.shape.map((_, i) => i);
	const n = perm.length;
	return emit.node('Transpose', [x.name], { perm: { ints: [...perm.slice(0, n - 2), n - 1, n - 2] } });
}
