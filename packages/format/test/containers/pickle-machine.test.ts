import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runPickle } from '../../src/containers/pickle-machine.js';
import type { PyValue } from '../../src/containers/pickle-value.js';
import { escapeControls, FormatError } from '../../src/errors.js';
import { pickle, uni } from './pickle-bytes.js';
import { u16, u32 } from './zip-build.js';

/** Plain JavaScript for comparison: floats as ['f', x], tuples as ['t', ...], dicts as [['k', v], ...] under `d`. */
function plain(value: PyValue): unknown {
	if (typeof value !== 'object' || value === null) return value;
	switch (value.t) {
		case 'float':
			return ['f', value.value];
		case 'bytes':
			return ['b', ...value.bytes];
		case 'list':
			return value.items.map(plain);
		case 'tuple':
			return ['t', ...value.items.map(plain)];
		case 'set':
			return ['s', ...value.items.map(plain)];
		case 'dict':
			return { [value.type]: [...(value.entries?.values() ?? [])].map((e) => [plain(e.key), plain(e.value)]) };
		case 'global':
			return `${value.module}.${value.name}`;
		case 'opaque':
			return value.text;
		default:
			return value.t;
	}
}

function run(bytes: Uint8Array): unknown {
	try {
		return plain(runPickle(bytes, 0, { what: 'p', persistentLoad: () => 'loaded' }).value);
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		expect(escapeControls(error.message)).toBe(error.message);
		return error.code;
	}
}

// Expected values: what CPython's pickle.loads gives for the same bytes.
const good: readonly [string, Uint8Array, unknown][] = [
	['None, True, False in a tuple', pickle(0x80, 2, 'N', 0x88, 0x89, 0x87, '.'), ['t', null, true, false]],
	['BININT is signed', pickle('J', u32(-5), '.'), -5],
	['BININT1 and BININT2 are not', pickle('K', 255, 'M', u16(65535), 0x86, '.'), ['t', 255, 65535]],
	['LONG1 is signed', pickle(0x8a, 1, 0xff, '.'), -1],
	['LONG1 of no bytes', pickle(0x8a, 0, '.'), 0],
	['LONG1 beyond 2^53 stays exact', pickle(0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, '.'), 18446744073709551616n],
	['LONG1 of eight bytes within 2^53', pickle(0x8a, 8, 255, 255, 255, 255, 255, 255, 31, 0, '.'), Number.MAX_SAFE_INTEGER],
	['LONG4', pickle(0x8b, u32(2), 0, 0x80, '.'), -32768],
	['BINFLOAT is big-endian', pickle('G', 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, '.'), ['f', 1.5]],
	['text of every length opcode', pickle(uni('é'), 0x8c, 1, 'b', 0x8d, u32(1), u32(0), 'c', 0x87, '.'), ['t', 'é', 'b', 'c']],
	['a byte order mark stays', pickle(uni('\ufeffa'), '.'), '\ufeffa'],
	['bytes of every kind', pickle('B', u32(1), 1, 'C', 1, 2, 0x8e, u32(1), u32(0), 3, 0x87, '.'), ['t', ['b', 1], ['b', 2], ['b', 3]]],
	['bytearray of protocol 5', pickle(0x96, u32(1), u32(0), 7, '.'), ['b', 7]],
	['a list with APPEND and APPENDS', pickle(']K', 1, 'a(K', 2, 'K', 3, 'e.'), [1, 2, 3]],
	[
		'a dict keeps int 1 and str "1" apart',
		pickle('}(K', 1, 'K', 8, uni('1'), 'K', 9, 'u.'),
		{
			dict: [
				[1, 8],
				['1', 9],
			],
		},
	],
	['a dict takes 1, 1.0 and True as one', pickle('}K', 1, 'K', 8, 's', 0x88, 'K', 9, 's.'), { dict: [[1, 9]] }],
	['__proto__ is a key', pickle('}', uni('__proto__'), 'K', 1, 's.'), { dict: [['__proto__', 1]] }],
	['a set, a frozenset', pickle(0x8f, '(K', 1, 0x90, '(K', 2, 0x91, 0x86, '.'), ['t', ['s', 1], ['s', 2]]],
	['memo by BINPUT, MEMOIZE and both GETs', pickle('K', 7, 'q', 0, 0x94, '0h', 0, 'j', u32(1), 0x86, '.'), ['t', 7, 7]],
	['DUP, POP, POP_MARK', pickle('K', 1, '2K', 2, '0(K', 3, '1', 0x86, '.'), ['t', 1, 1]],
	['POP of a bare mark', pickle('K', 1, '(0.'), 1],
	['protocol 0', pickle('(lp0\nI1\naI01\naL5L\naF1.5\naS"a\\x41\\n"\naVb\\u00e9\na.'), [1, true, 5, ['f', 1.5], 'aA\n', 'bé']],
	['protocol 0 dict and tuple', pickle('(dp0\nS"k"\n(I1\nI2\nts.'), { dict: [['k', ['t', 1, 2]]] }],
	['Python 2 strings', pickle('U', 1, 'a', 'T', u32(1), 'b', 0x86, '.'), ['t', 'a', 'b']],
	['FRAME', pickle(0x80, 4, 0x95, u32(3), u32(0), 'K', 1, '.'), 1],
	['OrderedDict', pickle('ccollections\nOrderedDict\n)R', uni('a'), 'K', 1, 's.'), { OrderedDict: [['a', 1]] }],
	['OrderedDict of pairs', pickle('ccollections\nOrderedDict\n](K', 1, 'K', 2, 0x86, 'e', 0x85, 'R.'), { OrderedDict: [[1, 2]] }],
	['Counter', pickle('ccollections\nCounter\n}K', 1, 'K', 2, 's', 0x85, 'R.'), { Counter: [[1, 2]] }],
	['STACK_GLOBAL', pickle(uni('torch'), uni('float16'), 0x93, '.'), 'torch.float16'],
	['bytes as protocol 2 spells them', pickle('c_codecs\nencode\n', uni('\u00ff'), uni('latin1'), 0x86, 'R.'), ['b', 255]],
	['NEWOBJ of a dict class', pickle('ccollections\nOrderedDict\n)', 0x81, '.'), { OrderedDict: [] }],
	['torch.Size', pickle('ctorch\nSize\n(K', 2, 'K', 3, 't', 0x85, 'R.'), ['t', 2, 3]],
	['an inert numpy number', pickle('cnumpy.core.multiarray\nscalar\n)R.'), 'instance of numpy.core.multiarray.scalar'],
	['a persistent id', pickle('K', 1, 'Q.'), 'loaded'],
];

