import type { Role, TargetModule } from '../adapter.js';
import { computeDelta } from './compute-delta.js';
import type { BaseWeight, DeltaOptions, Values } from './delta.js';
import { secondFactor } from './lokr.js';
import { wholeDown } from './lora.js';
import { product } from './matrix.js';

/** Rows of the base's weight, where a delta depends on it. */
export interface RowBase {
	readonly weight: Float64Array;
	/** As the file stores it. */
	readonly shape: readonly number[];
	readonly bias?: Float64Array | undefined;
}

/** A module's delta, some rows at a time. */
export interface DeltaRows {
	/** True when rows are computed alone, bit for bit as in the whole; false: ask for all of them at once. */
	readonly sliceable: boolean;
	/**
	 * Rows [from, to) of the weight's delta in the order of the stored weight.
	 * @param base where the delta depends on it: rows [from, to) if `sliceable`, else the whole weight
	 */
	weight(from: number, to: number, base?: RowBase): Float64Array;
	/** The delta of the bias; undefined when there is none. @param base where it depends on it: whole weight (only read by PEFT's IA3 over convolutions) and bias */
	bias(base?: RowBase): Float64Array | undefined;
}

type Factors = ReadonlyMap<Role, Values>;
/** Factors of the rows [from, to) alone, and from which row they really begin. */
type Slice = (from: number, to: number) => { readonly factors: Factors; readonly from: number; readonly to: number };

const BIAS_ROLES: readonly Role[] = ['up_bias', 'diff_b', 'b_norm', 'bias'];

/**
 * Cut a module's delta by rows: the factors that carry the rows are cut, and the family's own function does the
 * rest, so that there is one arithmetic. Cores are folded once. Families whose rows depend on each other are computed whole.
 *
 * @param factors read by `readFactors`
 * @param shape of the base's weight as the file stores it
 * @throws {FormatError} as `deltaOf`, then or when rows are asked for.
 */
export function rowsOf(
	module: TargetModule,
	factors: Factors,
	shape: readonly number[],
	options: Omit<DeltaOptions, 'base' | 'shape'> = {},
): DeltaRows {
	const slice = options.fanIn === true ? undefined : sliceOf(module, factors);
	const [rows = 1, ...rest] = shape;
	const taps = product(rest);
	const weightOnly = new Map(factors);
	for (const role of BIAS_ROLES) weightOnly.delete(role);
	return {
		sliceable: slice !== undefined,
		weight(from, to, base) {
			if (slice === undefined) {
				const whole = computeDelta(module, weightOnly, { ...options, shape, base });
				return (whole.weight?.data ?? new Float64Array(rows * taps)).subarray(from * taps, to * taps);
			}
			const cut = slice(from, to);
			const part = withoutRoles(cut.factors);
			const delta = computeDelta(module, part, { ...options, shape: [cut.to - cut.from, ...rest], base: rowBase(base, to - from, rest) });
			const data = delta.weight?.data ?? new Float64Array((cut.to - cut.from) * taps);
			return cut.from === from && cut.to === to ? data : data.subarray((from - cut.from) * taps, (to - cut.from) * taps);
		},
		bias(base) {
			if (slice === undefined || module.family === 'peft-ia3') return computeDelta(module, factors, { ...options, shape, base }).bias?.data;
			// No rows of the weight: what is left is the bias.
			const { factors: none } = slice(0, 0);
			const empty: BaseWeight | undefined =
				base === undefined ? undefined : { weight: new Float64Array(0), shape: [0, ...rest], bias: base.bias };
			return computeDelta(module, none, { ...options, shape: [0, ...rest], base: empty }).bias?.data;
		},
	};
}

function withoutRoles(factors: Factors): Factors {
	if (!BIAS_ROLES.some((role) => factors.has(role))) return factors;
	const out = new Map(factors);
	for (const role of BIAS_ROLES) out.delete(role);
	return out;
}

function rowBase(base: RowBase | undefined, rows: number, rest: readonly number[]): BaseWeight | undefined {
	return base === undefined ? undefined : { weight: base.weight, shape: [rows, ...rest] };
}

