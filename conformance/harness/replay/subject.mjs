#!/usr/bin/env node
// A subject that answers L5 and L6 with what was recorded: proves the judges where no runtime is at hand.
// node harness/replay/subject.mjs [--suite DIR] [--precision f32|f16|bf16] [--levels L5,L6] [--answer right|without|FAULT]
// right: the expectation. without: as if no adapter were there. FAULT: a code of DIAGNOSES.md that the suite has wrong
// outputs of: where a case has them they are laid over the right ones, which stay where nothing was recorded (earlier
// steps, later tokens); where a case has those of other faults, this one changes nothing; other cases are skipped.
// Of single layers nothing was recorded: their output is linear in what the adapter adds, and follows from the fault.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { openStateDict } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';

const option = (name, otherwise) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise);
const suite = path.resolve(option('--suite', fileURLToPath(new URL('../../cases', import.meta.url))));
const answer = option('--answer', 'right');
const levels = option('--levels', 'L5,L6').split(',');

const cases = new Map();
for (const entry of readdirSync(suite, { recursive: true })) {
	if (!entry.endsWith('.json') || entry.startsWith('files') || entry === 'manifest.json') continue;
	for (const c of JSON.parse(readFileSync(path.join(suite, entry), 'utf8'))) cases.set(c.id, c);
}

/** What a fault makes of a layer's part of the adapter, where that is a factor: (key, shape of the weight, strength). */
const unet = (key) => key.startsWith('unet.');
const gone = (when) => (key, kernel) => (when(key, kernel) ? 0 : 1);
const FACTORS = {
	'applied-twice': () => 2,
	'sign-flipped': () => -1,
	'user-scale-ignored': (_key, _kernel, strength) => 1 / strength,
	'user-scale-squared': (_key, _kernel, strength) => strength,
	'text-encoder-dropped': gone((key) => !unet(key)),
	'unet-dropped': gone(unet),
	'block-dropped': gone((key) => key.startsWith('unet.up_blocks.1.')),
	'mid-block-dropped': gone((key) => key.startsWith('unet.mid_block.')),
	'conv-ignored': gone((_key, kernel) => kernel > 0),
	'conv3x3-ignored': gone((_key, kernel) => kernel > 1),
	'to-out-dropped': gone((key) => key.includes('to_out.0')),
	'cross-attention-only': gone((key) => unet(key) && !key.includes('attn2')),
	'ff-dropped': gone((key) => /\.(ff|mlp)\./.test(key)),
};

/** name -> { shape, values } of a file of F32 and F64. */
async function read(file) {
	const { tensors } = await openStateDict(await openFileSource(path.join(suite, file)));
	const out = new Map();
	for (const [name, tensor] of tensors) {
		const bytes = (await tensor.read()).slice();
		const values = tensor.dtype === 'F64' ? new Float64Array(bytes.buffer) : Float64Array.from(new Float32Array(bytes.buffer));
		out.set(name, { shape: tensor.shape, values });
	}
	return out;
}

function write(file, tensors) {
	const header = {};
	const data = [];
	let at = 0;
	for (const [name, { shape, values }] of tensors) {
		const bytes = Buffer.from(Float32Array.from(values).buffer);
		header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] };
		at += bytes.length;
		data.push(bytes);
	}
	const text = Buffer.from(JSON.stringify(header));
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(text.length));
	writeFileSync(file, Buffer.concat([size, text, ...data]));
}

/** Right outputs with the recorded wrong ones laid over: an output's first values, the last ones of latents. */
async function wrong({ expect, request }) {
	const outputs = await read(request.op === 'image' ? expect.latents : expect.outputs);
	for (const [key, { values }] of await read(expect.faults)) {
		const [label, name] = key.split('/');
		if (label !== answer && label.split(':')[0] !== answer) continue;
		// Of the blocks one was left out where all recordings have it.
		if (label.includes(':') && !label.endsWith(':up_blocks.1')) continue;
		const whole = outputs.get(name).values;
		whole.set(values, request.op === 'image' ? whole.length - values.length : 0);
	}
	return outputs;
}

async function layer({ expect, request }, factor) {
	const outputs = await read(expect.outputs);
	const without = await read(expect.without);
	const weights = await openStateDict(await openFileSource(path.join(suite, request.base.components[request.component])));
	const kernel = weights.tensors.get(`${request.module}.weight`).shape[2] ?? 0;
	const k = factor(`${request.component}.${request.module}`, kernel, request.adapters[0].strength);
	for (const [name, { values }] of outputs) {
		const plain = without.get(name).values;
		for (let i = 0; i < values.length; i++) values[i] = plain[i] + k * (values[i] - plain[i]);
	}
	return outputs;
}

async function respond({ op, case: id, out, png }) {
	const entry = cases.get(id);
	const { expect } = entry;
	const file = op === 'forward' ? expect.outputs : expect.latents;
	if (answer === 'right' || answer === 'without') copyFileSync(path.join(suite, answer === 'right' ? file : expect.without), out);
	else if (entry.tags.includes('layer') && FACTORS[answer] !== undefined) write(out, await layer(entry, FACTORS[answer]));
	else if (expect.faults !== undefined) write(out, await wrong(entry));
	else return { skipped: true, message: `nothing recorded of ${answer}` };
	if (op === 'image') copyFileSync(path.join(suite, expect.png), png);
	return { ok: true };
}

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	const { id, op } = request;
	if (op === 'stop') process.exit(0);
	const reply =
		op === 'start'
			? { protocol: 1, implementation: { name: `replay ${answer}`, version: '1' }, precision: option('--precision', 'f32'), levels }
			: await respond(request).catch((error) => ({ error: { message: String(error) } }));
	process.stdout.write(`${JSON.stringify({ id, ...reply })}\n`);
}
