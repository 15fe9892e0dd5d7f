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
	/** The bytes are not copied before `finish`. */
	bytes(field: number, value: Uint8Array): ProtoWriter;
	/** A message inside. */
	message(field: number, write: (inner: ProtoWriter) => void): ProtoWriter;
	/** All of it, in one piece. */
	finish(): Uint8Array;
}

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

const UTF8 = new TextEncoder();

export function createProtoWriter(): ProtoWriter {
	const chunks: Uint8Array[] = [];
	let size = 0;

	function push(chunk: Uint8Array): void {
		chunks.push(chunk);
		size += chunk.byteLength;
	}

	const writer: ProtoWriter = {
		int(field, value) {
			push(varints(key(field, VARINT), BigInt(value)));
			return writer;
		},
		float(field, value) {
			const bytes = new Uint8Array(4);
			new DataView(bytes.buffer).setFloat32(0, value, true);
			push(varints(key(field, FIXED32)));
			push(bytes);
			return writer;
		},
		string(field, value) {
			return writer.bytes(field, UTF8.encode(value));
		},
		bytes(field, value) {
			push(varints(key(field, BYTES), BigInt(value.byteLength)));
			push(value);
			return writer;
		},
		message(field, write) {
			const inner = createProtoWriter();
			write(inner);
			return writer.bytes(field, inner.finish());
		},
		finish() {
			const all = new Uint8Array(size);
			let at = 0;
			for (const chunk of chunks) {
				all.set(chunk, at);
				at += chunk.byteLength;
			}
			return all;
		},
	};
	return writer;
}

function key(field: number, wireType: number): bigint {
	return BigInt((field << 3) | wireType);
}

/** Seven bits a byte, lowest first; the high bit says that more follow. */
function varints(...values: readonly bigint[]): Uint8Array {
	const out: number[] = [];
	for (const value of values) {
		let rest = BigInt.asUintN(64, value);
		while (rest > 0x7fn) {
			out.push(Number(rest & 0x7fn) | 0x80);
			rest >>= 7n;
		}
		out.push(Number(rest));
	}
	return Uint8Array.from(out);
}
