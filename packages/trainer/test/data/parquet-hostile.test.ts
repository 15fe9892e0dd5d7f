import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkPageSizes, unpackPage } from '../../src/data/parquet-decompress.js';
import { readHybrid } from '../../src/data/parquet-hybrid.js';
import { readThrift } from '../../src/data/parquet-thrift.js';
import { FRAMES, openBytes, parquetFixture, refusal } from './parquet-support.js';

const FILES = ['train-00000-of-00001', 'train-zstd-3groups', 'plain-v1', 'snappy-v2', 'zstd-v2-dictionary', 'lists', 'required'];
const OPTIONS = { imageColumn: 'photo', captionColumn: 'captions' };

/** Opens and reads everything; anything but a sound set or a FormatError fails the test, and a loop runs into its time-out. */
async function digest(bytes: Uint8Array, name: string): Promise<string> {
	try {
		const set = await openBytes(bytes, name === 'lists' ? OPTIONS : {});
		for (const item of set.items) await item.read();
		await set.close();
		return set.digest;
	} catch (error) {
		if (error instanceof Error && error.name === 'FormatError') return error.message;
		throw error;
	}
}

/** A footer around bytes of Thrift. */
function file(thrift: readonly number[], length = thrift.length): Uint8Array {
	const tail = Buffer.alloc(4);
	tail.writeUInt32LE(length);
	return new Uint8Array(Buffer.concat([Buffer.from('PAR1'), Uint8Array.from(thrift), tail, Buffer.from('PAR1')]));
}

