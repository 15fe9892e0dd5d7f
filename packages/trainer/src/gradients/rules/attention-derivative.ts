import type { Value } from '@lorakit/runtime';
import { add, causalMask, concat, joinHeads, matmul, mul, scaleBy, sizeOf, slice, splitHeads, sub, sum } from '@lorakit/runtime/ops';
import type { Derivative } from './derivative.js';

/**
 * The scores are computed again, a slice of the query's rows at a time, so that no more than `maxScores` of them are
 * there at once; the sum over a row of its probabilities times their gradients is that of output times gradient (Dao et al.,
 * FlashAttention, arXiv 2205.14135, appendix B.2).
 */
export function attentionDerivative(maxScores: number): Derivative<'attention'> {
	return ({ ops, gradient, attributes: { heads, scale, causal }, input, output }) => {
		const [batch, rows, columns] = [sizeOf(gradient, 0), sizeOf(gradient, 1), sizeOf(input(1), 1)];
		const [q, k, v] = [input(0), input(1), input(2)].map((x) => splitHeads(ops, x, heads)) as [Value, Value, Value];
		const g = splitHeads(ops, gradient, heads);
		// One key has all the attention whatever its score is: queries and keys have exactly no gradient, not one of rounding.
		if (columns === 1) return [undefined, undefined, joinHeads(ops, sum(ops, g, 2))];
		const along = sum(ops, splitHeads(ops, mul(ops, gradient, output()), heads), 3);
		const slices = Math.max(1, Math.min(rows, Math.ceil((batch * heads * rows * columns) / maxScores)));
		const step = Math.ceil(rows / slices);
		const queries: Value[] = [];
		let keys: Value | undefined;
		let values: Value | undefined;
		for (let from = 0; from < rows; from += step) {
			const to = Math.min(rows, from + step);
			const part = (x: Value): Value => (from === 0 && to === rows ? x : slice(ops, x, 2, from, to));
			const before = [queries.at(-1), keys, values].filter((x) => x !== undefined);
			const query = before.length === 0 ? part(q) : ops.apply('after', [part(q), ...before], {});
			const slope = part(g);
			let scores = matmul(ops, scaleBy(ops, query, scale), k, false, true);
			if (causal) scores = add(ops, scores, causalMask(ops, from, to, columns));
			const p = ops.apply('softmax', [scores], {});
			const value = matmul(ops, p, slope, true, false);
			const s = scaleBy(ops, mul(ops, p, sub(ops, matmul(ops, slope, v, false, true), part(along))), scale);
			const key = matmul(ops, s, query, true, false);
			queries.push(matmul(ops, s, k));
			keys = keys === undefined ? key : add(ops, keys, key);
			values = values === undefined ? value : add(ops, values, value);
		}
		const [first] = queries;
		const query = queries.length === 1 ? first : concat(ops, 2, ...queries);
		return [query, keys, values].map((x) => (x === undefined ? undefined : joinHeads(ops, x)));
	};
}
