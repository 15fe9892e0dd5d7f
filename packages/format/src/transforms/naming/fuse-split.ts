import { byteLength, dtypeBits } from '../../dtype.js';
import { FormatError } from '../../errors.js';
import { computedTensor, rangeTensor, type Tensor } from '../../tensor.js';

/** Rows to be joined: a tensor, or that many rows of zeros. */
export type RowPart = Tensor | number;

interface SliceOf {
	readonly whole: Tensor;
	readonly start: number;
}

/** What a slice or a swap was made from, so that undoing gives the very tensor back: memory only, never seen outside. */
const SLICES = new WeakMap<Tensor, SliceOf>();
const SWAPS = new WeakMap<Tensor, Tensor>();

/**
 * Rows `start .. start + count` of a tensor (o, ...). Exact; still a range of the source when the tensor is one, so
 * that it streams. @throws {FormatError} `E_LORA_SHAPE` when the rows are not there, `E_DTYPE` when a row is no whole number of bytes.
 */
export function sliceRows(tensor: Tensor, start: number, count: number): Tensor {
	const [rows = 0, ...rest] = tensor.shape;
	if (tensor.shape.length === 0 || start < 0 || count < 0 || start + count > rows) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`Rows ${start} to ${start + count} of a tensor of shape (${tensor.shape.join(', ')}) are needed, but it has only ${rows}.`,
			{ at: tensor.origin },
		);
	}
	if (start === 0 && count === rows) return tensor;
	const rowBytes = rowBytesOf(tensor);
	const shape = [count, ...rest];
	const derivation = { from: [tensor], how: `rows ${start}..${start + count - 1} of ${rows}`, errorBound: 0 };
	const slice: Tensor =
		tensor.range === undefined
			? computedTensor(tensor.dtype, shape, derivation, async () => {
					const bytes = await tensor.read();
					return bytes.subarray(start * rowBytes, (start + count) * rowBytes);
				})
			: { ...rangeTensor(tensor.dtype, shape, tensor.range.source, tensor.range.offset + start * rowBytes), derivation };
	SLICES.set(slice, { whole: tensor, start });
	return slice;
}

/**
 * Tensors one above the other, numbers meaning rows of zeros. Exact. Slices that together are their whole again
 * give that whole. @throws {FormatError} `E_LORA_SHAPE`, `E_LORA_DTYPE` when they do not fit together.
 */
export function concatRows(parts: readonly RowPart[]): Tensor {
	const first = firstTensor(parts);
	const whole = wholeOf(parts);
	if (whole !== undefined) return whole;
	const only = parts.length === 1 ? parts[0] : undefined;
	if (typeof only === 'object') return only;
	const rest = first.shape.slice(1);
	for (const part of parts) {
		if (typeof part === 'number') continue;
		checkSame(first, part);
		if (part.shape.length !== first.shape.length || rest.some((d, i) => d !== part.shape[i + 1])) throw doNotFit(first, part);
	}
	const rowBytes = rowBytesOf(first);
	const total = parts.reduce<number>((sum, part) => sum + rowsOf(part), 0);
	const from = parts.filter((part) => typeof part === 'object');
	const zeros = total - from.reduce((sum, part) => sum + rowsOf(part), 0);
	const how = `${from.length} parts joined by rows${zeros > 0 ? `, ${zeros} rows of zeros for parts that the adapter lacks` : ''}`;
	return computedTensor(first.dtype, [total, ...rest], { from, how, errorBound: 0 }, async () => {
		const out = new Uint8Array(total * rowBytes);
		let at = 0;
		for (const part of parts) {
			if (typeof part === 'object') out.set(await part.read(), at);
			at += rowsOf(part) * rowBytes;
		}
		return out;
	});
}

/**
 * Up factors (o_p, r_p, ...ones) on the diagonal of one (sum o, sum r); numbers are rows of zeros without columns.
 * Exact: the missing blocks are zero bytes. @throws {FormatError} `E_LORA_SHAPE`, `E_LORA_DTYPE`.
 */
