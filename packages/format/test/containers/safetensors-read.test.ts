import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type ByteSource, bytesSource } from '../../src/byte-source.js';
import { readSafetensors } from '../../src/containers/safetensors-read.js';
import { FormatError } from '../../src/errors.js';
import { entry, fromHex, stFile } from './st-bytes.js';

const A = entry('a', 'F32', '1', 0, 4);
const AT = '"dtype":"F32","shape":[1],"data_offsets":[0,4]';

async function verdict(bytes: Uint8Array): Promise<string> {
	try {
		const dict = await readSafetensors(bytesSource(bytes));
		return ['ok', ...dict.warnings.map((w) => w.code)].join(' ');
	} catch (error) {
		if (error instanceof FormatError) return error.code;
		throw error;
	}
}

const LIES: readonly (readonly [string, Uint8Array, string])[] = [
	['no bytes', new Uint8Array(0), 'E_EMPTY'],
	['7 bytes', new Uint8Array(7), 'E_TRUNCATED'],
	['header length 0', stFile('', 16), 'E_HEADER_JSON'],
	['header longer than the file', stFile(`{${A}}`, 4, 5000n), 'E_TRUNCATED'],
	['header of 100,000,001 bytes', stFile(`{${A}}`, 4, 100_000_001n), 'E_HEADER_TOO_LARGE'],
	['header of 2^63 bytes', stFile(`{${A}}`, 4, 2n ** 63n), 'E_HEADER_TOO_LARGE'],
	['header of 2^64-1 bytes', stFile(`{${A}}`, 4, 2n ** 64n - 1n), 'E_HEADER_TOO_LARGE'],
	['header of 2^53+1 bytes', stFile(`{${A}}`, 4, 2n ** 53n + 1n), 'E_HEADER_TOO_LARGE'],
	['length cuts the last brace', stFile(`{${A}}`, 4, BigInt(A.length + 1)), 'E_HEADER_JSON'],
	['length takes data in', stFile(`{${A}}`, 4, BigInt(A.length + 3)), 'E_HEADER_JSON'],
	['spaces only', stFile('   '), 'E_HEADER_JSON'],
	['not JSON', stFile('hello, world'), 'E_HEADER_JSON'],
	['an array', stFile('[]'), 'E_HEADER_NOT_OBJECT'],
	['a string', stFile('"a"'), 'E_HEADER_NOT_OBJECT'],
	['null', stFile('null'), 'E_HEADER_NOT_OBJECT'],
	['a number', stFile('12'), 'E_HEADER_NOT_OBJECT'],
	['nul', stFile('nul'), 'E_HEADER_JSON'],
	['byte-order mark', stFile(`\ufeff{${A}}`, 4), 'E_HEADER_JSON'],
	['leading space', stFile(` \n{${A}}`, 4), 'ok'],
	['padding of every kind', stFile(`{${A}} \t\r\n`, 4), 'ok'],
	['NUL padding', stFile(`{${A}}\0\0`, 4), 'E_HEADER_JSON'],
	['form-feed padding', stFile(`{${A}}\f`, 4), 'E_HEADER_JSON'],
	['a second object', stFile(`{${A}}{}`, 4), 'E_HEADER_JSON'],
	['trailing comma', stFile(`{${A},}`, 4), 'E_HEADER_JSON'],
	['comment', stFile(`{/**/${A}}`, 4), 'E_HEADER_JSON'],
	['single quotes', stFile("{'a':{}}"), 'E_HEADER_JSON'],
	['missing colon', stFile('{"a" {}}'), 'E_HEADER_JSON'],
	['NaN as a value', stFile('{"a":NaN}'), 'E_HEADER_JSON'],
	['bad UTF-8 in a name', stFile(Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'E_HEADER_UTF8'],
	['overlong UTF-8', stFile(Uint8Array.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d])), 'E_HEADER_UTF8'],
	['surrogate in UTF-8', stFile(Uint8Array.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d])), 'E_HEADER_UTF8'],
	['lone surrogate escape', stFile(`{"\\ud800":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['swapped surrogate escapes', stFile(`{"\\ude00\\ud83d":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['escape pair', stFile(`{"\\ud83d\\ude00":{${AT}}}`, 4), 'ok'],
	['lone surrogate in metadata', stFile('{"__metadata__":{"k":"\\udc00"}}'), 'E_HEADER_JSON'],
	['bad escape', stFile(`{"\\x61":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['short \\u escape', stFile('{"\\u12"'), 'E_HEADER_JSON'],
	['backslash at the end', stFile('{"a\\'), 'E_HEADER_JSON'],
	['raw control character', stFile(`{"\u0001":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['raw newline in a string', stFile(`{"\n":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['raw control character behind an escape', stFile(`{"\\n\u0001":{${AT}}}`, 4), 'E_HEADER_JSON'],
	['DEL is no control character in JSON', stFile(`{"\u007f":{${AT}}}`, 4), 'ok'],
	['65 levels in an unknown field', stFile(`{"a":{${AT},"x":${'['.repeat(63)}${']'.repeat(63)}}}`, 4), 'E_HEADER_JSON'],
	['64 levels in an unknown field', stFile(`{"a":{${AT},"x":${'['.repeat(62)}${']'.repeat(62)}}}`, 4), 'ok W_UNKNOWN_FIELD'],
	['100,000 levels as an entry', stFile(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), 'E_HEADER_JSON'],
	['same name, same range', stFile(`{${A},${A}}`, 4), 'E_DUPLICATE_KEY'],
	['same name, other range', stFile(`{${A},${entry('a', 'F32', '1', 4, 8)}}`, 8), 'E_DUPLICATE_KEY'],
	['same name through an escape', stFile(`{${A},"\\u0061":{${AT}}}`, 4), 'E_DUPLICATE_KEY'],
	['same empty tensor twice', stFile(`{${entry('z', 'F32', '0', 0, 0)},${entry('z', 'F32', '0', 0, 0)}}`), 'E_DUPLICATE_KEY'],
	['__metadata__ twice', stFile('{"__metadata__":{},"__metadata__":{}}'), 'E_DUPLICATE_KEY'],
	['a metadata key twice', stFile('{"__metadata__":{"k":"1","k":"1"}}'), 'E_DUPLICATE_KEY'],
	['dtype twice', stFile(`{"a":{"dtype":"F32",${AT}}}`, 4), 'E_DUPLICATE_KEY'],
	['shape twice', stFile(`{"a":{${AT},"shape":[1]}}`, 4), 'E_DUPLICATE_KEY'],
	['data_offsets twice', stFile(`{"a":{${AT},"data_offsets":[0,4]}}`, 4), 'E_DUPLICATE_KEY'],
	['unknown field twice', stFile(`{"a":{${AT},"x":1,"x":1}}`, 4), 'E_DUPLICATE_KEY'],
	['metadata number', stFile('{"__metadata__":{"k":1}}'), 'E_METADATA'],
	['metadata null value', stFile('{"__metadata__":{"k":null}}'), 'E_METADATA'],
	['metadata object value', stFile('{"__metadata__":{"k":{"x":"y"}}}'), 'E_METADATA'],
	['metadata is null', stFile('{"__metadata__":null}'), 'E_METADATA'],
	['metadata is an array', stFile('{"__metadata__":[]}'), 'E_METADATA'],
	['metadata is a tensor', stFile(`{"__metadata__":{${AT}}}`, 4), 'E_METADATA'],
	['empty metadata', stFile('{"__metadata__":{}}'), 'ok'],
	['entry null', stFile('{"a":null}'), 'E_TENSOR_INFO'],
	['entry as an array', stFile('{"a":["F32",[1],[0,4]]}', 4), 'E_TENSOR_INFO'],
	['entry empty', stFile('{"a":{}}'), 'E_TENSOR_INFO'],
	['no dtype', stFile('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['no shape', stFile('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['no data_offsets', stFile('{"a":{"dtype":"F32","shape":[1]}}', 4), 'E_TENSOR_INFO'],
	['dtype null', stFile('{"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['shape null', stFile('{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['shape of booleans', stFile('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['shape of strings', stFile('{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}', 4), 'E_TENSOR_INFO'],
	['one offset', stFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4), 'E_TENSOR_INFO'],
	['three offsets', stFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}', 4), 'E_TENSOR_INFO'],
	['an unknown field', stFile(`{"a":{${AT},"q":{"x":[1,-2.5e+3,true,null,"s",{}]}}}`, 4), 'ok W_UNKNOWN_FIELD'],
	['dtype F31', stFile(`{${entry('a', 'F31', '1', 0, 4)}}`, 4), 'E_DTYPE'],
	['dtype f32', stFile(`{${entry('a', 'f32', '1', 0, 4)}}`, 4), 'E_DTYPE'],
	['dtype __proto__', stFile(`{${entry('a', '__proto__', '1', 0, 4)}}`, 4), 'E_DTYPE'],
	['dim 1.0', stFile(`{${entry('a', 'F32', '1.0', 0, 4)}}`, 4), 'E_SHAPE'],
	['dim 1e0', stFile(`{${entry('a', 'F32', '1e0', 0, 4)}}`, 4), 'E_SHAPE'],
	['dim -1', stFile(`{${entry('a', 'F32', '-1', 0, 4)}}`, 4), 'E_SHAPE'],
	['dim -0', stFile(`{${entry('a', 'F32', '-0', 0, 0)}}`), 'E_SHAPE'],
	['dim 01', stFile(`{${entry('a', 'F32', '01', 0, 4)}}`, 4), 'E_HEADER_JSON'],
	['dim 2^53', stFile(`{${entry('a', 'F32', '0,9007199254740992', 0, 0)}}`), 'E_SHAPE'],
	['dim 2^53+1', stFile(`{${entry('a', 'F32', '0,9007199254740993', 0, 0)}}`), 'E_SHAPE'],
	['dim 2^53-1 beside a 0', stFile(`{${entry('a', 'F32', '0,9007199254740991', 0, 0)}}`), 'ok'],
	['dim of 400 digits', stFile(`{${entry('a', 'F32', '9'.repeat(400), 0, 0)}}`), 'E_SHAPE'],
	['product beyond 2^53', stFile(`{${entry('a', 'F32', '4294967296,4294967296', 0, 4)}}`, 4), 'E_OVERFLOW'],
	['product that wraps to the size in 64 bits', stFile(`{${entry('a', 'U8', '4294967296,4294967296', 0, 0)}}`), 'E_OVERFLOW'],
	['size other than the range', stFile(`{${entry('a', 'F32', '2', 0, 4)}}`, 4), 'E_SHAPE'],
	['3 elements of 4 bits', stFile(`{${entry('a', 'F4', '3', 0, 2)}}`, 2), 'E_SHAPE'],
	['4 elements of 4 bits', stFile(`{${entry('a', 'F4', '4', 0, 2)}}`, 2), 'ok'],
	['4 elements of 6 bits', stFile(`{${entry('a', 'F6_E2M3', '4', 0, 3)}}`, 3), 'ok'],
	['65 dimensions', stFile(`{${entry('a', 'U8', Array(65).fill(1).join(), 0, 1)}}`, 1), 'E_LIMIT'],
	['64 dimensions', stFile(`{${entry('a', 'U8', Array(64).fill(1).join(), 0, 1)}}`, 1), 'ok'],
	['end before begin', stFile(`{${entry('a', 'F32', '1', 4, 0)}}`, 4), 'E_OFFSETS'],
	['offset -4', stFile(`{${entry('a', 'F32', '1', -4, 0)}}`, 4), 'E_OFFSETS'],
	['offset 0.0', stFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0.0,4]}}', 4), 'E_OFFSETS'],
	['offset 2^53', stFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9007199254740992]}}', 4), 'E_OFFSETS'],
	['two on one range', stFile(`{${A},${entry('b', 'F32', '1', 0, 4)}}`, 4), 'E_OVERLAP'],
	['half overlap', stFile(`{${A},${entry('b', 'F32', '1', 2, 6)}}`, 6), 'E_OVERLAP'],
	['empty tensor inside another', stFile(`{${A},${entry('z', 'F32', '0', 2, 2)}}`, 4), 'E_OVERLAP'],
	['hole at the start', stFile(`{${entry('a', 'F32', '1', 4, 8)}}`, 8), 'E_HOLE'],
	['hole between', stFile(`{${A},${entry('b', 'F32', '1', 8, 12)}}`, 12), 'E_HOLE'],
	['one byte short', stFile(`{${A}}`, 3), 'E_TRUNCATED'],
	['one byte too many', stFile(`{${A}}`, 5), 'E_TRAILING'],
	['data without tensors', stFile('{}', 1), 'E_TRAILING'],
	['nothing in it', stFile('{}'), 'ok'],
	['the empty name', stFile(`{${entry('', 'F32', '1', 0, 4)}}`, 4), 'ok W_NAME'],
];

describe('readSafetensors', () => {
	it.each(LIES)('%s', async (_, bytes, want) => {
		expect(await verdict(bytes)).toBe(want);
	});

	it('gives tensors in the order of their data, with their bytes, names and small values', async () => {
		const header = `{${entry('late', 'F16', '2', 4, 8)},"__metadata__":{"k":"v","__proto__":"p","":"\\u0000"},${entry('first', 'F32', '', 0, 4)},${entry('big', 'U8', '5', 8, 13)},${entry('none', 'I64', '0', 4, 4)}}`;
		// -2.5 as F32; 1 and -2 as F16.
		const bytes = stFile(header, [0, 0, 0x20, 0xc0, 0, 0x3c, 0, 0xc0, 1, 2, 3, 4, 5]);
		const dict = await readSafetensors(bytesSource(bytes, 'x.safetensors'));
		expect([...dict.tensors.keys()]).toEqual(['first', 'none', 'late', 'big']);
		expect([...dict.metadata]).toEqual([
			['k', 'v'],
			['__proto__', 'p'],
			['', '\0'],
		]);
		expect([...dict.small]).toEqual([
			['first', [-2.5]],
			['none', []],
			['late', [1, -2]],
		]);
		expect(dict).toMatchObject({ container: 'safetensors', name: 'x.safetensors', top: 'dict', smallComplete: true, warnings: [] });
		const big = dict.tensors.get('big');
		expect(big).toMatchObject({ dtype: 'U8', shape: [5], nbytes: 5, origin: 'big' });
		expect(await big?.read()).toEqual(Uint8Array.of(1, 2, 3, 4, 5));
		expect(big?.range?.offset).toBe(bytes.byteLength - 5);
	});

	it('leaves integers that no double holds out of the small values', async () => {
		const bytes = stFile(
			`{${entry('n', 'I64', '1', 0, 8)},${entry('m', 'I64', '1', 8, 16)}}`,
			[1, 0, 0, 0, 0, 0, 0x20, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
		);
		const dict = await readSafetensors(bytesSource(bytes));
		expect([...dict.small]).toEqual([['m', [-1]]]);
	});

	it('reads the header alone from a remote source', async () => {
		const inner = bytesSource(stFile(`{${A},${entry('b', 'U8', '1000', 4, 1004)}}`, 1004));
		const reads: number[] = [];
		const source: ByteSource = {
			...inner,
			remote: true,
			read(offset, length) {
				reads.push(offset + length);
				return inner.read(offset, length);
			},
		};
		const dict = await readSafetensors(source);
		expect(dict.small.size).toBe(0);
		expect(dict.smallComplete).toBe(false);
		expect(Math.max(...reads)).toBe(inner.size - 1004);
		const withValues = await readSafetensors(source, { values: true });
		expect(withValues.small.get('a')).toEqual([0]);
		expect(withValues.smallComplete).toBe(true);
		reads.length = 0;
		await readSafetensors(source, {}, await inner.read(0, inner.size - 1004));
		expect(reads).toEqual([]);
	});

	it.each([
		[
			'short',
			stFile(`{${entry('a', 'U8', '1040', 0, 1040)}}`, 1028),
			'The file is 12 bytes short: the header promises 1,040 bytes of data, 1,028 are there; fetch it again.',
		],
		[
			'long',
			stFile(`{${A}}`, 5),
			'Behind the last tensor there is 1 byte too much: the header describes 4 bytes of data, 5 are there; something was appended, or the header is damaged.',
		],
		[
			'hole',
			stFile(`{${A},${entry('b', 'F32', '1', 8, 12)}}`, 12),
			'Between tensor "a" and tensor "b" there is a hole of 4 bytes at data byte 4; every byte must belong to a tensor.',
		],
		[
			'terminal',
			stFile(`{${entry('\u001b[2J', 'F32', '2', 0, 4)}}`, 4),
			'Tensor "\\u001b[2J" of dtype F32 and shape (2) needs 8 bytes, but its data_offsets span 4.',
		],
	])('says it with numbers: %s', async (_, bytes, message) => {
		await expect(readSafetensors(bytesSource(bytes))).rejects.toThrow(message);
	});

	it('warns once for a field that many entries have, and names at most a few fields', async () => {
		const many = Array.from(
			{ length: 50 },
			(_, i) => `"t${i}":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}],"stride":[1],"x${i}":0}`,
		);
		const dict = await readSafetensors(bytesSource(stFile(`{${many.join()}}`, 50)));
		expect(dict.warnings.length).toBe(9);
		expect(dict.warnings[0]?.message).toContain('"t0" and of 49 more has the field "stride"');
	});
});

/** Where we refuse what safetensors 0.8.0 reads, and why. */
const STRICTER: ReadonlyMap<string, string> = new Map([
	['meta null', 'E_METADATA'], // The format says string to string; a null is a writer's mistake.
	['dup key same range', 'E_DUPLICATE_KEY'], // One of the two vanishes there.
	['dup key inside metadata', 'E_DUPLICATE_KEY'], // The last wins there, the first in other readers.
]);

describe('the 52 edge cases of safetensors 0.8.0', () => {
	const cases = JSON.parse(readFileSync(new URL('../../../../fixtures/safetensors/edge-cases.json', import.meta.url), 'utf8')) as Record<
		string,
		{ file_hex: string; safetensors_0_8_0: string }
	>;
	it('are all there', () => expect(Object.keys(cases).length).toBe(52));
	it.each(Object.entries(cases))('%s', async (name, { file_hex, safetensors_0_8_0 }) => {
		const got = await verdict(fromHex(file_hex));
		const stricter = STRICTER.get(name);
		if (stricter !== undefined) {
			expect(safetensors_0_8_0).toMatch(/^OK/);
			expect(got).toBe(stricter);
		} else expect(got.startsWith('ok')).toBe(safetensors_0_8_0.startsWith('OK'));
	});
});
