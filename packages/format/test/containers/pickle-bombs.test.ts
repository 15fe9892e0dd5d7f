import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { readTorchZip } from '../../src/containers/torch-zip.js';
import { FormatError } from '../../src/errors.js';
import type { StateDict } from '../../src/state-dict.js';
import { pickle, tensorOf, uni } from './pickle-bytes.js';
import { buildZip, text, u32 } from './zip-build.js';

// Files of some kilobytes that describe gigabytes or hours: what is remembered once can be asked for again and again.

const DATA = new Uint8Array(Float32Array.from([1, 2, 3, 4]).buffer);
const T = tensorOf('0', 4, [2, 2], [2, 1]);
const MEGABYTE = 1_000_000;

type Part = string | number | readonly number[];

/** `parts` many times over. */
function times(n: number, ...parts: readonly Part[]): Uint8Array {
	const one = pickle(...parts);
	const out = new Uint8Array(n * one.byteLength);
	for (let k = 0; k < n; k++) out.set(one, k * one.byteLength);
	return out;
}

function join(...parts: readonly (Uint8Array | readonly Part[])[]): Uint8Array {
	const bytes = parts.map((p) => (p instanceof Uint8Array ? p : pickle(...p)));
	const out = new Uint8Array(bytes.reduce((n, b) => n + b.byteLength, 0));
	let at = 0;
	for (const b of bytes) {
		out.set(b, at);
		at += b.byteLength;
	}
	return out;
}

/** BINUNICODE of a long text of one letter. */
function long(letter: string, n: number): Uint8Array {
	return join(['X', u32(n)], new Uint8Array(n).fill(letter.charCodeAt(0)));
}

const put = (n: number): readonly Part[] => ['q', n];
const get = (n: number): readonly Part[] => ['h', n];
/** `{"a": tensor, "x": [ … ]}`. */
const beside = (...inner: readonly (Uint8Array | readonly Part[])[]): Uint8Array =>
	join(['}(', uni('a'), T, uni('x'), ']('], ...inner, ['eu.']);

async function read(pkl: Uint8Array): Promise<StateDict | string> {
	const zip = buildZip([
		{ name: 'x/data.pkl', data: pkl },
		{ name: 'x/data/0', data: DATA },
	]);
	try {
		return await readTorchZip(bytesSource(zip, 'f'));
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		expect(error.message.length).toBeLessThan(600);
		return error.code;
	}
}

const bombs: readonly [string, Uint8Array][] = [
	['one tensor under 2^20 names', join([0x80, 2, T], times(20, '2', 0x86), ['.'])],
	[
		'a key of a megabyte above a thousand tensors',
		join(long('K', MEGABYTE), [...put(0), '0}', ...get(0), '}('], ...Array.from({ length: 1000 }, (_, k) => [uni(`t${k}`), T]), [
			'us',
			uni('z'),
			T,
			's.',
		]),
	],
	[
		'a key of a megabyte thirty times nested',
		join(
			long('K', MEGABYTE),
			[...put(0), '0}'],
			times(30, ...get(0), '}'),
			['('],
			...Array.from({ length: 50 }, (_, k) => [uni(`t${k}`), T]),
			['u'],
			times(30, 's'),
			['.'],
		),
	],
	[
		'a long list copied into sets',
		join([']('], times(2000, 'N'), ['e', ...put(0), '0'], beside(times(5000, 'cbuiltins\nset\n', ...get(0), 0x85, 'R'))),
	],
	[
		'a long tuple copied into sizes',
		join(['('], times(2000, 'K', 1), ['t', ...put(0), '0'], beside(times(5000, 'ctorch\nSize\n', ...get(0), 0x85, 'R'))),
	],
	[
		'a dict copied into ordered dicts',
		join(
			['}('],
			...Array.from({ length: 2000 }, (_, k) => ['J', u32(k), 'N']),
			['u', ...put(0), '0'],
			beside(times(5000, 'ccollections\nOrderedDict\n', ...get(0), 0x85, 'R')),
		),
	],
	[
		'a text made into bytes a thousand times',
		join(
			long('y', MEGABYTE),
			[...put(0), '0', uni('latin1'), ...put(1), '0'],
			beside(times(1000, 'c_codecs\nencode\n', ...get(0), ...get(1), 0x86, 'R')),
		),
	],
	[
		'a key of a megabyte set again and again',
		join(long('y', MEGABYTE), [...put(0), '0}(', uni('a'), T, uni('x'), '}('], times(100_000, ...get(0), 'N'), ['uu.']),
	],
	[
		'attributes set again and again',
		join(
			['}('],
			...Array.from({ length: 5000 }, (_, k) => ['J', u32(k), 'N']),
			['u', ...put(0), '0'],
			beside(['ccollections\nOrderedDict\n)R'], times(2000, ...get(0), 'b')),
		),
	],
	[
		'a shared dict of many values below many keys',
		join(
			['}(', uni('t'), T],
			...Array.from({ length: 20_000 }, (_, k) => ['J', u32(k), 'N']),
			['u', ...put(0), '0}('],
			...Array.from({ length: 1000 }, (_, k) => ['J', u32(k), ...get(0)]),
			['u.'],
		),
	],
];