export function blockDiagonal(parts: readonly RowPart[]): Tensor {
	const first = firstTensor(parts);
	const tail = first.shape.slice(2);
	for (const part of parts) {
		if (typeof part === 'number') continue;
		checkSame(first, part);
		if (part.shape.length !== first.shape.length || part.shape.length < 2 || part.shape.slice(2).some((d) => d !== 1))
			throw doNotFit(first, part);
	}
	const element = elementBytes(first);
	const from = parts.filter((part) => typeof part === 'object');
	const rows = parts.reduce<number>((sum, part) => sum + rowsOf(part), 0);
	const columns = from.reduce((sum, part) => sum + (part.shape[1] ?? 0), 0);
	const how = `${from.length} parts set on the diagonal of (${rows}, ${columns}), zeros elsewhere`;
	return computedTensor(first.dtype, [rows, columns, ...tail], { from, how, errorBound: 0 }, async () => {
		const out = new Uint8Array(rows * columns * element);
		let row = 0;
		let column = 0;
		for (const part of parts) {
			if (typeof part === 'object') {
				const bytes = await part.read();
				const width = (part.shape[1] ?? 0) * element;
				for (let r = 0; r < rowsOf(part); r += 1) {
					out.set(bytes.subarray(r * width, (r + 1) * width), ((row + r) * columns + column) * element);
				}
				column += part.shape[1] ?? 0;
			}
			row += rowsOf(part);
		}
		return out;
	});
}

/**
 * The block (rows, columns) of a block-diagonal up factor (o, R, ...ones): the inverse of `blockDiagonal`. The
 * bytes are checked when read: @throws {FormatError} `E_LOSS` when the rest of those rows is not zero.
 */
export function diagonalBlock(
	up: Tensor,
	rows: readonly [start: number, count: number],
	columns: readonly [start: number, count: number],
): Tensor {
	const element = elementBytes(up);
	const strip = sliceRows(up, rows[0], rows[1]);
	const width = (up.shape[1] ?? 0) * element;
	const from = columns[0] * element;
	const size = columns[1] * element;
	const how = `rows ${rows[0]}..${rows[0] + rows[1] - 1}, columns ${columns[0]}..${columns[0] + columns[1] - 1}; the other columns are zero there`;
	return computedTensor(up.dtype, [rows[1], columns[1], ...up.shape.slice(2)], { from: [up], how, errorBound: 0 }, async () => {
		const bytes = await strip.read();
		const out = new Uint8Array(rows[1] * size);
		for (let r = 0; r < rows[1]; r += 1) {
			const row = bytes.subarray(r * width, (r + 1) * width);
			if (!allZero(row.subarray(0, from)) || !allZero(row.subarray(from + size))) {
				throw new FormatError(
					'E_LOSS',
					'An up factor that the header entry lorakit.form calls block-diagonal has values outside its blocks; it was changed since, so remove that entry and convert again.',
					{ at: up.origin },
				);
			}
			out.set(row.subarray(from, from + size), r * size);
		}
		return out;
	});
}

/** Upper and lower half of the rows change places. Exact, and its own inverse. @throws {FormatError} `E_LORA_SHAPE` on an odd number of rows. */
export function swapRowHalves(tensor: Tensor): Tensor {
	const before = SWAPS.get(tensor);
	if (before !== undefined) return before;
	const [rows = 0] = tensor.shape;
	if (rows % 2 !== 0 || rows === 0) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`The row halves of a tensor of shape (${tensor.shape.join(', ')}) must change places, but it has no two equal halves.`,
			{ at: tensor.origin },
		);
	}
	const half = tensor.nbytes / 2;
	const derivation = { from: [tensor], how: `row halves swapped (shift, scale <-> scale, shift)`, errorBound: 0 };
	const swapped = computedTensor(tensor.dtype, tensor.shape, derivation, async () => {
		const bytes = await tensor.read();
		const out = new Uint8Array(tensor.nbytes);
		out.set(bytes.subarray(half), 0);
		out.set(bytes.subarray(0, half), half);
		return out;
	});
	SWAPS.set(swapped, tensor);
	return swapped;
}

