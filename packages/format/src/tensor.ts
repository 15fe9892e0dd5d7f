import type { ByteSource } from './byte-source.js';
import { byteLength, type DType, numel } from './dtype.js';
import { FormatError, quote } from './errors.js';
import { COPY_CHUNK_BYTES, MAX_COMPUTED_TENSOR_BYTES } from './limits.js';

/** Contiguous bytes of a tensor inside a source: what lets a writer stream it. */
export interface TensorRange {
	readonly source: ByteSource;
	/** Byte offset in the source. */
	readonly offset: number;
}

/**
 * A tensor whose bytes are fetched when asked for. Bytes are little-endian, C order, exactly `nbytes` long.
 * Copy bytes, not numbers, wherever no conversion is asked for: NaN payloads do not survive numbers.
 */
export interface Tensor {
	readonly dtype: DType;
	/** Dimensions, outermost first; `[]` is a scalar. */
	readonly shape: readonly number[];
	/** Bytes of data. */
	readonly nbytes: number;
	/** Where the bytes lie when nothing has to be computed. */
	readonly range: TensorRange | undefined;
	/** Name of the input tensor this is, unchanged in value; undefined for a tensor that was made. */
	readonly origin: string | undefined;
	/** For a tensor that was made: the tensors it was made from and what was done. */
	readonly derivation: Derivation | undefined;
	/** All bytes. The caller must not change them. */
	read(): Promise<Uint8Array>;
}

/** How a tensor was made: the receipt prints it. */
export interface Derivation {
	readonly from: readonly Tensor[];
	/** One phrase: "scaling 0.5 folded into up", "cast F32 to F16", "rows 0..3071 of qkv". */
	readonly how: string;
	/**
	 * Largest relative error of one element against exact arithmetic, 0 when exact (a power of two, a
	 * reshape, a slice), undefined when only known after the data was seen.
	 */
	readonly errorBound: number | undefined;
}

/** A tensor that lies in a source. @throws {FormatError} `E_SHAPE` when dtype and shape give no whole byte count. */
export function rangeTensor(dtype: DType, shape: readonly number[], source: ByteSource, offset: number, origin?: string): Tensor {
	const nbytes = sizeOf(dtype, shape, origin);
	return { dtype, shape, nbytes, origin, derivation: undefined, range: { source, offset }, read: () => source.read(offset, nbytes) };
}

/** A tensor over bytes in memory. @throws {FormatError} `E_SHAPE` when the byte count does not fit. */
export function bytesTensor(dtype: DType, shape: readonly number[], bytes: Uint8Array, origin?: string, derivation?: Derivation): Tensor {
	const nbytes = sizeOf(dtype, shape, origin);
	if (bytes.byteLength !== nbytes) {
		throw new FormatError(
			'E_SHAPE',
			`A ${dtype} tensor of shape (${shape.join(', ')}) has ${nbytes} bytes, but ${bytes.byteLength} were given.`,
		);
	}
	return { dtype, shape, nbytes, origin, derivation, range: undefined, read: async () => bytes };
}

/** A tensor whose bytes are computed on demand. `compute` must give exactly the right number of bytes. */
export function computedTensor(
	dtype: DType,
	shape: readonly number[],
	derivation: Derivation | undefined,
	compute: () => Promise<Uint8Array>,
	origin?: string,
): Tensor {
	const nbytes = sizeOf(dtype, shape, origin);
	return {
		dtype,
		shape,
		nbytes,
		origin,
		derivation,
		range: undefined,
		async read() {
			if (nbytes > MAX_COMPUTED_TENSOR_BYTES) {
				throw new FormatError(
					'E_LIMIT',
					`A tensor of ${nbytes} bytes would have to be computed in memory; the limit is ${MAX_COMPUTED_TENSOR_BYTES}.`,
					{ at: origin },
				);
			}
			const bytes = await compute();
			if (bytes.byteLength !== nbytes) throw new TypeError(`computed ${bytes.byteLength} bytes for a tensor of ${nbytes}`);
			return bytes;
		},
	};
}

/** The same values under another shape: bytes and range are shared. */
export function reshaped(tensor: Tensor, shape: readonly number[]): Tensor {
	if (numel(shape) !== numel(tensor.shape)) throw new TypeError(`cannot reshape (${tensor.shape}) to (${shape})`);
	if (shape.length === tensor.shape.length && shape.every((d, i) => d === tensor.shape[i])) return tensor;
	return {
		dtype: tensor.dtype,
		shape,
		nbytes: tensor.nbytes,
		range: tensor.range,
		origin: undefined,
		derivation: { from: [tensor], how: `reshaped (${tensor.shape.join(', ')}) to (${shape.join(', ')})`, errorBound: 0 },
		read: () => tensor.read(),
	};
}

/** The bytes in pieces of at most `COPY_CHUNK_BYTES`, without holding the whole tensor where it lies in a source. */
export async function* tensorChunks(tensor: Tensor): AsyncGenerator<Uint8Array, void, undefined> {
	if (tensor.range === undefined) {
		yield await tensor.read();
		return;
	}
	const { source, offset } = tensor.range;
	for (let done = 0; done < tensor.nbytes; done += COPY_CHUNK_BYTES) {
		yield await source.read(offset + done, Math.min(COPY_CHUNK_BYTES, tensor.nbytes - done));
	}
}

/** The input tensor names a tensor goes back to (itself, or through its derivations). */
export function originsOf(tensor: Tensor): ReadonlySet<string> {
	const names = new Set<string>();
	const stack: Tensor[] = [tensor];
	for (let t = stack.pop(); t !== undefined; t = stack.pop()) {
		if (t.origin !== undefined) names.add(t.origin);
		if (t.derivation !== undefined) stack.push(...t.derivation.from);
	}
	return names;
}

function sizeOf(dtype: DType, shape: readonly number[], name: string | undefined): number {
	const nbytes = byteLength(dtype, shape);
	if (nbytes === undefined) {
		const where = name === undefined ? 'A tensor' : `Tensor ${quote(name)}`;
		throw new FormatError('E_SHAPE', `${where} of dtype ${dtype} and shape (${shape.join(', ')}) is no whole, exact number of bytes.`, {
			at: name,
		});
	}
	return nbytes;
}
