// node join.mjs FOLDER OUT: the weights of every component folder into one safetensors file, names as `component.name`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const [folder, out] = process.argv.slice(2);
const header = {};
const parts = [];
let at = 0;
for (const component of readdirSync(folder).sort()) {
	const inside = path.join(folder, component);
	for (const name of readdirSync(inside).filter((n) => n.endsWith('.safetensors'))) {
		const bytes = readFileSync(path.join(inside, name));
		const size = Number(bytes.readBigUInt64LE());
		const own = JSON.parse(bytes.subarray(8, 8 + size).toString());
		const data = bytes.subarray(8 + size);
		for (const [key, info] of Object.entries(own)) {
			if (key === '__metadata__') continue;
			header[`${component}.${key}`] = { ...info, data_offsets: info.data_offsets.map((o) => o + at) };
		}
		parts.push(data);
		at += data.byteLength;
	}
}
const text = Buffer.from(JSON.stringify(header));
const size = Buffer.alloc(8);
size.writeBigUInt64LE(BigInt(text.byteLength));
writeFileSync(out, Buffer.concat([size, text, ...parts]));
