// A subject of L6 that never applies the adapter: the latents recorded without it, and a picture of the same base without it.
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SUITE = fileURLToPath(new URL('../../cases', import.meta.url));
const PLAIN = { shapes: 'L6/shapes/base-dpm20-0', 'tiny-sd': 'L6/tiny-sd/base-dpm20-g7.5' };

const cases = new Map();
for (const name of readdirSync(path.join(SUITE, 'images'), { recursive: true })) {
	if (name.endsWith('.json')) for (const c of JSON.parse(readFileSync(path.join(SUITE, 'images', name), 'utf8'))) cases.set(c.id, c);
}

for await (const line of createInterface({ input: process.stdin })) {
	const { id, op, case: name, out, png } = JSON.parse(line);
	if (op === 'stop') break;
	let answer = { protocol: 1, implementation: { name: '<b>"plain" & proud</b>', version: '1.0' }, precision: 'f32', levels: ['L6'] };
	if (op === 'image') {
		copyFileSync(path.join(SUITE, cases.get(name).expect.without), out);
		copyFileSync(path.join(SUITE, cases.get(PLAIN[name.split('/')[1]]).expect.png), png);
		answer = { ok: true };
	}
	process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}
