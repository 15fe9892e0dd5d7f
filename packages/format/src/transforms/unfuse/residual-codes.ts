import { type ByteList, type VarintReader, varintReader } from './residual-bytes.js';

/** Bytes of an element whose bits are compared as an integer: F16 and BF16, F32, F64. */
export type CodeWidth = 2 | 4 | 8;

export { varintReader as reader };

/** Mask that turns a sign-magnitude pattern (as a signed integer below 0) into the order of the numbers, and back. */
const FOLD_64 = 0x7fffffffffffffffn;

/**
 * Append, for each element that differs, how many equal ones came before it, and by how much its code differs.
 * Differences wrap at the width, so that any pattern can follow any other.
 */
export function differ(truth: Uint8Array, guess: Uint8Array, width: CodeWidth, runs: ByteList, values: ByteList): void {
	const a = new DataView(truth.buffer, truth.byteOffset, truth.byteLength);
	const b = new DataView(guess.buffer, guess.byteOffset, guess.byteLength);
	const end = truth.byteLength;
	let run = 0;
	for (let at = 0; at < end; at += width) {
		if (width === 2) {
			const x = a.getInt16(at, true);
			const y = b.getInt16(at, true);
			if (x === y) {
				run++;
				continue;
			}
			const d = ((fold16(x) - fold16(y)) << 16) >> 16;
			values.varint((d << 1) ^ (d >> 31));
		} else if (width === 4) {
			const x = a.getInt32(at, true);
			const y = b.getInt32(at, true);
			if (x === y) {
				run++;
				continue;
			}
			const d = (fold32(x) - fold32(y)) | 0;
			values.varint((d << 1) ^ (d >> 31));
		} else {
			const x = a.getBigInt64(at, true);
			const y = b.getBigInt64(at, true);
			if (x === y) {
				run++;
				continue;
			}
			const d = BigInt.asIntN(64, fold64(x) - fold64(y));
			values.bigVarint(BigInt.asUintN(64, (d << 1n) ^ (d >> 63n)));
		}
		runs.varint(run);
		run = 0;
	}
}

/** The way back of `differ`, in place. False when the streams do not fit the tensor. */
export function writeBack(guess: Uint8Array, width: CodeWidth, runs: VarintReader, values: VarintReader): boolean {
	const view = new DataView(guess.buffer, guess.byteOffset, guess.byteLength);
	const elements = guess.byteLength / width;
	let next = 0;
	while (!runs.done) {
		const run = runs.varint();
		if (run === undefined || run >= elements - next) return false;
		const at = (next + run) * width;
		if (width === 8) {
			const z = values.bigVarint();
			if (z === undefined) return false;
			const d = (z >> 1n) ^ -(z & 1n);
			view.setBigInt64(at, fold64(BigInt.asIntN(64, fold64(view.getBigInt64(at, true)) + d)), true);
		} else {
			const z = values.varint();
			if (z === undefined) return false;
			const d = (z >>> 1) ^ -(z & 1);
			if (width === 4) view.setInt32(at, fold32((fold32(view.getInt32(at, true)) + d) | 0), true);
			else view.setInt16(at, fold16(((fold16(view.getInt16(at, true)) + d) << 16) >> 16), true);
		}
		next += run + 1;
	}
	return values.done;
}

/** Its own inverse: patterns below 0 are mirrored, so that -0 is the neighbour of 0 and larger means larger. */
function fold16(code: number): number {
	return code < 0 ? code ^ 0x7fff : code;
}

function fold32(code: number): number {
	return code < 0 ? code ^ 0x7fffffff : code;
}

function fold64(code: bigint): bigint {
	return code < 0n ? code ^ FOLD_64 : code;
}
