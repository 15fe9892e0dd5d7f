/**
 * The little of protobuf's wire format that event files need (protobuf.dev/programming-guides/encoding): each function gives one
 * field, tag and value.
 */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

export function varintField(field: number, value: number): Uint8Array {
	return joined([varint(field * 8 + VARINT), varint(value)]);
}

export function doubleField(field: number, value: number): Uint8Array {
	const bytes = new Uint8Array(8);
	new DataView(bytes.buffer).setFloat64(0, value, true);
	return joined([varint(field * 8 + FIXED64), bytes]);
}

export function floatField(field: number, value: number): Uint8Array {
	const bytes = new Uint8Array(4);
	new DataView(bytes.buffer).setFloat32(0, value, true);
	return joined([varint(field * 8 + FIXED32), bytes]);
}

export function bytesField(field: number, bytes: Uint8Array): Uint8Array {
	return joined([varint(field * 8 + BYTES), varint(bytes.byteLength), bytes]);
}

export function textField(field: number, text: string): Uint8Array {
	return bytesField(field, new TextEncoder().encode(text));
}

/** A message inside a message. */
export function messageField(field: number, parts: readonly Uint8Array[]): Uint8Array {
	return bytesField(field, joined(parts));
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
	const out = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
	let at = 0;
	for (const part of parts) {
		out.set(part, at);
		at += part.byteLength;
	}
	return out;
}

/** A whole number from 0 to 2^53 - 1, 7 bits a byte, the low ones first. */
function varint(value: number): Uint8Array {
	const out: number[] = [];
	let rest = value;
	while (rest >= 128) {
		out.push((rest % 128) + 128);
		rest = Math.floor(rest / 128);
	}
	out.push(rest);
	return Uint8Array.from(out);
}
