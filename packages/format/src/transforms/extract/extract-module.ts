import type { Role, TargetModule } from '../../adapter.js';
import { FormatError } from '../../errors.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import { denseSvd } from '../../linalg/dense-svd.js';
import type { LazySvd } from '../../linalg/lazy-svd.js';
import type { Svd } from '../../linalg/low-rank.js';
import { topSvd } from '../../linalg/top-svd.js';
import { bytesTensor, type Tensor } from '../../tensor.js';
import { sumOfSquares } from '../diff/energy.js';
import { chooseRank, type RankBounds, type RankRule } from '../resize/choose-rank.js';
import { loraShapes } from '../resize/expand-adapter.js';
import type { ExtractedModule, ExtractInput, ExtractOptions } from './extract-types.js';

/** The best product of a rank for one difference, and its true error. @throws {FormatError} `E_NONFINITE` when a factor leaves the range of the type. */
export function extractProduct(
	input: ExtractInput,
	options: ExtractOptions,
): { readonly module: TargetModule; readonly report: ExtractedModule } {
	const { component, path, shape, difference, dtype } = input;
	const where = `${component} ${path}`;
	const [out = 1, ...rest] = shape;
	const columns = rest.reduce((n, d) => n * d, 1);
	const shorter = Math.min(out, columns);
	const conv = shape.slice(2).some((d) => d !== 1);
	const cap = Math.min(
		shorter,
		(conv ? options.convRank : undefined) ?? options.maxRank ?? (options.rule.kind === 'rank' ? options.rule.rank : shorter),
	);
	const rule: RankRule = options.rule.kind === 'rank' ? { kind: 'rank', rank: cap } : options.rule;
	const energy = sumOfSquares(difference);
	const matrix = { rows: out, cols: columns, data: difference };
	const svd = rule.kind === 'rank' ? topSvd(matrix, rule.rank, where) : byRule(denseSvd(matrix, where), rule, { shorter, cap });
	const { up, down } = balanced(svd, out, columns);
	const bytes = { up: encodeFloats(dtype, up), down: encodeFloats(dtype, down) };
	const rank = svd.s.length;
	const error = residual(input, decodeFloats(dtype, bytes.up), decodeFloats(dtype, bytes.down), rank, columns);
	if (!Number.isFinite(error)) {
		throw new FormatError('E_NONFINITE', `${component} ${path} differs by more than ${dtype} can hold; use --dtype f32.`, { at: path });
	}
	const [upShape, downShape] = loraShapes(shape, rank);
	const factors = { up: bytesTensor(dtype, upShape, bytes.up), down: bytesTensor(dtype, downShape, bytes.down) };
	return {
		module: moduleOf(component, path, 'lora', factors, rank),
		report: { component, path, how: 'low-rank', rank, norm: Math.sqrt(energy), error: energy > 0 ? Math.sqrt(error / energy) : 0 },
	};
}

function byRule(lazy: LazySvd, rule: RankRule, bounds: RankBounds): Svd {
	return lazy.leading(chooseRank(lazy.values, rule, bounds));
}

function balanced({ u, s, v }: Svd, out: number, columns: number): { readonly up: Float64Array; readonly down: Float64Array } {
	const rank = s.length;
	const roots = s.map(Math.sqrt);
	const up = new Float64Array(out * rank);
	const down = new Float64Array(rank * columns);
	for (let i = 0; i < out; i++) for (let k = 0; k < rank; k++) up[i * rank + k] = (u.data[i * u.cols + k] ?? 0) * (roots[k] ?? 0);
	for (let j = 0; j < columns; j++) for (let k = 0; k < rank; k++) down[k * columns + j] = (v.data[j * v.cols + k] ?? 0) * (roots[k] ?? 0);
	return { up, down };
}

/** Rows of the product that are made at a time. */
const BLOCK_ROWS = 64;

/** |difference - up down|^2, element by element. */
function residual({ difference, shape }: ExtractInput, up: Float64Array, down: Float64Array, rank: number, columns: number): number {
	const out = shape[0] ?? 1;
	let sum = 0;
	for (let from = 0; from < out; from += BLOCK_ROWS) {
		const rows = Math.min(BLOCK_ROWS, out - from);
		const product = kernel().multiply(up.subarray(from * rank, (from + rows) * rank), down, rows, rank, columns);
		const start = from * columns;
		for (let i = 0; i < product.length; i++) sum += ((difference[start + i] ?? 0) - (product[i] ?? 0)) ** 2;
	}
	return sum;
}

interface FullInput {
	readonly component: string;
	readonly path: string;
	readonly shape: readonly number[];
	readonly norm: boolean;
	readonly dtype: WritableFloat;
}

/** A full difference of weight and bias, rounded once to the type. @throws {FormatError} `E_NONFINITE` when it leaves its range. */
export function fullPart(
	input: FullInput,
	parts: { readonly weight: Float64Array | undefined; readonly bias: Float64Array | undefined },
): { readonly module: TargetModule; readonly report: ExtractedModule } {
	const { component, path, shape, norm, dtype } = input;
	const roles = norm ? (['w_norm', 'b_norm'] as const) : (['diff', 'diff_b'] as const);
	const factors: Partial<Record<Role, Tensor>> = {};
	let energy = 0;
	let lost = 0;
	[parts.weight, parts.bias].forEach((values, n) => {
		const role = roles[n];
		if (values === undefined || role === undefined) return;
		const bytes = encodeFloats(dtype, values);
		energy += sumOfSquares(values);
		const stored = decodeFloats(dtype, bytes);
		for (let i = 0; i < values.length; i++) lost += ((values[i] ?? 0) - (stored[i] ?? 0)) ** 2;
		factors[role] = bytesTensor(dtype, n === 0 ? shape : [values.length], bytes);
	});
	if (!Number.isFinite(lost)) {
		throw new FormatError('E_NONFINITE', `${component} ${path} differs by more than ${dtype} can hold; use --dtype f32.`, { at: path });
	}
	return {
		module: moduleOf(component, path, norm ? 'norm' : 'full', factors, undefined),
		report: { component, path, how: 'full', rank: null, norm: Math.sqrt(energy), error: energy > 0 ? Math.sqrt(lost / energy) : 0 },
	};
}

function moduleOf(
	component: string,
	path: string,
	family: TargetModule['family'],
	factors: TargetModule['factors'],
	rank: number | undefined,
): TargetModule {
	return {
		component,
		path,
		resolved: true,
		family,
		factors,
		rank,
		alpha: rank ?? null,
		alphaSource: 'none',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: rank === undefined ? 'none' : 'alpha/rank',
		scaling: 1,
		magnitudeAxis: undefined,
	};
}
