/**
 * Writes messages of Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding): fields are a key
 * (number and wire type) and a value. Only what ONNX models need: varints, 32-bit floats and bytes.
 */
export interface ProtoWriter {
	/** int32, int64 or enum field. Negative numbers are ten bytes, as the format has it. */
	int(field: number, value: number): ProtoWriter;
	/** float field */
	float(field: number, value: number): ProtoWriter;
	string(field: number, value: string): ProtoWriter;
	/** Many bytes are not copied before `finish`. */
	bytes(field: number, value: Uint8Array): ProtoWriter;
	/** A message inside: what `write` writes until it returns. */
	message(field: number, write: (inner: ProtoWriter) => void): ProtoWriter;
	/** All of it, in one piece. */
	finish(): Uint8Array;
}

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

/** Bytes of the longest varint. */
const MAX_VARINT = 10;
/** Longer runs of bytes are copied once, by `finish`. */
const MAX_COPIED = 4096;

const UTF8 = new TextEncoder();
const ASCII = /^[\x20-\x7e]*$/;

export function createProtoWriter(): ProtoWriter {
	let buffer = new Uint8Array(1024);
	let end = 0;
	/** Long runs of bytes, not copied yet, and where in `buffer` they belong. */
	const runs: { at: number; readonly bytes: Uint8Array }[] = [];

	function room(more: number): void {
		if (end + more <= buffer.byteLength) return;
		const larger = new Uint8Array(Math.max(2 * buffer.byteLength, end + more));
		larger.set(buffer.subarray(0, end));
		buffer = larger;
	}

	function varint(value: number): void {
		room(MAX_VARINT);
		end = writeVarint(buffer, end, value);
	}

	const writer: ProtoWriter = {
		int(field, value) {
			varint(key(field, VARINT));
			varint(value);
			return writer;
		},
		float(field, value) {
			varint(key(field, FIXED32));
			room(4);
			new DataView(buffer.buffer).setFloat32(end, value, true);
			end += 4;
			return writer;
		},
		string(field, value) {
			if (!ASCII.test(value)) return writer.bytes(field, UTF8.encode(value));
			varint(key(field, BYTES));
			varint(value.length);
			room(value.length);
			for (let i = 0; i < value.length; i++) buffer[end++] = value.charCodeAt(i);
			return writer;
		},
		bytes(field, value) {
			varint(key(field, BYTES));
			varint(value.byteLength);
			if (value.byteLength > MAX_COPIED) runs.push({ at: end, bytes: value });
			else {
				room(value.byteLength);
				buffer.set(value, end);
				end += value.byteLength;
			}
			return writer;
		},
		message(field, write) {
			varint(key(field, BYTES));
			const [start, firstRun] = [end, runs.length];
			write(writer);
			const inside = runs.slice(firstRun);
			const length = end - start + bytesOfRuns(inside);
			// Its length goes before it and is known only now.
			const size = varintSize(length);
			room(size);
			buffer.copyWithin(start + size, start, end);
			writeVarint(buffer, start, length);
			end += size;
			for (const run of inside) run.at += size;
			return writer;
		},
		finish() {
			const all = new Uint8Array(end + bytesOfRuns(runs));
			let [from, to] = [0, 0];
			for (const { at, bytes } of runs) {
				all.set(buffer.subarray(from, at), to);
				all.set(bytes, to + at - from);
				to += at - from + bytes.byteLength;
				from = at;
			}
			all.set(buffer.subarray(from, end), to);
			return all;
		},
	};
	return writer;
}

function bytesOfRuns(runs: readonly { readonly bytes: Uint8Array }[]): number {
	return runs.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
}

function key(field: number, wireType: number): number {
	return (field << 3) | wireType;
}

/** Seven bits a byte, lowest first; the high bit says that more follow. Gives where it ends. */
function writeVarint(buffer: Uint8Array, at: number, value: number): number {
	if (value < 0) return writeNegative(buffer, at, value);
	let rest = value;
	let end = at;
	while (rest > 0x7f) {
		buffer[end++] = (rest % 0x80) | 0x80;
		rest = Math.floor(rest / 0x80);
	}
	buffer[end++] = rest;
	return end;
}

/** Two's complement of 64 bits. */
function writeNegative(buffer: Uint8Array, at: number, value: number): number {
	let rest = BigInt.asUintN(64, BigInt(value));
	let end = at;
	while (rest > 0x7fn) {
		buffer[end++] = Number(rest & 0x7fn) | 0x80;
		rest >>= 7n;
	}
	buffer[end++] = Number(rest);
	return end;
}

function varintSize(value: number): number {
	let size = 1;
	for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) size++;
	return size;
}
