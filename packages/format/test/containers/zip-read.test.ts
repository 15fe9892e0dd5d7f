import { Uint8ArrayReader, Uint8ArrayWriter, ZipReader } from '@zip.js/zip.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { crc32 } from '../../src/containers/crc32.js';
import { openZip } from '../../src/containers/zip-read.js';
import { FormatError } from '../../src/errors.js';
import { buildZip, type EndLie, type Lie, slowCrc, text, u16, u32 } from './zip-build.js';

const A = Uint8Array.from([1, 2, 3, 4, 5]);
const B = new Uint8Array(300).fill(9);

/** Names and contents by our reader, or the code of its refusal. */
async function ours(bytes: Uint8Array): Promise<string | (readonly [string, readonly number[]])[]> {
	try {
		const zip = await openZip(bytesSource(bytes));
		const out: (readonly [string, readonly number[]])[] = [];
		for (const entry of zip.entries.values()) out.push([entry.name, [...(await zip.read(entry, 1 << 20))]]);
		return out;
	} catch (error) {
		if (error instanceof FormatError) return error.code;
		throw error;
	}
}

/** The same by zip.js at its strictest; `refused` for any error. */
async function theirs(bytes: Uint8Array): Promise<'refused' | (readonly [string, readonly number[]])[]> {
	try {
		const reader = new ZipReader(new Uint8ArrayReader(bytes), {
			checkSignature: true,
			checkOverlappingEntry: true,
			strictness: 'strict',
			useWebWorkers: false,
		});
		const out: (readonly [string, readonly number[]])[] = [];
		for (const entry of await reader.getEntries()) {
			if (entry.directory) out.push([entry.filename, []]);
			else out.push([entry.filename, [...(await entry.getData(new Uint8ArrayWriter()))]]);
		}
		await reader.close();
		return out;
	} catch {
		return 'refused';
	}
}

const good: readonly [string, readonly Lie[], EndLie?][] = [
	[
		'stored',
		[
			{ name: 'a', data: A },
			{ name: 'b/c', data: B },
		],
	],
	['deflated', [{ name: 'a', data: B, method: 8 }]],
	[
		'data descriptor',
		[
			{ name: 'a', data: A, descriptor: 'plain' },
			{ name: 'b', data: B, method: 8, descriptor: 'plain' },
		],
	],
	['local padding as torch has it', [{ name: 'a', data: A, localExtra: [...text('FB'), ...u16(3), 90, 90, 90] }]],
	['comment', [{ name: 'a', data: A }], { comment: 'made by hand' }],
	[
		'directory entries',
		[
			{ name: 'd/', data: new Uint8Array(0) },
			{ name: 'd/a', data: A },
		],
	],
	['empty entry', [{ name: 'a', data: new Uint8Array(0) }]],
];

