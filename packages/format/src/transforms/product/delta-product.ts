import type { Role, TargetModule } from '../../adapter.js';
import { numel } from '../../dtype.js';
import { FormatError } from '../../errors.js';
import { shapeError, type Values } from '../../families/delta.js';
import { foldCore } from '../../families/index.js';
import { allocate, flat, type Matrix, product, transpose } from '../../families/matrix.js';
import { decodeFloats } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import { MAX_COMPUTED_TENSOR_BYTES } from '../../limits.js';

/** Two thin matrices of doubles; they stand for `up * down`. */
export interface MatrixPair {
	/** (m, r) */
	readonly up: Matrix;
	/** (r, n) */
	readonly down: Matrix;
}

/**
 * A module's delta without its scaling, as its family really stores it: one product, or the Kronecker product of two
 * products (LoKr), whose singular values are the pairwise products of theirs.
 */
export type DeltaProduct = {
	/** Shape of the weight's delta as the factors say it: (out, in) or (out, in, kh, kw). */
	readonly shape: readonly number[];
} & (
	| { readonly kind: 'product'; readonly factors: MatrixPair }
	| { readonly kind: 'kron'; readonly factors: readonly [MatrixPair, MatrixPair] }
);

/** Roles whose presence adds something that is no part of the product, so that the product would not be the delta. */
const BESIDE: readonly Role[] = ['magnitude', 'up_bias', 'bias_indices', 'bias_values', 'bias_size', 'bias_dense'];

/** True when the whole delta of a module is a product of thin matrices: what `productOf` answers for. */
export function isProduct(module: TargetModule): boolean {
	if (BESIDE.some((role) => module.factors[role] !== undefined)) return false;
	return (
		module.family === 'lora' ||
		module.family === 'locon' ||
		module.family === 'loha' ||
		module.family === 'lokr' ||
		module.family === 'embedding'
	);
}

/**
 * Read a module's factors and bring them into one product without its scaling; undefined where `isProduct` is false.
 * Cores (`mid`, t1, t2) are folded into the inner factor. Nothing of size (out, in) is made.
 *
 * @throws {FormatError} `E_LORA_SHAPE`, `E_LORA_UNPAIRED` (factors do not fit), `E_UNSUPPORTED_ADAPTER` (kernel on `up`,
 *   `lokr_t1`), `E_UNSUPPORTED_DTYPE`, `E_LIMIT`, and what reading the factors throws.
 */
export async function productOf(module: TargetModule): Promise<DeltaProduct | undefined> {
	if (!isProduct(module)) return undefined;
	const reader = new FactorReader(module);
	switch (module.family) {
		case 'loha':
			return loha(reader);
		case 'lokr':
			return lokr(reader);
		case 'embedding':
			return embedding(reader);
		default:
			return lora(reader);
	}
}

/** Reads the factors of one module as doubles. */
class FactorReader {
	readonly module: TargetModule;
	readonly where: string;

	constructor(module: TargetModule) {
		this.module = module;
		this.where = `${module.component} ${module.path}`;
	}

	has(role: Role): boolean {
		return this.module.factors[role] !== undefined;
	}

	async read(role: Role): Promise<Values> {
		const tensor = this.module.factors[role];
		if (tensor === undefined) {
			throw new FormatError('E_LORA_UNPAIRED', `${this.where} has no ${role}; its delta cannot be computed.`, { at: this.module.path });
		}
		if ((numel(tensor.shape) ?? Number.POSITIVE_INFINITY) * 8 > MAX_COMPUTED_TENSOR_BYTES) {
			throw new FormatError('E_LIMIT', `${this.where} ${role} is larger than ${MAX_COMPUTED_TENSOR_BYTES} bytes as doubles.`, {
				at: this.module.path,
			});
		}
		const { dtype, shape } = tensor;
		const bytes = await tensor.read();
		return {
			shape,
			data: dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' ? kernel().decode(dtype, bytes) : decodeFloats(dtype, bytes),
		};
	}
}

