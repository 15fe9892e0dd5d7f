import { describe, expect, it } from 'vitest';
import { createProtoWriter } from '../../src/engines/onnx/protobuf.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// The expected bytes are the examples of protobuf.dev/programming-guides/encoding, and IEEE 754.
describe('protobuf', () => {
	it.each([
		['a varint of two bytes', createProtoWriter().int(1, 150), '089601'],
		['a string', createProtoWriter().string(2, 'testing'), '120774657374696e67'],
		['a message inside', createProtoWriter().message(3, (w) => w.int(1, 150)), '1a03089601'],
		['a negative number', createProtoWriter().int(1, -2), '08feffffffffffffffff01'],
		['0', createProtoWriter().int(1, 0), '0800'],
		['2^53 - 1', createProtoWriter().int(1, Number.MAX_SAFE_INTEGER), '08ffffffffffffff0f'],
		['a float', createProtoWriter().float(2, 1.5), '150000c03f'],
		['a field number of two bytes', createProtoWriter().int(20, 7), 'a00107'],
		['text beyond ASCII', createProtoWriter().string(1, 'é'), '0a02c3a9'],
		['nothing', createProtoWriter(), ''],
	])('%s', (_, writer, expected) => {
		expect(hex(writer.finish())).toBe(expected);
	});

	it('puts long runs of bytes, which it copies last, where they belong in messages inside messages', () => {
		const [long, longer, short] = [5000, 300_000, 4096].map((length, n) => new Uint8Array(length).fill(n + 1)) as [
			Uint8Array,
			Uint8Array,
			Uint8Array,
		];
		/** A field of bytes, by the rule itself. */
		const field = (number: number, bytes: Uint8Array): Buffer => {
			const size: number[] = [];
			for (let rest = bytes.length; ; rest = Math.floor(rest / 128)) {
				size.push((rest % 128) + (rest >= 128 ? 128 : 0));
				if (rest < 128) break;
			}
			return Buffer.concat([Buffer.from([(number << 3) | 2, ...size]), bytes]);
		};
		const writer = createProtoWriter()
			.bytes(1, long)
			.message(2, (w) => {
				w.bytes(1, longer).message(3, (inner) => inner.bytes(1, long).bytes(2, short).bytes(3, longer));
				w.int(4, 1).message(5, () => undefined);
			})
			.bytes(6, short);
		const inside = field(3, Buffer.concat([field(1, long), field(2, short), field(3, longer)]));
		const message = field(2, Buffer.concat([field(1, longer), inside, Buffer.from('20012a00', 'hex')]));
		expect(Buffer.concat([field(1, long), message, field(6, short)]).equals(writer.finish())).toBe(true);
	});
});