/**
 * One tensor for several that are said to be equal. Where they are one and the same already, that one; otherwise
 * the bytes are compared when read: @throws {FormatError} `E_LOSS` when they differ.
 */
export function identicalTensor(tensors: readonly Tensor[]): Tensor {
	const first = firstTensor(tensors);
	if (tensors.every((t) => sameTensor(first, t))) {
		// Several names over one range (a torch file with shared storage): all of them are accounted for.
		if (tensors.every((t) => t === first || t.origin === first.origin)) return first;
		return {
			...first,
			origin: undefined,
			derivation: { from: tensors, how: 'identical in all parts', errorBound: 0 },
			read: () => first.read(),
		};
	}
	return computedTensor(first.dtype, first.shape, { from: tensors, how: 'identical in all parts', errorBound: 0 }, async () => {
		const bytes = await first.read();
		for (const other of tensors.slice(1)) {
			const theirs = await other.read();
			if (theirs.length !== bytes.length || theirs.some((b, i) => b !== bytes[i])) {
				throw new FormatError(
					'E_LOSS',
					'Down factors that the header entry lorakit.form calls copies of one differ; they were changed since, so remove that entry and convert again.',
					{ at: other.origin },
				);
			}
		}
		return bytes;
	});
}

/** True when two tensors are surely the same bytes: one object, or one range of one source. Reads nothing. */
export function sameTensor(a: Tensor, b: Tensor): boolean {
	if (a === b) return true;
	if (a.dtype !== b.dtype || a.shape.length !== b.shape.length || a.shape.some((d, i) => d !== b.shape[i])) return false;
	return a.range !== undefined && b.range !== undefined && a.range.source === b.range.source && a.range.offset === b.range.offset;
}

function wholeOf(parts: readonly RowPart[]): Tensor | undefined {
	let whole: Tensor | undefined;
	let next = 0;
	for (const part of parts) {
		const slice = typeof part === 'object' ? SLICES.get(part) : undefined;
		if (slice === undefined || slice.start !== next || (whole !== undefined && slice.whole !== whole)) return undefined;
		whole = slice.whole;
		next += rowsOf(part);
	}
	return whole !== undefined && next === whole.shape[0] ? whole : undefined;
}

function firstTensor(parts: readonly RowPart[]): Tensor {
	for (const part of parts) if (typeof part === 'object') return part;
	throw new TypeError('nothing to join');
}

function rowsOf(part: RowPart): number {
	return typeof part === 'number' ? part : (part.shape[0] ?? 0);
}

function rowBytesOf(tensor: Tensor): number {
	const bytes = byteLength(tensor.dtype, tensor.shape.slice(1));
	if (bytes !== undefined) return bytes;
	throw new FormatError(
		'E_DTYPE',
		`One row of a ${tensor.dtype} tensor of shape (${tensor.shape.join(', ')}) is no whole number of bytes, so it cannot be cut by rows.`,
		{
			at: tensor.origin,
		},
	);
}

function elementBytes(tensor: Tensor): number {
	const bits = dtypeBits(tensor.dtype);
	if (bits % 8 === 0) return bits / 8;
	throw new FormatError(
		'E_DTYPE',
		`Elements of ${tensor.dtype} are smaller than a byte, so such a factor cannot be fused; cast it to F16 or F32 first.`,
		{
			at: tensor.origin,
		},
	);
}

function checkSame(a: Tensor, b: Tensor): void {
	if (a.dtype === b.dtype) return;
	throw new FormatError(
		'E_LORA_DTYPE',
		`Factors of ${a.dtype} and ${b.dtype} would have to be fused into one tensor; cast the file to one dtype first.`,
		{
			at: b.origin,
		},
	);
}

function doNotFit(a: Tensor, b: Tensor): FormatError {
	return new FormatError(
		'E_LORA_SHAPE',
		`Factors of shape (${a.shape.join(', ')}) and (${b.shape.join(', ')}) would have to be fused, but they do not fit together.`,
		{ at: b.origin },
	);
}

function allZero(bytes: Uint8Array): boolean {
	for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== 0) return false;
	return true;
}