/** B A, with the kernel on A and the core of a LoCon folded into A. LAYOUTS 5.1 to 5.3. */
async function lora(reader: FactorReader): Promise<DeltaProduct> {
	const { where } = reader;
	const up = await reader.read('up');
	if (product(up.shape.slice(2)) !== 1) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where}: the kernel is on up (${up.shape.join(', ')}) instead of down; no reader of the field applies that.`,
			{ at: reader.module.path },
		);
	}
	let down = await reader.read('down');
	if (reader.has('mid')) {
		if (product(down.shape.slice(2)) !== 1) throw shapeError(where, `with a mid, down must be 1 x 1 but is (${down.shape.join(', ')}).`);
		down = foldCore(where, await reader.read('mid'), { shape: down.shape.slice(0, 2), data: down.data });
	}
	const factors = pair(where, { rows: up.shape[0] ?? 0, cols: up.shape[1] ?? 0, data: up.data }, flat(down));
	return { kind: 'product', factors, shape: [factors.up.rows, ...down.shape.slice(1)] };
}

/** (B A)^T: rows are tokens. LAYOUTS 5.14. */
async function embedding(reader: FactorReader): Promise<DeltaProduct> {
	const { where } = reader;
	const down = matrix(where, await reader.read('embedding_down'));
	const up = matrix(where, await reader.read('embedding_up'));
	const factors = pair(where, transpose(where, down), transpose(where, up));
	return { kind: 'product', factors, shape: [factors.up.rows, factors.down.cols] };
}

/**
 * (P Q) * (R S), element by element, is a product of rank r1 r2: column (k, l) of up is P[:, k] * R[:, l], row (k, l)
 * of down is Q[k, :] * S[l, :]. LAYOUTS 5.4.
 */
async function loha(reader: FactorReader): Promise<DeltaProduct> {
	const { where } = reader;
	const one = await tucker(reader, 'hada_w1_a', 'hada_w1_b', 'hada_t1');
	const two = await tucker(reader, 'hada_w2_a', 'hada_w2_b', 'hada_t2');
	const [a, b] = [one.factors, two.factors];
	if (a.up.rows !== b.up.rows || a.down.cols !== b.down.cols) {
		throw shapeError(where, `the halves of a LoHa are (${one.shape.join(', ')}) and (${two.shape.join(', ')}); they must be alike.`);
	}
	return { kind: 'product', factors: { up: columnPairs(where, a.up, b.up), down: rowPairs(where, a.down, b.down) }, shape: one.shape };
}

/** `a` (out, r) times `b` (r, in, k...); with a core `a` is (r, out) and the core is folded into `b`. */
async function tucker(
	reader: FactorReader,
	a: Role,
	b: Role,
	t: Role,
): Promise<{ readonly factors: MatrixPair; readonly shape: readonly number[] }> {
	const { where } = reader;
	const left = flat(await reader.read(a));
	const right = await reader.read(b);
	const core = reader.has(t);
	const inner = core ? foldCore(where, await reader.read(t), right) : right;
	const factors = pair(where, core ? transpose(where, left) : left, flat(inner));
	return { factors, shape: [factors.up.rows, ...inner.shape.slice(1)] };
}

/** kron(W1, W2), each a product; a whole factor is a product with the identity on its shorter side. LAYOUTS 5.5. */
async function lokr(reader: FactorReader): Promise<DeltaProduct> {
	const { where, module } = reader;
	if (reader.has('lokr_t1')) {
		throw new FormatError('E_UNSUPPORTED_ADAPTER', `${where} has lokr_t1, which no known writer makes and no reader applies.`, {
			at: module.path,
		});
	}
	const one = reader.has('lokr_w1')
		? whole(where, await reader.read('lokr_w1'))
		: await tucker(reader, 'lokr_w1_a', 'lokr_w1_b', 'lokr_t1');
	const two = reader.has('lokr_w2')
		? whole(where, await reader.read('lokr_w2'))
		: await tucker(reader, 'lokr_w2_a', 'lokr_w2_b', 'lokr_t2');
	const [a = 1, c = 1, ...ones] = one.shape;
	const [b = 1, d = 1, ...kernel] = two.shape;
	if (product(ones) !== 1) throw shapeError(where, `the first factor of a LoKr has a kernel (${one.shape.join(', ')}).`);
	return { kind: 'kron', factors: [one.factors, two.factors], shape: [a * b, c * d, ...kernel] };
}

function whole(where: string, values: Values): { readonly factors: MatrixPair; readonly shape: readonly number[] } {
	const m = flat(values);
	const n = Math.min(m.rows, m.cols);
	const eye: Matrix = { rows: n, cols: n, data: allocate(where, n * n) };
	for (let i = 0; i < n; i++) eye.data[i * n + i] = 1;
	return {
		factors: m.rows <= m.cols ? { up: eye, down: m } : { up: m, down: eye },
		shape: values.shape.length < 2 ? [m.rows, m.cols] : values.shape,
	};
}

/**
 * One product for a Kronecker product: kron(U1 D1, U2 D2) = kron(U1, U2) kron(D1, D2), of rank r1 r2. W2's kernel
 * is part of its columns, so the order of the columns is that of (in, kernel).
 */
export function flattenProduct(where: string, delta: DeltaProduct): MatrixPair {
	if (delta.kind === 'product') return delta.factors;
	const [one, two] = delta.factors;
	return { up: kron(where, one.up, two.up), down: kron(where, one.down, two.down) };
}

/** kron(a, b) of two small matrices. @throws {FormatError} `E_LIMIT`. */
export function kron(where: string, a: Matrix, b: Matrix): Matrix {
	const cols = a.cols * b.cols;
	const data = allocate(where, a.rows * b.rows * cols);
	let at = 0;
	for (let i = 0; i < a.rows; i++) {
		for (let p = 0; p < b.rows; p++) {
			for (let j = 0; j < a.cols; j++) {
				const x = a.data[i * a.cols + j] ?? 0;
				for (let q = 0; q < b.cols; q++) data[at++] = x * (b.data[p * b.cols + q] ?? 0);
			}
		}
	}
	return { rows: a.rows * b.rows, cols, data };
}

/** Column (k, l) of the result is a[:, k] * b[:, l]. */
function columnPairs(where: string, a: Matrix, b: Matrix): Matrix {
	const cols = a.cols * b.cols;
	const data = allocate(where, a.rows * cols);
	let at = 0;
	for (let i = 0; i < a.rows; i++) {
		for (let k = 0; k < a.cols; k++) {
			const x = a.data[i * a.cols + k] ?? 0;
			for (let l = 0; l < b.cols; l++) data[at++] = x * (b.data[i * b.cols + l] ?? 0);
		}
	}
	return { rows: a.rows, cols, data };
}

/** Row (k, l) of the result is a[k, :] * b[l, :]. */
function rowPairs(where: string, a: Matrix, b: Matrix): Matrix {
	const { cols } = a;
	const data = allocate(where, a.rows * b.rows * cols);
	let at = 0;
	for (let k = 0; k < a.rows; k++) {
		for (let l = 0; l < b.rows; l++) {
			for (let j = 0; j < cols; j++) data[at++] = (a.data[k * cols + j] ?? 0) * (b.data[l * cols + j] ?? 0);
		}
	}
	return { rows: a.rows * b.rows, cols, data };
}

function pair(where: string, up: Matrix, down: Matrix): MatrixPair {
	if (up.cols !== down.rows)
		throw shapeError(where, `a (${up.rows}, ${up.cols}) matrix cannot multiply a (${down.rows}, ${down.cols}) one.`);
	return { up, down };
}

function matrix(where: string, values: Values): Matrix {
	const [rows, cols] = values.shape;
	if (rows === undefined || cols === undefined || rows * cols !== values.data.length)
		throw shapeError(where, `an embedding factor has shape (${values.shape.join(', ')}); expected two dimensions.`);
	return { rows, cols, data: values.data };
}
