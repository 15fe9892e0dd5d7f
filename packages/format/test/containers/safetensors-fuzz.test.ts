import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { readSafetensors } from '../../src/containers/safetensors-read.js';
import { safetensorsBytes } from '../../src/containers/safetensors-write.js';
import { sniffContainer } from '../../src/containers/sniff.js';
import { DTYPES } from '../../src/dtype.js';
import { escapeControls, FormatError } from '../../src/errors.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';
import { entry, stFile } from './st-bytes.js';

const golden = new Uint8Array(readFileSync(new URL('../../../../fixtures/safetensors/names.safetensors', import.meta.url)));

/** Reads, and what was read covers the data exactly; or refuses. */
async function survives(bytes: Uint8Array, name: string): Promise<void> {
	try {
		await sniffContainer(bytesSource(bytes, name));
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
	}
	try {
		const dict = await readSafetensors(bytesSource(bytes, name));
		let sum = 0;
		for (const tensor of dict.tensors.values()) sum += (await tensor.read()).byteLength;
		expect(sum).toBe(bytes.byteLength - 8 - Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)));
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		expect(escapeControls(error.message)).toBe(error.message);
	}
}

describe('hostile bytes', () => {
	it('any bytes', async () => {
		await fc.assert(
			fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), (bytes) => survives(bytes, 'x.safetensors')),
			{ numRuns: 1500 },
		);
	});

	it('any JSON as a header', async () => {
		const header = fc.oneof(fc.json(), fc.string({ unit: fc.constantFrom(...'{}[]",:\\0123e-. un\u00e9\ud800') }));
		await fc.assert(
			fc.asyncProperty(header, fc.nat(20), (json, data) => survives(stFile(json, data), 'x.bin')),
			{ numRuns: 1500 },
		);
	});

	it('any entries', async () => {
		const number = fc.oneof(fc.nat(16), fc.constantFrom(-1, 2 ** 53 - 1, 2 ** 53, 1.5, 2 ** 32, 1e300));
		const one = fc.tuple(
			fc.constantFrom('a', 'b', '__metadata__', '\\u0061'),
			fc.constantFrom(...DTYPES, 'X'),
			fc.array(number, { maxLength: 3 }),
			number,
			number,
		);
		await fc.assert(
			fc.asyncProperty(fc.array(one, { maxLength: 4 }), fc.nat(32), (list, data) =>
				survives(
					stFile(`{${list.map(([n, d, s, b, e]) => entry('', d, s.join(), b, e).replace('""', `"${n}"`)).join()}}`, data),
					'x.safetensors',
				),
			),
			{ numRuns: 1500 },
		);
	});

	it('an entry as all write it and the same entry in another spelling say the same', async () => {
		const number = fc.oneof(
			fc.nat(4),
			fc.constantFrom('01', '-1', '1.0', '1e0', '', '999999999999999', '9007199254740991', '9007199254740992', '12345678901234567890'),
		);
		const one = fc.tuple(fc.constantFrom(...DTYPES, 'X', 'f32'), fc.array(number, { maxLength: 10 }), number, number);
		const read = async (json: string, size: number): Promise<unknown> => {
			try {
				const { tensors } = await readSafetensors(bytesSource(stFile(json, size)));
				return [...tensors].map(([n, t]) => [n, t.dtype, t.shape, t.nbytes]);
			} catch (error) {
				if (error instanceof FormatError) return error.code;
				throw error;
			}
		};
		await fc.assert(
			fc.asyncProperty(one, fc.nat(8), async ([d, s, b, e], size) => {
				const usual = `{"a":{"dtype":"${d}","shape":[${s.join()}],"data_offsets":[${b},${e}]}}`;
				expect(await read(usual.replace('"shape":', '"shape": '), size)).toEqual(await read(usual, size));
			}),
			{ numRuns: 3000 },
		);
	});

	it('any change to a real file', async () => {
		const change = fc.tuple(fc.nat(golden.byteLength - 1), fc.nat(255), fc.constantFrom('set', 'insert', 'delete', 'cut'));
		await fc.assert(
			fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
				const bytes = [...golden];
				for (const [at, value, how] of changes) {
					if (how === 'set') bytes[Math.min(at, bytes.length - 1)] = value;
					else if (how === 'insert') bytes.splice(at, 0, value);
					else if (how === 'delete') bytes.splice(at, 1);
					else bytes.length = Math.min(at, bytes.length);
				}
				return survives(Uint8Array.from(bytes), 'x.safetensors');
			}),
			{ numRuns: 1500 },
		);
	});

	it('what we write we read back', async () => {
		const text = fc.string({ unit: 'grapheme', maxLength: 12 });
		const tensor = fc.tuple(
			fc.constantFrom(...DTYPES.filter((d) => !d.startsWith('F4') && !d.startsWith('F6'))),
			fc.array(fc.nat(3), { maxLength: 3 }),
		);
		await fc.assert(
			fc.asyncProperty(
				fc.uniqueArray(fc.tuple(text, tensor), { selector: ([n]) => n, maxLength: 6 }),
				fc.uniqueArray(fc.tuple(text, text), { selector: ([k]) => k, maxLength: 4 }),
				async (list, metadata) => {
					const tensors = new Map<string, Tensor>();
					for (const [name, [dtype, shape]] of list) {
						const size = { BOOL: 1, C64: 8 }[dtype as string] ?? Math.max(1, Number(/(8|16|32|64)/.exec(dtype)?.[1] ?? 8) / 8);
						const n = shape.reduce((a, b) => a * b, 1) * size;
						tensors.set(
							name,
							bytesTensor(
								dtype,
								shape,
								Uint8Array.from({ length: n }, (_, i) => i * 37 + n),
							),
						);
					}
					const bytes = await safetensorsBytes(tensors, new Map(metadata));
					const dict = await readSafetensors(bytesSource(bytes));
					expect(new Map(dict.metadata)).toEqual(new Map(metadata));
					expect(dict.tensors.size).toBe(tensors.size);
					for (const [name, tensor] of tensors) expect(await dict.tensors.get(name)?.read()).toEqual(await tensor.read());
				},
			),
			{ numRuns: 400 },
		);
	});
});
