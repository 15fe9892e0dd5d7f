import { expect, test } from 'vitest';
import { scanHeader } from '../../src/containers/header-scan.js';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const entry = (name: string, begin: number): string =>
	`${JSON.stringify(name)}:{"dtype":"F16","shape":[2,3],"data_offsets":[${begin},${begin + 12}]}`;
const header = (names: readonly string[]): string => `{${names.map((name, i) => entry(name, 12 * i)).join(',')}}`;
const names = (text: string): readonly string[] => scanHeader(encode(text)).entries.map((e) => e.name);

/** More entries than are matched before they are read by hand. */
const MANY = Array.from({ length: 5000 }, (_, i) => `many.${i}`);

test('names of a header read before are read the same, and what differs is seen', () => {
	const known = ['first', 'b', 'c', 'd'];
	expect(names(header(known))).toEqual(known);
	expect(names(header(known))).toEqual(known);
	for (const other of [
		['first', 'b'],
		['first', 'b', 'c', 'd', 'e'],
		['first', 'c', 'b', 'd'],
		['first', 'bb', 'c'],
		['first', '', 'c'],
	])
		expect(names(header(other))).toEqual(other);
	expect(names(header(known))).toEqual(known);
	for (const twice of [
		['first', 'first'],
		['first', 'b', 'first'],
		['first', 'b', 'c', 'd', 'b'],
	])
		expect(() => names(header(twice))).toThrow(expect.objectContaining({ code: 'E_DUPLICATE_KEY' }));
});

test('a name with escapes is not taken for the text that it would be', () => {
	const odd = ['odd', 'x":{"y'];
	expect(names(header(odd))).toEqual(odd);
	expect(names(header(odd))).toEqual(odd);
	// The text of this header continues as the second name of the one above reads.
	expect(() => names(`{${entry('odd', 0)},"x":{"y":{}}}`)).toThrow(expect.objectContaining({ code: 'E_TENSOR_INFO' }));
});

test('entries read by hand are read like matched ones', () => {
	expect(names(header(MANY))).toEqual(MANY);
	const read = (rest: string) =>
		scanHeader(encode(`{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":${rest}}`)).entries[1];
	expect(read('[],"data_offsets":[2,4]}')).toEqual({ name: 'b', dtype: 'F16', shape: [], begin: 2, end: 4 });
	expect(read('[1,2,3,4],"data_offsets":[2,50]}')).toEqual({ name: 'b', dtype: 'F16', shape: [1, 2, 3, 4], begin: 2, end: 50 });
	expect(read('[ 1 ],"data_offsets":[2,4]}')).toEqual({ name: 'b', dtype: 'F16', shape: [1], begin: 2, end: 4 });
	for (const [rest, code] of [
		['[01],"data_offsets":[2,4]}', 'E_HEADER_JSON'],
		['[-1],"data_offsets":[2,4]}', 'E_SHAPE'],
		['[1.0],"data_offsets":[2,4]}', 'E_SHAPE'],
		['[9007199254740993],"data_offsets":[2,4]}', 'E_SHAPE'],
		['[1],"data_offsets":[2,4,6]}', 'E_TENSOR_INFO'],
		['[1,],"data_offsets":[2,4]}', 'E_TENSOR_INFO'],
	] as const)
		expect(() => read(rest), rest).toThrow(
			expect.objectContaining({ code: expect.stringMatching(code === 'E_TENSOR_INFO' ? /^E_/ : code) }),
		);
});
