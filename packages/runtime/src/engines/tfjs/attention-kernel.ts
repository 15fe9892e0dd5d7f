import type { Tensor } from '@tensorflow/tfjs';
import { type Kernel, operand, sizeAt, type TfjsContext } from './kernel.js';
import { product, worthACall } from './product-kernels.js';

/** Elements of scores that are held at once, and twice more while softmax runs: 128 MiB each. */
const MOST_SCORES = 2 ** 25;

/** Query rows are done in pieces, as many as asked for and as the memory of scores needs. */
export const attention: Kernel<'attention'> = (context, inputs, { heads, scale, causal, slices }, shape) => {
	const { tf } = context;
	const [q, k, v] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
	const query = splitHeads(context, tf.mul(q, scale), heads);
	const [key, value] = [splitHeads(context, k, heads), splitHeads(context, v, heads)];
	const [rows, columns, width] = [sizeAt(query, 1), sizeAt(key, 1), sizeAt(query, 2)];
	const joined = worthACall(context, rows, width, columns)
		? tf.concat(
				headByHead(context, query, key, value, (q, k, v) => attend(context, q, k, v, causal, slices)),
				0,
			)
		: attend(context, query, key, value, causal, slices);
	const byHead = tf.reshape(joined, [sizeAt(q, 0), heads, rows, width]);
	return tf.reshape(tf.transpose(byHead, [0, 2, 1, 3]), [...shape]);
};

/** Split and not sliced: the gradient of each slice would be as large as the whole. */
function headByHead(
	{ tf }: TfjsContext,
	query: Tensor,
	key: Tensor,
	value: Tensor,
	each: (query: Tensor, key: Tensor, value: Tensor) => Tensor,
): Tensor[] {
	const [queries, keys, values] = [query, key, value].map((x) => tf.split(x, sizeAt(x, 0), 0));
	return (queries ?? []).map((q, i) => tf.tidy(() => each(q, keys?.[i] ?? key, values?.[i] ?? value)));
}

/** (n, s, d) (n, t, d) (n, t, d) -> (n, s, d) */
function attend(context: TfjsContext, query: Tensor, key: Tensor, value: Tensor, causal: boolean, slices: number): Tensor {
	const { tf } = context;
	const [all, rows, columns, width] = [sizeAt(query, 0), sizeAt(query, 1), sizeAt(key, 1), sizeAt(query, 2)];
	const pieces = Math.min(rows, Math.max(1, slices, Math.ceil((all * rows * columns) / MOST_SCORES)));
	const step = Math.ceil(rows / pieces);
	const parts: Tensor[] = [];
	for (let from = 0; from < rows; from += step) {
		const count = Math.min(step, rows - from);
		parts.push(
			tf.tidy(() => {
				const part = count === rows ? query : tf.slice(query, [0, from, 0], [all, count, width]);
				const scores = product(context, part, key, false, true);
				const seen = causal ? tf.add(scores, tf.tensor2d(mask(from, count, columns), [count, columns])) : scores;
				return product(context, tf.softmax(seen, -1), value, false, false);
			}),
		);
	}
	const [first] = parts;
	return parts.length === 1 && first !== undefined ? first : tf.concat(parts, 1);
}

/** (b, s, heads * d) -> (b * heads, s, d) */
function splitHeads({ tf }: TfjsContext, x: Tensor, heads: number): Tensor {
	const [b, s, width] = [sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2)];
	const d = width / heads;
	return tf.reshape(tf.transpose(tf.reshape(x, [b, s, heads, d]), [0, 2, 1, 3]), [b * heads, s, d]);
}

/** Added to scores: what lies after the row's own position gets a number that exp makes 0. */
function mask(from: number, count: number, columns: number): Float32Array {
	const data = new Float32Array(count * columns);
	for (let row = 0; row < count; row++) data.fill(-1e9, row * columns + from + row + 1, (row + 1) * columns);
	return data;
}
