import fs from 'node:fs';
import { openStateDict, type StateDict, type Tensor } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';

/** An open safetensors file. */
export interface TensorFile {
	readonly tensors: ReadonlyMap<string, Tensor>;
	readonly metadata: ReadonlyMap<string, string>;
	close(): Promise<void>;
}

/** Nothing that a case asks for is larger; a subject's file is looked at before it is opened. */
const MAX_FILE_BYTES = 1 << 30;

/**
 * Open a safetensors file, of the suite or of a subject. Reading the container is all that `@lorakit/format` does here.
 * @throws {FormatError} for what is no sound safetensors file; {Error} for one that is missing, no file, or over 1 GiB.
 */
export async function openTensorFile(path: string): Promise<TensorFile> {
	const stat = fs.lstatSync(path, { throwIfNoEntry: false });
	if (stat === undefined) throw new Error('the file was not written');
	if (!stat.isFile()) throw new Error('what was written is no regular file');
	if (stat.size > MAX_FILE_BYTES) throw new Error(`the file has ${stat.size} bytes, over 1 GiB`);
	const source = await openFileSource(path);
	let state: StateDict;
	try {
		state = await openStateDict(source);
	} catch (error) {
		await source.close();
		throw error;
	}
	return { tensors: state.tensors, metadata: state.metadata, close: () => source.close() };
}

/** All values of a float tensor as doubles, exact. @throws {Error} for other dtypes. */
export async function valuesOf(tensor: Tensor): Promise<Float64Array> {
	return decode(tensor.dtype, await tensor.read());
}

/** Little-endian floats as doubles. @throws {Error} for a dtype that is no F64, F32, F16 or BF16. */
export function decode(dtype: string, bytes: Uint8Array): Float64Array {
	const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
	const { buffer, byteOffset, byteLength } = aligned;
	switch (dtype) {
		case 'F64':
			return new Float64Array(buffer, byteOffset, byteLength / 8);
		case 'F32':
			return Float64Array.from(new Float32Array(buffer, byteOffset, byteLength / 4));
		case 'BF16': {
			const half = new Uint16Array(buffer, byteOffset, byteLength / 2);
			const wide = new Uint32Array(half.length);
			for (let i = 0; i < half.length; i++) wide[i] = (half[i] ?? 0) << 16;
			return Float64Array.from(new Float32Array(wide.buffer));
		}
		case 'F16':
			return Float64Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), halfToNumber);
		case 'I64':
			return Float64Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), Number);
		case 'I32':
			return Float64Array.from(new Int32Array(buffer, byteOffset, byteLength / 4));
		default:
			throw new Error(`dtype ${dtype} is no float type`);
	}
}

/** IEEE binary16, IEEE 754-2019 section 3.4. */
function halfToNumber(bits: number): number {
	const sign = bits & 0x8000 ? -1 : 1;
	const exponent = (bits >>> 10) & 31;
	const fraction = bits & 1023;
	if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
	return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** `4x3x1x1`; `scalar`. */
export function shapeText(shape: readonly number[]): string {
	return shape.length === 0 ? 'scalar' : shape.join('x');
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
	return a.length === b.length && a.every((d, i) => d === b[i]);
}