const bad: readonly [string, string, readonly Lie[], EndLie?][] = [
	[
		'two entries of one name',
		'E_ZIP_DUPLICATE',
		[
			{ name: 'a', data: A },
			{ name: 'a', data: B },
		],
	],
	['another local name', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, localName: 'b' }]],
	['another local size', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, localSize: 4 }]],
	['another local CRC', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, localCrc: 4 }]],
	['other local flags', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, localFlags: 0x800 }]],
	['another local method', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, localMethod: 8 }]],
	['a descriptor that disagrees', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, descriptor: 'wrong' }]],
	['a stored entry of two sizes', 'E_ZIP_MISMATCH', [{ name: 'a', data: A, size: 6 }]],
	['wrong CRC', 'E_ZIP_CRC', [{ name: 'a', data: A, crc: 1 }]],
	['encryption', 'E_ZIP_ENCRYPTED', [{ name: 'a', data: A, flags: 1 }]],
	['strong encryption', 'E_ZIP_ENCRYPTED', [{ name: 'a', data: A, flags: 64 }]],
	['patch data', 'E_ZIP', [{ name: 'a', data: A, flags: 32 }]],
	['bzip2', 'E_ZIP_METHOD', [{ name: 'a', data: A, method: 12 }]],
	['a parent directory in a name', 'E_ZIP_NAME', [{ name: 'a/../b', data: A }]],
	['an absolute name', 'E_ZIP_NAME', [{ name: '/a', data: A }]],
	['a drive', 'E_ZIP_NAME', [{ name: 'C:a', data: A }]],
	['a backslash', 'E_ZIP_NAME', [{ name: 'a\\b', data: A }]],
	['a NUL', 'E_ZIP_NAME', [{ name: 'a\0b', data: A }]],
	['an empty name', 'E_ZIP_NAME', [{ name: '', data: A }]],
	['a symbolic link', 'E_ZIP', [{ name: 'a', data: A, attributes: 0xa1ff0000 }]],
	['a second, Unicode name', 'E_ZIP', [{ name: 'a', data: A, extra: [...u16(0x7075), ...u16(6), 1, ...u32(0), 98] }]],
	['an extra field past its end', 'E_ZIP', [{ name: 'a', data: A, extra: [1, 0, 9, 0] }]],
	[
		'a gap',
		'E_ZIP',
		[
			{ name: 'a', data: A, gap: 5 },
			{ name: 'b', data: A },
		],
	],
	['a prefix', 'E_ZIP', [{ name: 'a', data: A }], { prefix: 4 }],
	['a suffix', 'E_ZIP', [{ name: 'a', data: A }], { suffix: 4 }],
	[
		'a count too small',
		'E_ZIP',
		[
			{ name: 'a', data: A },
			{ name: 'b', data: B },
		],
		{ count: 1 },
	],
	['a count too large', 'E_ZIP', [{ name: 'a', data: A }], { count: 2 }],
	['a directory elsewhere', 'E_ZIP', [{ name: 'a', data: A }], { directoryOffset: 3 }],
	['another disk', 'E_ZIP', [{ name: 'a', data: A }], { disk: 1 }],
	['an end record in the comment', 'E_ZIP', [{ name: 'a', data: A }], { comment: 'PK\u0005\u0006 and more text after it, long' }],
	['an invalid deflate stream', 'E_ZIP', [{ name: 'a', data: A, method: 8, raw: Uint8Array.from([255, 255, 255, 255]), size: 5 }]],
	['a cut deflate stream', 'E_ZIP', [{ name: 'a', data: B, method: 8, raw: Uint8Array.from([75, 165]), size: 300 }]],
	['more inflated than declared', 'E_ZIP', [{ name: 'a', data: B, method: 8, size: 20 }]],
	['less inflated than declared', 'E_ZIP', [{ name: 'a', data: B, method: 8, size: 301 }]],
	['a bomb by its declared size', 'E_LIMIT', [{ name: 'a', data: B, method: 8, size: 900_000_000 }]],
	['a storage beyond the inflating limit', 'E_LIMIT', [{ name: 'a', data: B, method: 8, size: 0xfffffff0 }]],
];

describe('openZip', () => {
	it.each(good)('reads: %s', async (_, entries, end) => {
		const bytes = buildZip(entries, end);
		expect(await ours(bytes)).toEqual(entries.map((e) => [e.name, [...e.data]]));
	});

	it.each(bad)('refuses: %s', async (_, code, entries, end) => {
		expect(await ours(buildZip(entries, end))).toBe(code);
	});

	it('refuses bytes without an end record, however few', async () => {
		for (let n = 0; n < 40; n++) expect(await ours(new Uint8Array(n))).toBe('E_ZIP');
	});

	it('agrees with zip.js in strict mode on what it reads', async () => {
		let read = 0;
		for (const [name, entries, end] of good) {
			const bytes = buildZip(entries, end);
			const other = await theirs(bytes);
			// zip.js strict refuses what it cannot vouch for; where it reads, it must read the same.
			if (other === 'refused') continue;
			read++;
			expect(await ours(bytes), name).toEqual(other);
		}
		expect(read).toBeGreaterThanOrEqual(5);
	});

	it('never reads what zip.js reads differently, over mutated archives', async () => {
		const seed = buildZip([
			{ name: 'a', data: A },
			{ name: 'b', data: B, method: 8, descriptor: 'plain' },
			{ name: 'c', data: A, descriptor: 'plain' },
		]);
		await fc.assert(
			fc.asyncProperty(
				fc.array(fc.tuple(fc.nat(seed.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 }),
				async (edits) => {
					const bytes = seed.slice();
					for (const [at, value] of edits) bytes[at] = value;
					const mine = await ours(bytes);
					if (typeof mine === 'string') return;
					const other = await theirs(bytes);
					if (other !== 'refused') expect(mine).toEqual(other);
				},
			),
			{ numRuns: 400 },
		);
	});
});

describe('crc32', () => {
	it('is the CRC-32 of zip', () => {
		// The check value of the CRC catalogue: "123456789".
		expect(crc32(Uint8Array.from(text('123456789')))).toBe(0xcbf43926);
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
				expect(crc32(bytes)).toBe(slowCrc(bytes));
				expect(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut)))).toBe(slowCrc(bytes));
			}),
		);
	});
});
