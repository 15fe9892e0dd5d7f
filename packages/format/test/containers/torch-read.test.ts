import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { readTorchLegacy } from '../../src/containers/torch-legacy.js';
import { readTorchZip } from '../../src/containers/torch-zip.js';
import { escapeControls, FormatError } from '../../src/errors.js';
import type { StateDict } from '../../src/state-dict.js';
import { tensorChunks } from '../../src/tensor.js';
import { pickle, tensorOf, uni } from './pickle-bytes.js';
import { buildZip, type Lie, text, u32 } from './zip-build.js';

const DATA = new Uint8Array(Float32Array.from([1, 2, 3, 4, 5, 6]).buffer);
const T = tensorOf('0', 6, [2, 3], [3, 1]);

function archive(pkl: Uint8Array, more: readonly Lie[] = [], data: Uint8Array = DATA): Uint8Array {
	return buildZip([{ name: 'x/data.pkl', data: pkl }, { name: 'x/data/0', data }, ...more]);
}

async function read(bytes: Uint8Array): Promise<StateDict | string> {
	try {
		return await (bytes[0] === 0x50 ? readTorchZip(bytesSource(bytes, 'f')) : readTorchLegacy(bytesSource(bytes, 'f')));
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		expect(escapeControls(error.message)).toBe(error.message);
		return error.code;
	}
}

async function names(bytes: Uint8Array): Promise<string | readonly string[]> {
	const dict = await read(bytes);
	return typeof dict === 'string' ? dict : [...dict.tensors.keys()];
}

const dict = (...entries: readonly number[][]): Uint8Array => pickle(0x80, 2, '}(', ...entries, 'u.');

const objects: readonly [string, Uint8Array, string | readonly string[]][] = [
	['a dict', dict([...uni('a'), ...T]), ['a']],
	['a tuple', pickle(0x80, 2, T, T, 0x86, '.'), ['0', '1']],
	['one bare tensor', pickle(0x80, 2, T, '.'), ['tensor']],
	['a wrapper is taken off', dict([...uni('lora'), ...text('}'), ...uni('a'), ...T, 0x73], [...uni('epoch'), 0x4b, 1]), ['a']],
	['only one wrapper is', dict([...uni('m'), 0x7d, ...uni('lora'), 0x7d, ...uni('a'), ...T, 0x73, 0x73]), ['lora.a']],
	['a textual inversion keeps its slot', dict([...uni('string_to_param'), 0x7d, ...uni('*'), ...T, 0x73]), ['string_to_param.*']],
	['tensors beside a dict: no wrapper', dict([...uni('a'), ...T], [...uni('b'), 0x7d, ...uni('c'), ...T, 0x73]), ['a', 'b.c']],
	['a joined name that is taken', dict([...uni('a.b'), ...T], [...uni('a'), 0x7d, ...uni('b'), ...T, 0x73]), 'E_NAME_COLLISION'],
	['int 1 and str "1"', dict([0x4b, 1, ...T], [...uni('1'), ...T]), 'E_NAME_COLLISION'],
	['a tensor under None', dict([0x4e, ...T]), 'E_NAME'],
	['no tensor', dict([...uni('a'), 0x4b, 1]), 'E_NO_TENSORS'],
	['an int', pickle('K', 1, '.'), 'E_NO_TENSORS'],
	['a dict in itself beside a tensor', pickle('}q', 0, '(', uni('a'), T, uni('b'), 'h', 0, 'u.'), 'E_PICKLE_CYCLE'],
	['a list in itself without tensors', pickle('}(', uni('a'), T, uni('b'), ']q', 0, 'h', 0, 'au.'), ['a']],
];

