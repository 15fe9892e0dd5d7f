import { shapeError, type Values } from './delta.js';
import { allocate, flat, multiply, product } from './matrix.js';

/**
 * Fold a core (m, n, k...) into its inner factor (n, i): T[m, i, k] = sum over n of core[m, n, k] * inner[n, i].
 * The core's first axis stays for the outer factor. Exact up to float64: this is how a LoCon with `mid` becomes a
 * plain convolution LoRA of the same rank. Source: KohakuBlueleaf/LyCORIS@f49d30d functional/general.py, LAYOUTS 5.3.
 */
export function foldCore(where: string, core: Values, inner: Values): Values {
	const [m, n, ...kernel] = core.shape;
	if (m === undefined || n === undefined)
		throw shapeError(where, `a core has shape (${core.shape.join(', ')}); expected (r, r, ...kernel).`);
	const rows = flat(inner);
	if (rows.rows !== n)
		throw shapeError(where, `a core (${core.shape.join(', ')}) does not meet a factor (${inner.shape.join(', ')}) of ${n} rows.`);
	const taps = product(kernel);
	const { cols } = rows;
	const out = allocate(where, m * cols * taps);
	for (let a = 0; a < m; a++) {
		for (let b = 0; b < n; b++) {
			for (let i = 0; i < cols; i++) {
				const x = rows.data[b * cols + i] ?? 0;
				const to = (a * cols + i) * taps;
				const from = (a * n + b) * taps;
				for (let k = 0; k < taps; k++) out[to + k] = (out[to + k] ?? 0) + x * (core.data[from + k] ?? 0);
			}
		}
	}
	return { shape: [m, cols, ...kernel], data: out };
}

/** `outer` (out, r) times a folded core (r, in, k...), times `scale`: the weight (out, in, k...). */
export function applyOuter(
	where: string,
	outer: { readonly rows: number; readonly cols: number; readonly data: Float64Array },
	folded: Values,
	scale = 1,
): Values {
	const m = multiply(where, outer, flat(folded), scale);
	return { shape: [m.rows, ...folded.shape.slice(1)], data: m.data };
}