describe('small pickles that would grow without end', () => {
	it.each(bombs)('%s', async (_, bytes) => {
		expect(await read(bytes)).toBe('E_LIMIT');
	});

	it('a dict of flags shared by all tensors', async () => {
		const flags = join(['}('], ...Array.from({ length: 100 }, (_, k) => ['J', u32(k), 0x89]), ['u']);
		const tensor = [
			...text('ctorch._utils\n_rebuild_tensor_v2\n('),
			...[0x28, ...uni('storage'), ...text('ctorch\nFloatStorage\n'), ...uni('0'), ...uni('cpu'), 0x4b, 4, 0x74, 0x51],
			...[0x4b, 0, 0x4b, 4, 0x85, 0x4b, 1, 0x85, 0x89, 0x4e],
		];
		expect(await read(join(['}', uni('a'), tensor], flags, ['tRs.']))).toBe('E_PICKLE_TENSOR');
	});

	it('cuts a device and a path of a megabyte', async () => {
		const dict = await read(
			join(long('y', MEGABYTE), [
				...put(0),
				'0}(',
				...get(0),
				'}(',
				uni('d'),
				'ctorch\ndevice\n',
				...get(0),
				0x85,
				'R',
				uni('a'),
				T,
				'u',
				uni('b'),
				T,
				'u.',
			]),
		);
		expect(typeof dict === 'string' ? dict : dict.nonTensors.map(({ path, description }) => [path.length, description])).toEqual([
			// 1,000 characters, "...", ".d"
			[1005, `torch.device ${'y'.repeat(24)}...`],
		]);
	});

	it('gives tied weights their names', async () => {
		const names = Array.from({ length: 40 }, (_, k) => [uni(`t${k}`), ...get(0)]);
		const dict = await read(join([T, ...put(0), '0}('], ...names, ['u.']));
		expect(typeof dict === 'string' ? dict : dict.tensors.size).toBe(40);
	});
});

describe('dict keys are equal where Python says so', () => {
	// Computed with CPython 3.11: {1.0: .., 1: .., True: .., 2**60: .., float(2**60): .., b"k": .., b"k": ..} has 3 keys.
	it('1 == 1.0 == True, 2^60 == 2.0^60, bytes by value, text never equals bytes', async () => {
		const two60 = [0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 0x10];
		const float60 = ['G', 0x43, 0xb0, 0, 0, 0, 0, 0, 0] as const;
		const dict = await read(
			join([
				'}(',
				'G',
				0x3f,
				0xf0,
				0,
				0,
				0,
				0,
				0,
				0,
				'N',
				'K',
				1,
				'N',
				0x88,
				'N',
				two60,
				'N',
				...float60,
				'N',
				'C',
				1,
				'k',
				'N',
				'C',
				1,
				'k',
				'N',
				uni('k'),
				T,
				'u.',
			]),
		);
		if (typeof dict === 'string') throw new Error(dict);
		expect([...dict.tensors.keys()]).toEqual(['k']);
		expect(dict.nonTensors.length).toBe(3);
		expect(dict.warnings.map((w) => w.code)).toContain('W_DUPLICATE_KEY');
	});
});
