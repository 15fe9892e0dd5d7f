// Writes torch files of every dtype, shape and top object for scripts/interop/torch_open.py.
// Usage: node scripts/interop/torch_write.mjs DIR   (after npm run build; LORAKIT_LIB names another build)
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const at = (path) => new URL(`../../packages/format/dist/${path}`, import.meta.url).href;
const only = process.env.LORAKIT_LIB;
const { planTorchZip } = await import(only ?? at('containers/torch-write.js'));
const { bytesTensor } = await import(only ?? at('tensor.js'));

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const WIDTHS = { F32: 4, F16: 2, BF16: 2, F64: 8, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1, C64: 8, U16: 2, U32: 4, U64: 8 };
for (const name of ['F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ', 'F8_E8M0']) WIDTHS[name] = 1;
const SHAPES = [[], [0], [3, 0, 2], [1], [7], [2, 3], [1, 2, 3, 4, 5], [300], [70_000]];

/** Every bit pattern comes up, NaN payloads too; bool only 0 and 1. */
function bytes(dtype, count) {
	const out = new Uint8Array(count);
	for (let k = 0; k < count; k++) out[k] = dtype === 'BOOL' ? k % 2 : (k * 37 + 11) % 256;
	return out;
}
const make = (dtype, shape) => {
	const count = shape.reduce((a, b) => a * b, 1);
	return bytesTensor(dtype, shape, bytes(dtype, dtype === 'F4' ? count / 2 : count * WIDTHS[dtype]));
};

const files = new Map();
for (const dtype of Object.keys(WIDTHS))
	files.set(`${dtype}.pt`, ['dict', new Map(SHAPES.map((s) => [`x.${s.join('_')}`, make(dtype, s)]))]);
files.set('F4.pt', ['dict', new Map([['x', make('F4', [4, 6])]])]);
files.set('list.pt', ['list', new Map([...Array(300).keys()].map((k) => [String(k), make('F16', [4, (k % 5) + 1])]))]);
files.set('names.pt', [
	'dict',
	new Map(['__proto__', '', 'a b', '<s1>', 'é🙂', 'x'.repeat(1000), 'a.b.c'].map((n) => [n, make('F32', [2])])),
]);
files.set('empty.pt', ['dict', new Map()]);
files.set('empty-list.pt', ['list', new Map()]);
files.set('many.pt', ['dict', new Map([...Array(70_000).keys()].map((k) => [`t${k}`, make('U8', [1])]))]);

const expected = {};
for (const [name, [top, tensors]] of files) {
	const plan = planTorchZip(tensors, { top, rootName: name.slice(0, -3) });
	const parts = [];
	await plan.write({ write: (part) => void parts.push(part.slice()) });
	const file = Buffer.concat(parts);
	if (file.length !== plan.totalBytes) throw new Error(`${name}: ${file.length} bytes written, ${plan.totalBytes} planned`);
	writeFileSync(join(folder, name), file);
	// As pairs of JSON text: `__proto__` and numbers as keys of an object would not keep their places.
	const entries = [];
	for (const [key, t] of tensors) {
		const sha256 = createHash('sha256')
			.update(await t.read())
			.digest('hex');
		entries.push(`${JSON.stringify(key)}:${JSON.stringify({ dtype: t.dtype, shape: t.shape, sha256 })}`);
	}
	expected[name] = { top, tensors: `{${entries.join(',')}}` };
}
const text = Object.entries(expected).map(([name, e]) => `${JSON.stringify(name)}:{"top":"${e.top}","tensors":${e.tensors}}`);
writeFileSync(join(folder, 'expected.json'), `{${text.join(',\n')}}`);
console.log(`${files.size} files in ${folder}`);