const tensors: readonly [string, readonly number[], string | readonly number[]][] = [
	['transposed', tensorOf('0', 6, [3, 2], [1, 3]), [1, 4, 2, 5, 3, 6]],
	['a column', tensorOf('0', 6, [2, 1], [3, 1], 1), [2, 5]],
	['a row, which is a range', tensorOf('0', 6, [3], [1], 3), [4, 5, 6]],
	['expanded', tensorOf('0', 6, [2, 2], [0, 1], 4), [5, 6, 5, 6]],
	['overlapping windows', tensorOf('0', 6, [3, 2], [1, 1]), [1, 2, 2, 3, 3, 4]],
	['stride of a dimension of 1 means nothing', tensorOf('0', 6, [1, 6], [99, 1]), [1, 2, 3, 4, 5, 6]],
	['empty, whatever the offset', tensorOf('0', 6, [0, 9], [9, 1], 77), []],
	['scalar', tensorOf('0', 6, [], [], 5), [6]],
	['one element too far', tensorOf('0', 6, [2, 3], [3, 1], 1), 'E_PICKLE_TENSOR'],
	['more sizes than strides', tensorOf('0', 6, [2, 3], [1]), 'E_PICKLE_TENSOR'],
	['negative size', tensorOf('0', 6, [-2], [1]), 'E_PICKLE_TENSOR'],
	['negative stride', tensorOf('0', 6, [2], [-1], 3), 'E_PICKLE_TENSOR'],
	['negative offset', tensorOf('0', 6, [2], [1], -1), 'E_PICKLE_TENSOR'],
	['sizes whose product cannot be counted', tensorOf('0', 6, [2e9, 2e9, 2e9], [0, 0, 0]), 'E_PICKLE_TENSOR'],
	['an expansion to 4 TB', tensorOf('0', 6, [1e6, 1e6], [0, 0]), 'E_LIMIT'],
	['a storage of more elements than the entry has', tensorOf('0', 7, [6], [1]), 'E_PICKLE_TENSOR'],
	['a storage of fewer', tensorOf('0', 5, [5], [1]), 'E_PICKLE_TENSOR'],
	['a missing storage', tensorOf('1', 6, [6], [1]), 'E_ZIP_MISSING'],
	['a storage key that climbs', tensorOf('../0', 6, [6], [1]), 'E_PICKLE_PERSID'],
	['a quantised storage', tensorOf('0', 24, [6], [1], 0, 'QInt8Storage'), 'E_UNSUPPORTED_TENSOR'],
	['complex128', tensorOf('0', 1, [1], [1], 0, 'ComplexDoubleStorage'), 'E_PICKLE_TENSOR'],
];

describe('readTorchZip: the object', () => {
	it.each(objects)('%s', async (_, pkl, expected) => {
		expect(await names(archive(pkl))).toEqual(expected);
	});

	it('refuses one storage as two types', async () => {
		const pkl = dict([...uni('a'), ...T], [...uni('b'), ...tensorOf('0', 3, [3], [1], 0, 'DoubleStorage')]);
		expect(await names(archive(pkl))).toBe('E_PICKLE_TENSOR');
	});

	it('refuses complex128 by name', async () => {
		const pkl = dict([...uni('z'), ...tensorOf('0', 1, [1], [1], 0, 'ComplexDoubleStorage')]);
		await expect(readTorchZip(bytesSource(archive(pkl, [], new Uint8Array(16)), 'f'))).rejects.toThrow(
			'Tensor "z" has elements of type torch.complex128, which no weight file format here can hold; convert it in Python first.',
		);
	});
});

describe('readTorchZip: tensors', () => {
	it.each(tensors)('%s', async (_, tensor, expected) => {
		for (const method of [0, 8]) {
			const bytes = buildZip([
				{ name: 'x/data.pkl', data: dict([...uni('a'), ...tensor]), method },
				{ name: 'x/data/0', data: DATA, method },
			]);
			const state = await read(bytes);
			if (typeof state === 'string') expect(state).toBe(expected);
			else {
				const data = await state.tensors.get('a')?.read();
				expect([...new Float32Array(data?.slice().buffer ?? new ArrayBuffer(4))]).toEqual(expected);
			}
		}
	});
});