function sliceOf(module: TargetModule, factors: Factors): Slice | undefined {
	const magnitude = factors.get('magnitude');
	if (magnitude !== undefined && (module.magnitudeAxis === 'in' || module.family === 'embedding' || module.family === 'lokr'))
		return undefined;
	const where = `${module.component} ${module.path}`;
	switch (module.family) {
		case 'lora':
		case 'locon': {
			const [up, down] = [factors.get('up'), factors.get('down')];
			if (up === undefined || down === undefined || hasRest(factors)) return undefined;
			const folded = new Map(factors);
			folded.set('down', wholeDown(where, down, factors.get('mid')));
			folded.delete('mid');
			return byRows(folded, ['up', 'magnitude']);
		}
		case 'loha':
			return factors.has('hada_t1') || factors.has('hada_t2') ? undefined : byRows(factors, ['hada_w1_a', 'hada_w2_a', 'magnitude']);
		case 'lokr':
			return kronRows(module, factors, where);
		case 'full':
			return byRows(factors, ['diff', 'diff_m']);
		case 'norm':
			return byRows(factors, ['w_norm']);
		case 'whole':
			return factors.has('reshape_weight') ? undefined : byRows(factors, ['weight', 'set_weight']);
		case 'embedding':
			return byColumns(factors, 'embedding_down');
		case 'ia3':
			return byRows(factors, factors.get('on_input')?.data[0] === 0 ? ['ia3_weight'] : []);
		case 'peft-ia3': {
			const l = factors.get('ia3_l');
			// Convolutions tell inputs from outputs by their number, which a cut would change.
			if (l?.shape.length !== 2) return undefined;
			return byRows(factors, l.shape[0] === 1 && l.data.length !== 1 ? [] : ['ia3_l']);
		}
		default:
			return undefined;
	}
}

function hasRest(factors: Factors): boolean {
	return factors.has('bias_indices') || factors.has('bias_values') || factors.has('bias_size') || factors.has('bias_dense');
}

/** Factors whose first axis (a magnitude: all its numbers) is the weight's. */
function byRows(factors: Factors, roles: readonly Role[]): Slice {
	const carriers = roles.filter((role) => factors.has(role));
	return (from, to) => {
		const out = new Map(factors);
		for (const role of carriers) {
			const values = factors.get(role);
			if (values === undefined) continue;
			const rest = role === 'magnitude' ? [] : values.shape.slice(1);
			const taps = product(rest);
			out.set(role, { shape: [to - from, ...rest], data: values.data.subarray(from * taps, to * taps) });
		}
		return { factors: out, from, to };
	};
}

/** The embedding's rows are tokens: columns of its first factor. */
function byColumns(factors: Factors, role: Role): Slice | undefined {
	const values = factors.get(role);
	const [rank, columns] = values?.shape ?? [];
	if (values === undefined || rank === undefined || columns === undefined || values.shape.length !== 2) return undefined;
	return (from, to) => {
		const data = new Float64Array(rank * (to - from));
		for (let k = 0; k < rank; k++) data.set(values.data.subarray(k * columns + from, k * columns + to), k * (to - from));
		return { factors: new Map(factors).set(role, { shape: [rank, to - from], data }), from, to };
	};
}

/** kron(W1, W2): whole rows of W1 are cut, so the rows come in runs as high as W2, which is multiplied out once. */
function kronRows(module: TargetModule, factors: Factors, where: string): Slice | undefined {
	const left: Role = factors.has('lokr_w1') ? 'lokr_w1' : 'lokr_w1_a';
	if (factors.has('lokr_t1') || !factors.has(left)) return undefined;
	const second = secondFactor({ where, module, factors });
	const height = second.shape[0] ?? 1;
	const multiplied = new Map(factors);
	for (const role of ['lokr_w2_a', 'lokr_w2_b', 'lokr_t2'] as const) multiplied.delete(role);
	multiplied.set('lokr_w2', second);
	const cut = byRows(multiplied, [left]);
	return (from, to) => {
		const [first, last] = [Math.floor(from / height), Math.ceil(to / height)];
		return { factors: cut(first, last).factors, from: first * height, to: last * height };
	};
}