// One lie each.
const bad: readonly [string, string, Uint8Array][] = [
	['os.system', 'E_PICKLE_GLOBAL', pickle('cos\nsystem\n', uni('true'), 0x85, 'R.')],
	['STACK_GLOBAL of eval', 'E_PICKLE_GLOBAL', pickle(uni('builtins'), uni('eval'), 0x93, '.')],
	['INST', 'E_PICKLE_GLOBAL', pickle('(ios\nsystem\n.')],
	['INST of an allowed class', 'E_PICKLE_OPCODE', pickle('(icollections\nOrderedDict\n.')],
	['OBJ', 'E_PICKLE_OPCODE', pickle('(ccollections\nOrderedDict\no.')],
	['a dotted name below an allowed class', 'E_PICKLE_GLOBAL', pickle(uni('torch'), uni('Size.__new__'), 0x93, '.')],
	['a carriage return in a name', 'E_PICKLE_GLOBAL', pickle('ccollections\r\nOrderedDict\n.')],
	['a newline that joins module and name', 'E_PICKLE_GLOBAL', pickle(uni('torch\nSize'), uni(''), 0x93, '.')],
	['__proto__ as a module', 'E_PICKLE_GLOBAL', pickle('c__proto__\nconstructor\n.')],
	['constructor as a name', 'E_PICKLE_GLOBAL', pickle('ctorch\nconstructor\n.')],
	['_codecs.encode with another codec', 'E_PICKLE_GLOBAL', pickle('c_codecs\nencode\n', uni('a'), uni('rot13'), 0x86, 'R.')],
	['a control sequence in a name', 'E_PICKLE_GLOBAL', pickle('c\u001b[31m\nx\n.')],
	['a sparse tensor', 'E_UNSUPPORTED_TENSOR', pickle('ctorch._utils\n_rebuild_sparse_tensor\n.')],
	['REDUCE of a string', 'E_PICKLE_OPCODE', pickle(uni('a'), ')R.')],
	['REDUCE with a list', 'E_PICKLE_CORRUPT', pickle('ccollections\nOrderedDict\n]R.')],
	['a call of list', 'E_PICKLE_OPCODE', pickle('cbuiltins\nlist\n)R.')],
	['BUILD on a list', 'E_PICKLE_OPCODE', pickle(']}b.')],
	['SETITEM on a list', 'E_PICKLE_OPCODE', pickle(']K', 1, 'K', 2, 's.')],
	['APPEND to a dict', 'E_PICKLE_OPCODE', pickle('}K', 1, 'a.')],
	['a list as a key', 'E_PICKLE_CORRUPT', pickle('}]K', 1, 's.')],
	['SETITEMS of three values', 'E_PICKLE_CORRUPT', pickle('}(K', 1, 'K', 2, 'K', 3, 'u.')],
	['EXT1', 'E_PICKLE_OPCODE', pickle(0x82, 1, '.')],
	['an unknown opcode', 'E_PICKLE_OPCODE', pickle(0xfe, '.')],
	['protocol 6', 'E_PICKLE_OPCODE', pickle(0x80, 6, 'N.')],
	['out-of-band buffers', 'E_PICKLE_OPCODE', pickle(0x97, '.')],
	['a text persistent id', 'E_PICKLE_PERSID', pickle('Px\n.')],
	['nothing', 'E_PICKLE_CORRUPT', pickle()],
	['STOP alone', 'E_PICKLE_CORRUPT', pickle('.')],
	['no STOP', 'E_PICKLE_CORRUPT', pickle('N')],
	['a value below a mark', 'E_PICKLE_CORRUPT', pickle('K', 1, '(', 0x85, '.')],
	['a mark that was never set', 'E_PICKLE_CORRUPT', pickle('t.')],
	['a memo slot that was never set', 'E_PICKLE_CORRUPT', pickle('h', 0, '.')],
	['a negative BINSTRING', 'E_PICKLE_CORRUPT', pickle('T', u32(-5), '.')],
	['BINBYTES of -5, which loops pickleparser', 'E_PICKLE_CORRUPT', pickle(0x80, 3, 'B', u32(-5), '.')],
	['a negative LONG4', 'E_PICKLE_CORRUPT', pickle(0x8b, u32(-1), '.')],
	['a LONG4 longer than the file', 'E_PICKLE_CORRUPT', pickle(0x8b, u32(0x7fffffff), '.')],
	['a LONG4 of 5,000 bytes', 'E_LIMIT', pickle(0x8b, u32(5000), new Array(5000).fill(1), '.')],
	['a text of 2^63 bytes', 'E_PICKLE_CORRUPT', pickle(0x8d, u32(0), u32(0x80000000), '.')],
	['a frame longer than the file', 'E_PICKLE_CORRUPT', pickle(0x95, u32(9), u32(0), 'N.')],
	['bytes that are no UTF-8', 'E_PICKLE_CORRUPT', pickle('X', u32(1), 0xff, '.')],
	['a lone surrogate', 'E_PICKLE_CORRUPT', pickle('X', u32(3), 0xed, 0xa0, 0x80, '.')],
	['an integer that is none', 'E_PICKLE_CORRUPT', pickle('I1x\n.')],
	['an integer of 5,000 digits', 'E_LIMIT', pickle('L', new Array(5000).fill(0x31), 'L\n.')],
	['200,000 marks', 'E_LIMIT', pickle(new Array(200_000).fill(0x28), '.')],
];