describe('readTorchZip: the archive', () => {
	const pkl = dict([...uni('a'), ...T]);
	const cases: readonly [string, Uint8Array, string | readonly string[]][] = [
		[
			'a folder around it',
			buildZip([
				{ name: 'dl/x/data.pkl', data: pkl },
				{ name: 'dl/x/data/0', data: DATA },
			]),
			['a'],
		],
		['byteorder little', archive(pkl, [{ name: 'x/byteorder', data: Uint8Array.from(text('little')) }]), ['a']],
		['byteorder big', archive(pkl, [{ name: 'x/byteorder', data: Uint8Array.from(text('big')) }]), 'E_BYTEORDER'],
		['byteorder junk', archive(pkl, [{ name: 'x/byteorder', data: Uint8Array.from(text('middle')) }]), 'E_BYTEORDER'],
		['TorchScript', archive(pkl, [{ name: 'x/constants.pkl', data: pkl }]), 'E_FORMAT_TORCHSCRIPT'],
		['two pickles', archive(pkl, [{ name: 'y/data.pkl', data: pkl }]), 'E_ZIP_AMBIGUOUS'],
		['no pickle', buildZip([{ name: 'x/data/0', data: DATA }]), 'E_ZIP_MISSING'],
		['npz', buildZip([{ name: 'a.npy', data: DATA }]), 'E_FORMAT'],
		['another zip', buildZip([{ name: 'word/document.xml', data: DATA }]), 'E_FORMAT'],
		['an empty zip', buildZip([]), 'E_ZIP_MISSING'],
		[
			'a damaged storage',
			buildZip([
				{ name: 'x/data.pkl', data: pkl },
				{ name: 'x/data/0', data: DATA, crc: 5 },
			]),
			'E_ZIP_CRC',
		],
	];
	it.each(cases)('%s', async (_, bytes, expected) => {
		expect(await names(bytes)).toEqual(expected);
	});

	it('finds a damaged large storage when it is streamed, read whole, or read in part', async () => {
		const large = new Uint8Array(6 * 1024 * 1024);
		const count = large.length / 4;
		const bytes = archive(
			dict([...uni('all'), ...tensorOf('0', count, [count], [1])], [...uni('part'), ...tensorOf('0', count, [8], [1], 9)]),
			[],
			large,
		);
		const at = bytes.length - 5_000_000;
		bytes[at] = 1;
		const state = async (): Promise<StateDict> => readTorchZip(bytesSource(bytes, 'f'));
		const stream = async (): Promise<void> => {
			const tensor = (await state()).tensors.get('all');
			if (tensor !== undefined) for await (const _ of tensorChunks(tensor));
		};
		await expect(stream()).rejects.toMatchObject({ code: 'E_ZIP_CRC' });
		await expect((await state()).tensors.get('all')?.read()).rejects.toMatchObject({ code: 'E_ZIP_CRC' });
		await expect((await state()).tensors.get('part')?.read()).rejects.toMatchObject({ code: 'E_ZIP_CRC' });
		bytes[at] = 0;
		await stream();
	});

	it('reads no storage when only the header is asked for', async () => {
		const large = new Uint8Array(6 * 1024 * 1024);
		const bytes = archive(dict([...uni('a'), ...tensorOf('0', large.length / 4, [large.length / 4], [1])]), [], large);
		let fetched = 0;
		const inner = bytesSource(bytes, 'f');
		const source = {
			...inner,
			read(offset: number, length: number): Promise<Uint8Array> {
				fetched += length;
				return inner.read(offset, length);
			},
		};
		await readTorchZip(source);
		expect(fetched).toBeLessThan(150_000);
	});

	it('warns of bytes behind the pickle', async () => {
		const state = await read(archive(Uint8Array.from([...pkl, 1, 2])));
		expect(typeof state === 'string' ? state : state.warnings.map((w) => w.code)).toEqual(['W_TRAILING']);
	});
});

