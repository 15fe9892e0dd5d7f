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
});
