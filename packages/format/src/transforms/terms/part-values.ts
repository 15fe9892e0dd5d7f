import type { BaseModel } from '../../bases/base-model.js';
import type { TensorLeaf } from '../../bases/place-base-tensor.js';
import { rowsOfPart, type StoredPart } from '../../bases/stored-part.js';
import { FormatError, quote } from '../../errors.js';
import { allocate, product, transpose } from '../../families/matrix.js';
import { decodeFloats } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { Tensor } from '../../tensor.js';
import { readStoredPart } from '../diff/energy-base.js';
import type { MatchedModule } from '../fuse/match-adapters.js';
import { isFusable, touchedTensors } from '../fuse/plan-fuse-touched.js';

/**
 * What fuse adds to one part of a module (`of: 'delta'`), or base + that (`of: 'weight'`), before any rounding: the deltas
 * come from fuse's own touched tensors, so they are its numbers to the last bit. In the order of the module (out, in, ...).
 *
 * @param matched modules of adapters that are this module of the base
 * @throws {FormatError} `E_NONFINITE` for a delta that is no number, `E_LIMIT`, what the delta and reading throw
 */
export async function partValues(
	base: BaseModel,
	matched: readonly MatchedModule[],
	leaf: TensorLeaf,
	part: StoredPart,
	of: 'delta' | 'weight',
): Promise<Float64Array> {
	const [first] = matched;
	const where = `${first?.job.module.component} ${first?.job.module.path}`;
	const files = base.files.filter((file) => part.segments.some((s) => s.file === file));
	const touched = touchedTensors(
		files,
		matched.map(({ job }) => ({ job, leaves: [leaf] })),
	);
	const out = allocate(where, product(part.shape));
	for (const { file, name, tensor, tensorRow, moduleRow, rows } of part.segments) {
		const change = touched.find((t) => t.file === file && t.name === name);
		if (change === undefined) throw new TypeError(`${where}: no change of ${name}`);
		const rowElements = product(tensor.shape.slice(1));
		const bytes = of === 'weight' || change.needsBase ? await tensor.read() : undefined;
		const rowBytes = (bytes?.byteLength ?? 0) / Math.max(1, tensor.shape[0] ?? 1);
		for (let from = 0; from < rows; from += change.blockRows) {
			const to = Math.min(rows, from + change.blockRows);
			const delta = await change.delta(tensorRow + from, tensorRow + to, bytes);
			const at = (part.transposed ? from : moduleRow + from) * rowElements;
			out.set(finite(where, delta), at);
			if (of === 'delta' || bytes === undefined) continue;
			const before = decode(tensor, bytes.subarray((tensorRow + from) * rowBytes, (tensorRow + to) * rowBytes));
			for (let i = 0; i < before.length; i++) out[at + i] = (before[i] ?? 0) + (out[at + i] ?? 0);
		}
	}
	if (!part.transposed) return out;
	const [rows = 1, cols = 1] = part.shape;
	return transpose(where, { rows: cols, cols: rows, data: out }).data;
}

/** Rows [from, to) of a part's own values, in the order of the module. Only those are read from a source. @throws what reading throws */
export async function partRows(part: StoredPart, from: number, to: number): Promise<Float64Array> {
	const taps = product(part.shape.slice(1));
	// A transposed part has no rows to read.
	if (part.transposed) return (await readStoredPart(part)).subarray(from * taps, to * taps);
	const { segments } = rowsOfPart(part, from, to);
	const pieces: Float64Array[] = [];
	for (const { tensor, tensorRow, rows } of segments) {
		const rowBytes = tensor.nbytes / Math.max(1, tensor.shape[0] ?? 1);
		const [start, length] = [tensorRow * rowBytes, rows * rowBytes];
		const bytes =
			tensor.range === undefined
				? (await tensor.read()).subarray(start, start + length)
				: await tensor.range.source.read(tensor.range.offset + start, length);
		pieces.push(decode(tensor, bytes));
	}
	const [only] = pieces;
	if (only !== undefined && pieces.length === 1) return only;
	const out = new Float64Array((to - from) * taps);
	let at = 0;
	for (const piece of pieces) {
		out.set(piece, at);
		at += piece.length;
	}
	return out;
}

/** Refuse NaN and Inf in what is given to a runtime. Returns its argument. @throws {FormatError} `E_NONFINITE`. */
export function finite(where: string, data: Float64Array): Float64Array {
	// Zero times anything finite is zero: one sum tells of all.
	let sum = 0;
	for (let i = 0; i < data.length; i++) sum += 0 * (data[i] ?? 0);
	if (sum !== 0) throw noNumber(where);
	return data;
}

function noNumber(where: string): FormatError {
	return new FormatError(
		'E_NONFINITE',
		`What the adapters make of ${quote(where)} has NaN or Inf in it (a DoRA or a rotation that divides by zero, or a strength too large), so they are not applied.`,
		{ at: where },
	);
}

function decode({ dtype }: Tensor, bytes: Uint8Array): Float64Array {
	return isFusable(dtype) ? kernel().decode(dtype, bytes) : decodeFloats(dtype, bytes);
}