describe('hostile Parquet', () => {
	it('gives a sound set or a refusal for any change of a file', async () => {
		const files = FILES.map((name) => ({ name, bytes: parquetFixture(name) }));
		await fc.assert(
			fc.asyncProperty(
				fc.constantFrom(...files),
				fc.array(
					fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), value: fc.integer({ min: 0, max: 255 }) }),
					{
						minLength: 1,
						maxLength: 6,
					},
				),
				fc.boolean(),
				async ({ name, bytes }, changes, inFooter) => {
					const changed = bytes.slice();
					const footer = new DataView(changed.buffer).getUint32(changed.byteLength - 8, true);
					const start = inFooter ? changed.byteLength - 8 - footer : 4;
					for (const { at, value } of changes) changed[start + Math.floor(at * (changed.byteLength - 4 - start))] = value;
					await digest(changed, name);
				},
			),
			{ numRuns: 1500, seed: 9 },
		);
	});

	it('refuses a footer whose values are of other kinds than they should be', async () => {
		const text = (word: string): number[] => [word.length, ...Buffer.from(word)];
		const schema = [0x19, 0x2c, 0x48, ...text('root'), 0x15, 2, 0, 0x15, 0x0c, 0x25, 0, 0x18, ...text('image'), 0];
		// One row group of one row with one column, whose description is false, a string, an empty struct.
		const footer = (...column: number[]): Uint8Array =>
			file([0x15, 2, ...schema, 0x16, 2, 0x19, 0x1c, 0x19, 0x1c, ...column, 0, 0x16, 0, 0x16, 2, 0, 0]);
		const open = (bytes: Uint8Array) => refusal(() => openBytes(bytes, { prompt: 'a picture' }));
		expect((await open(footer(0x32))).message).toContain('has no column "image"');
		expect((await open(footer(0x38, 1, 0x41))).message).toContain('footer cannot be read');
		expect((await open(footer(0x3c, 0))).message).toContain('footer cannot be read');
		expect((await open(footer())).message).toContain('has no column "image"');
	});

	it('gives a sound set or a refusal for any cut and any repetition', async () => {
		await fc.assert(
			fc.asyncProperty(fc.constantFrom(...FILES), fc.nat(10_000), fc.nat(10_000), async (name, a, b) => {
				const bytes = parquetFixture(name);
				const [from, to] = [a % bytes.byteLength, b % bytes.byteLength].sort((x, y) => x - y);
				await digest(bytes.slice(0, to), name);
				await digest(Uint8Array.of(...bytes.subarray(0, from), ...bytes.subarray(to)), name);
				await digest(Uint8Array.of(...bytes.subarray(0, to), ...bytes.subarray(from)), name);
			}),
			{ numRuns: 300, seed: 9 },
		);
	});

	it('refuses every cut of a file', async () => {
		const bytes = parquetFixture('train-00000-of-00001');
		for (let length = 0; length < bytes.byteLength; length += 37) {
			const error = await refusal(() => openBytes(bytes.slice(0, length)));
			expect(['E_EMPTY', 'E_PARQUET', 'E_TRUNCATED']).toContain(error.code);
		}
	});

	it('says what a file is that is no Parquet file', async () => {
		const text = (content: string): Uint8Array => new TextEncoder().encode(content);
		expect((await refusal(() => openBytes(text('version https://git-lfs.github.com/spec/v1\noid sha256:0\n')))).code).toBe('E_LFS_POINTER');
		expect((await refusal(() => openBytes(text('<!DOCTYPE html><html></html>')))).code).toBe('E_HTML');
		for (const [content, message] of [
			['PK\x03\x04 some zip file', 'begins with "PK'],
			['PAR1....PARE', 'encrypted'],
		] as const) {
			expect(await refusal(() => openBytes(text(content)))).toMatchObject({ code: 'E_PARQUET', message: expect.stringContaining(message) });
		}
	});

	it('refuses footers that would take all memory or all time', async () => {
		const varint = [0xff, 0xff, 0xff, 0xff, 0x07];
		// A list of 2^31 - 1 structs; lists in lists, each of 30 million; structs 100,000 deep; a footer of 4 GB; numbers without end.
		const hostile: readonly (readonly [Uint8Array, RegExp])[] = [
			[file([0x29, 0xfc, ...varint]), /footer ends early/],
			[
				file([0x29, 0xf9, 0x80, 0xc3, 0xa7, 0x0e, ...Array.from({ length: 60 }, () => [0xf9, 0x80, 0xc3, 0xa7, 0x0e]).flat()]),
				/footer ends early|levels/,
			],
			[file(new Array(100_000).fill(0x1c)), /levels/],
			[file([0x16, ...new Array(100_000).fill(0xff)]), /too long/],
			[file([0x15, 0x02], 0xffff_ffff), /longer than the file/],
			[file([0x28, ...varint, 0x41]), /footer ends early/],
			[file([]), /footer ends early/],
			[file([0x00]), /footer cannot be read/],
			// Rows: 2^60.
			[file([0x15, 2, 0x19, 0x1c, 0x48, 1, 0x61, 0x15, 0, 0, 0x16, ...new Array(8).fill(0x80), 0x10, 0x19, 0x0c, 0]), /rows/],
		];
		for (const [bytes, message] of hostile) expect((await refusal(() => openBytes(bytes))).message).toMatch(message);
		expect(() =>
			readThrift(
				'x',
				Uint8Array.from({ length: 200_000 }, () => 0x11),
				0,
				{ values: 1000 },
			),
		).toThrow(/more than 1000 values/);
	});

	it('refuses runs that stand for more values than there are', () => {
		const bytes = (...list: number[]): Uint8Array => Uint8Array.from(list);
		// Runs of 2^31 equal values and of 2^34 packed ones, of none, and past the end.
		for (const hostile of [
			bytes(0xfe, 0xff, 0xff, 0xff, 0x0f, 1),
			bytes(0xff, 0xff, 0xff, 0xff, 0x0f, 1),
			bytes(0, 0, 0, 0),
			bytes(1),
			bytes(3),
			bytes(20),
		]) {
			expect(() => readHybrid('x', hostile, 1, 8)).toThrow(/broken Parquet/);
		}
		// Encodings.md's own example: 0 to 7 in three bits.
		expect([...readHybrid('x', bytes(3, 0x88, 0xc6, 0xfa), 3, 8)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
		expect([...readHybrid('x', bytes(6, 5, 3, 0x88, 0xc6, 0xfa), 3, 8)]).toEqual([5, 5, 5, 0, 1, 2, 3, 4]);
	});

	it('refuses pages that would grow as no writer lets them', () => {
		expect(() => checkPageSizes('x', 100, 2 ** 31 - 1)).toThrow(/would unpack to 2147483647/);
		expect(() => checkPageSizes('x', -1, 5)).toThrow(/-1 bytes/);
		expect(() => checkPageSizes('x', 100, 16 * 2 ** 20)).not.toThrow();
	});

	it('refuses snappy that goes backwards, before its beginning, or on for longer than said', async () => {
		// A literal of 2^32 bytes makes hyparquet's decoder go backwards for ever.
		const hostile = [
			[8, 0xfc, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
			[8, 0x1c, 1, 2],
			[8, 0x05, 0x09, 1],
			[8, 0x01, 0],
			[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
			[8, 0x00, 1, ...new Array(100).fill([0xfe, 1, 0]).flat()],
		];
		for (const bytes of hostile) expect((await refusal(() => unpackPage('x', 'SNAPPY', Uint8Array.from(bytes), 8))).code).toBe('E_PARQUET');
		expect([...(await unpackPage('x', 'SNAPPY', Uint8Array.of(8, 0x04, 7, 9, 0x09, 2), 8))]).toEqual([7, 9, 7, 9, 7, 9, 7, 9]);
	});

	it('refuses zstd that names other sizes, has blocks that are too large, or never ends', async () => {
		const magic = [0x28, 0xb5, 0x2f, 0xfd];
		const hostile: readonly (readonly [readonly number[], RegExp])[] = [
			// 3.9 GB of content; a window of 2 TB; a run of 2 MB in four bytes.
			[[...magic, 0xa0, 0xff, 0xff, 0xff, 0xef, 1, 0, 0], /says 4026531839 bytes/],
			[[...magic, 0x00, 0xff, 1, 0, 0], /window/],
			[[...magic, 0x00, 0x58, 0xfb, 0xff, 0xff, 0x41], /block of 2097151 bytes/],
			[[...magic, 0x00, 0x58, 0x43, 0x00, 0x00, 0x41], /more than the 4 bytes/],
			[[...magic, 0x00, 0x58, 0x07, 0, 0], /unknown kind/],
			[[...magic, 0x20, 0x04, 0x01], /ends early/],
		];
		for (const [bytes, message] of hostile) {
			expect((await refusal(() => unpackPage('x', 'ZSTD', Uint8Array.from(bytes), 4))).message).toMatch(message);
		}
	});

	it('refuses a zstd frame on which fzstd does not end', async () => {
		// Huffman weights by a table of finite state entropy in which one symbol has all 32 states.
		const endless = Buffer.from('28b52ffd20406d000042400206f00301010180000000', 'hex');
		expect((await refusal(() => unpackPage('x', 'ZSTD', endless, 64))).message).toContain('a Huffman table without information');
	});

	it.each(FRAMES)('unpacks what Arrow packs: $codec, $length bytes', async ({ codec, length, base64 }) => {
		const expected = Uint8Array.from({ length }, (_, i) => ((i % 1000) * (i % 1000)) >> 7);
		const packed = Buffer.from(base64, 'base64');
		expect(Buffer.compare(await unpackPage('x', codec, packed, length), expected)).toBe(0);
		expect((await refusal(() => unpackPage('x', codec, packed, length + 1))).code).toBe('E_PARQUET');
		if (length > 0) expect((await refusal(() => unpackPage('x', codec, packed.subarray(0, -1), length))).code).toBe('E_PARQUET');
	});
});