describe('runPickle', () => {
	it.each(good)('%s', (_, bytes, expected) => {
		expect(run(bytes)).toEqual(expected);
	});

	it.each(bad)('refuses: %s', (_, code, bytes) => {
		expect(run(bytes)).toBe(code);
	});

	it('says where the pickle ends, which keys came twice and which classes stayed names', () => {
		const bytes = pickle('}', uni('a'), 'K', 1, 's', uni('a'), 'K', 2, 's', uni('b'), 'cnumpy\ndtype\ns.', 1, 2, 3);
		const result = runPickle(bytes, 0, { what: 'p', persistentLoad: () => null });
		expect([result.end, result.duplicateKeys, result.opaque]).toEqual([bytes.length - 3, ['a'], ['numpy.dtype']]);
	});

	it('gives a value or a FormatError for any bytes', () => {
		const ops = '().012NRabdeghjlopqrstu}]MJKGXQcSIVLF'.split('').map((c) => c.charCodeAt(0));
		const byte = fc.oneof(fc.constantFrom(...ops), fc.integer({ min: 0x80, max: 0x98 }), fc.nat(255));
		fc.assert(
			fc.property(fc.array(byte, { maxLength: 60 }), (bytes) => {
				run(Uint8Array.from(bytes));
			}),
			{ numRuns: 5000 },
		);
	});
});
