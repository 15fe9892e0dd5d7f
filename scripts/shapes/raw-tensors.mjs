import { readFileSync } from 'node:fs';

/** Names and bytes of a safetensors file, by the file format alone. */
export function rawTensors(file) {
	const bytes = readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const { __metadata__: _, ...header } = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
	return new Map(
		Object.entries(header).map(
			([
				name,
				{
					dtype,
					shape,
					data_offsets: [from, to],
				},
			]) => [name, { dtype, shape, bytes: bytes.subarray(8 + length + from, 8 + length + to) }],
		),
	);
}

/** Each half is the nearest of the float: no neighbouring half is nearer. (PEFT's side compares with torch's own rounding.) */
export function sameHalves(halves, floats) {
	if (halves.length * 2 !== floats.length) return false;
	for (let i = 0; i < halves.length / 2; i++) {
		const bits = halves.readUInt16LE(2 * i);
		const x = floats.readFloatLE(4 * i);
		const off = Math.abs(half(bits) - x);
		if (Math.abs(half(bits + 1) - x) < off || (bits & 0x7fff && Math.abs(half(bits - 1) - x) < off)) return false;
	}
	return true;
}

function half(bits) {
	const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
	return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
