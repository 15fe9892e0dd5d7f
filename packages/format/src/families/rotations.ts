import { type FamilyInput, requireBase, shapeError, type Values } from './delta.js';
import { identityPlus, type Matrix, multiply, solve } from './matrix.js';

/** Blocks (n, b, b) -> n matrices R = (I + Q)(I - Q)^-1 with Q = `half` * (B - B^T), held inside the constraint. */
export function cayleyBlocks(where: string, blocks: Values, half: number, constraint: number): readonly Matrix[] {
	const b = blocks.shape.at(-1) ?? 0;
	if (b === 0 || blocks.shape.at(-2) !== b)
		throw shapeError(where, `rotation blocks are (${blocks.shape.join(', ')}); expected square ones.`);
	const q = new Float64Array(blocks.data.length);
	const size = b * b;
	let squares = 0;
	for (let at = 0; at < q.length; at += size) {
		for (let i = 0; i < b; i++) {
			for (let j = 0; j < b; j++) {
				const x = half * ((blocks.data[at + i * b + j] ?? 0) - (blocks.data[at + j * b + i] ?? 0));
				q[at + i * b + j] = x;
				squares += x * x;
			}
		}
	}
	// One norm over all blocks, with the small number LyCORIS adds (kohya adds it on both sides: 1e-8 relative apart).
	const norm = Math.sqrt(squares) + 1e-8;
	const shrink = constraint > 0 && norm > constraint ? constraint / norm : 1;
	const out: Matrix[] = [];
	for (let at = 0; at < q.length; at += size) {
		const block: Matrix = { rows: b, cols: b, data: q.slice(at, at + size).map((x) => x * shrink) };
		// (I - Q) and (I + Q) commute, so the side of the inverse does not matter.
		out.push(solve(where, identityPlus(block, -1), identityPlus(block, 1)));
	}
	return out;
}

/**
 * Constraint of kohya's and LyCORIS' OFT and BOFT: `alpha` times the output dimension; 0 is none. ComfyUI takes alpha
 * itself: a difference between readers that only shows when the constraint bites. LAYOUTS 5.9.
 */
export function oftConstraint(input: FamilyInput): number {
	const out = requireBase(input).shape[0] ?? 0;
	return (input.module.alpha ?? 0) * out;
}

/** m R + (1 - m) I. */
export function towardsIdentity(block: Matrix, strength: number): Matrix {
	if (strength === 1) return block;
	const scaled: Matrix = { ...block, data: block.data.map((x) => x * strength) };
	for (let i = 0; i < block.rows; i++) scaled.data[i * block.cols + i] = (scaled.data[i * block.cols + i] ?? 0) + 1 - strength;
	return scaled;
}

/** One block per run of rows: rows [k b, (k + 1) b) of `m` are replaced by block k (or its transpose) times them. */
export function rotateRows(where: string, blocks: readonly Matrix[], m: Matrix, transposed: boolean): Matrix {
	const b = blocks[0]?.rows ?? 0;
	if (b * blocks.length !== m.rows) throw shapeError(where, `${blocks.length} blocks of ${b} do not cover ${m.rows} rows.`);
	const out = new Float64Array(m.data.length);
	blocks.forEach((block, k) => {
		const part: Matrix = { rows: b, cols: m.cols, data: m.data.subarray(k * b * m.cols, (k + 1) * b * m.cols) };
		const turned = multiply(where, transposed ? transposeSquare(block) : block, part);
		out.set(turned.data, k * b * m.cols);
	});
	return { rows: m.rows, cols: m.cols, data: out };
}

function transposeSquare(m: Matrix): Matrix {
	const data = new Float64Array(m.data.length);
	for (let i = 0; i < m.rows; i++) for (let j = 0; j < m.cols; j++) data[j * m.rows + i] = m.data[i * m.cols + j] ?? 0;
	return { rows: m.cols, cols: m.rows, data };
}

/** Multiply row i by scale[i]. @throws {FormatError} `E_LORA_SHAPE`. */
export function scaleRows(where: string, m: Matrix, scale: Values | undefined): Matrix {
	if (scale === undefined) return m;
	if (scale.data.length !== m.rows) throw shapeError(where, `a row scale has ${scale.data.length} numbers for ${m.rows} rows.`);
	const data = m.data.slice();
	for (let i = 0; i < m.rows; i++) {
		const x = scale.data[i] ?? 1;
		for (let j = 0; j < m.cols; j++) data[i * m.cols + j] = (data[i * m.cols + j] ?? 0) * x;
	}
	return { rows: m.rows, cols: m.cols, data };
}
