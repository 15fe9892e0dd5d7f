import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const TINY_SHAPES: string = path.join(here, '../../../../fixtures/runtime/tiny-shapes');
export const MODULES: string = path.join(here, '../../../../fixtures/modules');

/** A tensor as it is in a file. */
export interface Raw {
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly bytes: Uint8Array;
}

/** A safetensors file taken apart here, without the code under test. */
export function readRaw(file: string): Map<string, Raw> {
	const bytes = fs.readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
		string,
		{ dtype: string; shape: number[]; data_offsets: [number, number] }
	>;
	const out = new Map<string, Raw>();
	for (const [name, { dtype, shape, data_offsets: at }] of Object.entries(header)) {
		if (name === '__metadata__') continue;
		out.set(name, { dtype, shape, bytes: new Uint8Array(bytes.subarray(8 + length + at[0], 8 + length + at[1])) });
	}
	return out;
}

/** A safetensors file put together here. */
export function rawFile(tensors: ReadonlyMap<string, Raw>): Uint8Array {
	const header: Record<string, unknown> = {};
	let at = 0;
	for (const [name, { dtype, shape, bytes }] of tensors) {
		header[name] = { dtype, shape, data_offsets: [at, at + bytes.byteLength] };
		at += bytes.byteLength;
	}
	const text = Buffer.from(JSON.stringify(header));
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(text.byteLength));
	return new Uint8Array(Buffer.concat([size, text, ...Array.from(tensors.values(), ({ bytes }) => bytes)]));
}

/** Values by the definition of binary16, bfloat16 and binary32. */
export function valuesOf({ dtype, bytes }: Raw): Float32Array {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const out: number[] = [];
	if (dtype === 'F32') for (let i = 0; i < bytes.byteLength; i += 4) out.push(view.getFloat32(i, true));
	else if (dtype === 'F64') for (let i = 0; i < bytes.byteLength; i += 8) out.push(Math.fround(view.getFloat64(i, true)));
	else
		for (let i = 0; i < bytes.byteLength; i += 2) {
			const word = view.getUint16(i, true);
			const [bits, bias] = dtype === 'F16' ? [10, 15] : [7, 127];
			const exponent = (word & 0x7fff) >> bits;
			const fraction = (word & ((1 << bits) - 1)) / 2 ** bits;
			const magnitude = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
			out.push(word & 0x8000 ? -magnitude : magnitude);
		}
	return Float32Array.from(out);
}

/** The same bits. (vitest's own comparison takes minutes for millions of numbers.) */
export function same(a: Uint8Array | Float32Array, b: Uint8Array | Float32Array): boolean {
	return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
}

export function sha256(bytes: Uint8Array): string {
	return createHash('sha256').update(bytes).digest('hex');
}

/** One tensor of a checkpoint that diffusers' converter made: see make-ldm-names.py. */
export interface LdmRow {
	readonly name: string;
	readonly shape: readonly number[];
	readonly sources: readonly { readonly component: string; readonly name: string; readonly transposed: boolean }[];
	readonly sha256: string | undefined;
}

export function ldmRows(base: string): readonly LdmRow[] {
	const text = fs.readFileSync(path.join(here, 'data', `ldm-${base}.tsv`), 'utf8');
	return text
		.trimEnd()
		.split('\n')
		.map((line) => {
			const [name = '', shape = '', sources = '', hash] = line.split('\t');
			return {
				name,
				shape: shape.split(',').map(Number),
				sources: sources.split('+').map((source) => {
					const [component = '', own = ''] = source.replace(/^T/, '').split(':');
					return { component, name: own, transposed: source.startsWith('T') };
				}),
				sha256: hash,
			};
		});
}

/** A folder that is a copy of tiny-shapes, to be changed. */
export function copyOfTinyShapes(to: string): string {
	fs.cpSync(TINY_SHAPES, to, { recursive: true });
	return to;
}

/** Change a JSON file. `undefined` takes a key away. */
export function editJson(file: string, change: Readonly<Record<string, unknown>>): void {
	const json = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
	fs.writeFileSync(file, JSON.stringify({ ...json, ...change }));
}
