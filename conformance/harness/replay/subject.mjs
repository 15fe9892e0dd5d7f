#!/usr/bin/env node
// A subject that answers L5 and L6 with what was recorded: proves the judges where no runtime is at hand.
// node harness/replay/subject.mjs [--suite DIR] [--precision f32|f16|bf16] [--answer right|without|FAULT]
// right: the expectation. without: as if no adapter were there. FAULT: a code that the case has recorded outputs of.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { openStateDict, safetensorsBytes } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';

const option = (name, otherwise) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise);
const suite = path.resolve(option('--suite', fileURLToPath(new URL('../../cases', import.meta.url))));
const answer = option('--answer', 'right');

const cases = new Map();
for (const entry of readdirSync(suite, { recursive: true })) {
	if (!entry.endsWith('.json') || entry.startsWith('files') || entry === 'manifest.json') continue;
	for (const c of JSON.parse(readFileSync(path.join(suite, entry), 'utf8'))) cases.set(c.id, c);
}

async function recorded(file, code) {
	const { tensors } = await openStateDict(await openFileSource(path.join(suite, file)));
	const mine = new Map();
	for (const [name, tensor] of tensors) if (name.startsWith(`${code}/`)) mine.set(name.slice(code.length + 1), tensor);
	return mine;
}

async function respond({ op, case: id, out, png }) {
	const { expect } = cases.get(id);
	const file = op === 'forward' ? expect.outputs : expect.latents;
	if (answer === 'right' || answer === 'without') copyFileSync(path.join(suite, answer === 'right' ? file : expect.without), out);
	else {
		if (expect.faults === undefined) return { skipped: true, message: `nothing recorded of ${answer}` };
		const tensors = await recorded(expect.faults, answer);
		if (tensors.size === 0) return { skipped: true, message: `nothing recorded of ${answer}` };
		writeFileSync(out, await safetensorsBytes(tensors, new Map()));
	}
	if (op === 'image') copyFileSync(path.join(suite, expect.png), png);
	return { ok: true };
}

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	const { id, op } = request;
	if (op === 'stop') process.exit(0);
	const reply =
		op === 'start'
			? {
					protocol: 1,
					implementation: { name: `replay ${answer}`, version: '1' },
					precision: option('--precision', 'f32'),
					levels: ['L5', 'L6'],
				}
			: await respond(request).catch((error) => ({ error: { message: String(error) } }));
	process.stdout.write(`${JSON.stringify({ id, ...reply })}\n`);
}