describe('readTorchLegacy', () => {
	const MAGIC = [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
	const PROTOCOL = [0x80, 2, 0x4d, 0xe9, 0x03, 0x2e];
	const system = (little: number): Uint8Array => pickle(0x80, 2, '}', uni('little_endian'), little, 's.');
	const keys = (...list: readonly string[]): Uint8Array => pickle(0x80, 2, '](', ...list.map(uni), 'e.');
	const storage = (count: number, data: Uint8Array): number[] => [...u32(count), ...u32(0), ...data];
	const file = (...parts: readonly (readonly number[] | Uint8Array)[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]));
	const object = dict([...uni('a'), ...T]);
	const cases: readonly [string, Uint8Array, string | readonly string[]][] = [
		['a sound file', file(MAGIC, PROTOCOL, system(0x88), object, keys('0'), storage(6, DATA)), ['a']],
		['another magic number', file(PROTOCOL, PROTOCOL, system(0x88), object, keys('0'), storage(6, DATA)), 'E_FORMAT'],
		['another protocol', file(MAGIC, [0x4b, 1, 0x2e], system(0x88), object, keys('0'), storage(6, DATA)), 'E_FORMAT'],
		['big-endian', file(MAGIC, PROTOCOL, system(0x89), object, keys('0'), storage(6, DATA)), 'E_BYTEORDER'],
		['a storage that is not in the file', file(MAGIC, PROTOCOL, system(0x88), object, keys()), 'E_PICKLE_TENSOR'],
		['a storage of unknown type', file(MAGIC, PROTOCOL, system(0x88), object, keys('0', '1'), storage(6, DATA)), 'E_PICKLE_TENSOR'],
		['a key twice', file(MAGIC, PROTOCOL, system(0x88), object, keys('0', '0'), storage(6, DATA)), 'E_PICKLE_CORRUPT'],
		['another count', file(MAGIC, PROTOCOL, system(0x88), object, keys('0'), storage(5, DATA)), 'E_PICKLE_TENSOR'],
		['cut short', file(MAGIC, PROTOCOL, system(0x88), object, keys('0'), storage(6, DATA.subarray(1))), 'E_TRUNCATED'],
		['cut before the count', file(MAGIC, PROTOCOL, system(0x88), object, keys('0'), [6]), 'E_TRUNCATED'],
		['cut inside a pickle', file(MAGIC, PROTOCOL, system(0x88), object.subarray(0, 30)), 'E_PICKLE_CORRUPT'],
		['os.system in the system information', file(MAGIC, PROTOCOL, pickle('cos\nsystem\n.')), 'E_PICKLE_GLOBAL'],
		['a plain pickle', dict([...uni('a'), 0x4b, 1]), 'E_FORMAT'],
		['nothing', new Uint8Array(0), 'E_FORMAT'],
	];
	it.each(cases)('%s', async (_, bytes, expected) => {
		expect(await names(bytes)).toEqual(expected);
	});

	it('fetches windows until a long pickle ends', async () => {
		const long = dict([...uni('pad'), ...uni('x'.repeat(300_000))], [...uni('a'), ...T]);
		expect(await names(file(MAGIC, PROTOCOL, system(0x88), long, keys('0'), storage(6, DATA)))).toEqual(['a']);
	});
});

describe('any bytes', () => {
	const folder = new URL('../../../../fixtures/torch/', import.meta.url);
	const seeds = ['protocol2.pt', 'deflated.pt', 'views.pt', 'legacy.bin', 'wrapper.ckpt'].map(
		(f) => new Uint8Array(readFileSync(new URL(f, folder))),
	);
	const survive = async (bytes: Uint8Array): Promise<void> => {
		for (const reader of [readTorchZip, readTorchLegacy]) {
			try {
				const state = await reader(bytesSource(bytes, 'f'));
				for (const tensor of state.tensors.values()) expect((await tensor.read()).byteLength).toBe(tensor.nbytes);
			} catch (error) {
				if (!(error instanceof FormatError)) throw error;
				expect(escapeControls(error.message)).toBe(error.message);
			}
		}
	};
	it('give tensors or a FormatError', async () => {
		await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), survive), { numRuns: 500 });
	});
	it('mutated real files too', async () => {
		const edit = fc.tuple(fc.nat(), fc.nat(255));
		await fc.assert(
			fc.asyncProperty(
				fc.constantFrom(...seeds),
				fc.array(edit, { minLength: 1, maxLength: 4 }),
				fc.option(fc.nat()),
				async (seed, edits, cut) => {
					const bytes = seed.slice();
					for (const [at, value] of edits) bytes[at % bytes.length] = value;
					await survive(cut === null ? bytes : bytes.slice(0, cut % bytes.length));
				},
			),
			{ numRuns: 800 },
		);
	});
	it('mutated pickles in a sound archive too', async () => {
		const pkl = dict([...uni('a'), ...T], [...uni('b'), ...tensorOf('0', 6, [3, 2], [1, 3])]);
		await fc.assert(
			fc.asyncProperty(fc.array(fc.tuple(fc.nat(pkl.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }), async (edits) => {
				const bytes = pkl.slice();
				for (const [at, value] of edits) bytes[at] = value;
				await survive(archive(bytes));
			}),
			{ numRuns: 800 },
		);
	});
});
