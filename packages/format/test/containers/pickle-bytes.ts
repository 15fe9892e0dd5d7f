import { text, u32 } from './zip-build.js';

/** A pickle written by hand: strings are opcodes as ASCII (with `\n` where Python has them), numbers are bytes. */
export function pickle(...parts: readonly (string | number | readonly number[])[]): Uint8Array {
	return Uint8Array.from(parts.flatMap((p) => (typeof p === 'string' ? text(p) : typeof p === 'number' ? [p] : [...p])));
}

/** BINUNICODE. */
export function uni(value: string): number[] {
	const bytes = text(value);
	return [0x58, ...u32(bytes.length), ...bytes];
}

/** A float32 tensor over a storage of the file: literal opcodes of `_rebuild_tensor_v2`. */
export function tensorOf(
	key: string,
	numel: number,
	size: readonly number[],
	stride: readonly number[],
	offset = 0,
	storage = 'FloatStorage',
): number[] {
	const ints = (values: readonly number[]): number[] => [0x28, ...values.flatMap((v) => [0x4a, ...u32(v)]), 0x74];
	return [
		...text('ctorch._utils\n_rebuild_tensor_v2\n('),
		...[0x28, ...uni('storage'), ...text(`ctorch\n${storage}\n`), ...uni(key), ...uni('cpu'), 0x4a, ...u32(numel), 0x74, 0x51],
		...[0x4a, ...u32(offset), ...ints(size), ...ints(stride), 0x89],
		...text('ccollections\nOrderedDict\n)RtR'),
	];
}
