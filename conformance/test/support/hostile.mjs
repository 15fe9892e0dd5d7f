// A subject that answers L0 rightly, but for cases whose id has `evil` in it: node hostile.mjs MODE [ARG]
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';

const [mode, argument] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const forever = () => setInterval(() => {}, 1000);

/** @param meanwhile done after the file was read, before the answer: the runner has not gone on yet */
function right(id, file, meanwhile = () => undefined) {
	const bytes = readFileSync(file);
	const size = Number(bytes.readBigUInt64LE());
	const { x } = JSON.parse(bytes.subarray(8, 8 + size).toString());
	const data = bytes.subarray(8 + size);
	meanwhile();
	say({ id, ok: true, tensors: { x: { dtype: x.dtype, shape: x.shape, sha256: createHash('sha256').update(data).digest('hex') } } });
}

const remove = (what) => rmSync(what, { recursive: true, force: true });

const EVIL = {
	hang: () => forever(),
	garbage: () => process.stdout.write('{"id": oops\n'),
	noise: () => process.stdout.write('loading...\n'.repeat(1000)),
	'not-an-object': () => process.stdout.write('{}\n'),
	flood: () => {
		const chunk = 'x'.repeat(1 << 20);
		const more = () => {
			while (process.stdout.write(chunk));
			process.stdout.once('drain', more);
		};
		more();
	},
	'flood-stderr': () => {
		const chunk = 'x'.repeat(1 << 20);
		const more = () => {
			while (process.stderr.write(chunk));
			process.stderr.once('drain', more);
		};
		more();
	},
	'half-line': (id) => process.stdout.write(`{"id": ${id}, "ok": tr`, () => process.exit(3)),
	die: () => process.exit(7),
	'die-after': (id, request) => {
		right(id, request.file);
		// After the next request has been sent, before it is read.
		const end = Date.now() + 100;
		while (Date.now() < end);
		process.exit(7);
	},
	'wrong-id': (id, request) => right(id + 1, request.file),
	'two-answers': (id, request) => {
		right(id, request.file);
		right(id, request.file);
	},
	memory: () => {
		const held = [];
		setInterval(() => held.push(Buffer.alloc(32 << 20, 1)), 5);
	},
	fork: () => {
		// Children that leave the process group and outlive their parent.
		const seconds = argument ?? '300';
		for (let i = 0; i < 5; i++) spawn('setsid', ['sleep', seconds], { detached: true, stdio: 'ignore' }).unref();
		spawn('sh', ['-c', `sleep ${seconds} & sleep ${seconds} & wait`], { stdio: 'ignore' });
		forever();
	},
	'deep-json': () => process.stdout.write(`${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}\n`),
	proto: (id) => process.stdout.write(`{"id":${id},"ok":true,"tensors":{"__proto__":{"dtype":"F32","shape":[2],"sha256":"0"}}}\n`),
	'write-argument': (id, request) => {
		writeFileSync(path.join(argument, `evil-${process.pid}-${id}.txt`), 'x');
		right(id, request.file);
	},
	kill: (id, request) => {
		try {
			process.kill(Number(argument), 'SIGKILL');
		} catch {
			// not there, seen from here
		}
		right(id, request.file);
	},
	escape: () => {
		// Out of the group, and without the environment that marks it.
		spawn('/usr/bin/env', ['-i', '/usr/bin/setsid', '/bin/sleep', '301'], { detached: true, stdio: 'ignore' }).unref();
		forever();
	},
	network: (id, request) => {
		const socket = connect(Number(argument), '127.0.0.1');
		socket.on('connect', () => process.exit(9));
		socket.on('error', () => right(id, request.file));
	},
	'write-beside': (id, request) => {
		writeFileSync(path.join(request.dir, '..', 'evil.txt'), 'x');
		right(id, request.file);
	},
	'change-input': (id, request) => {
		right(id, request.file);
		appendFileSync(request.file, 'x');
	},
	'remove-argument': (id, request) => right(id, request.file, () => remove(argument)),
	'remove-inputs': (id, request) => right(id, request.file, () => remove(path.dirname(path.dirname(request.file)))),
	'remove-own-folder': (id, request) => right(id, request.file, () => remove(request.dir)),
	'remove-slot': (id, request) => right(id, request.file, () => remove(path.dirname(path.dirname(request.dir)))),
	'change-all-inputs': (id, request) => {
		right(id, request.file);
		writeFileSync(path.join(path.dirname(request.file), 'good-9.safetensors'), 'broken');
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	const { id, op } = request;
	if (op === 'stop') process.exit(0);
	if (op === 'start') {
		if (mode === 'no-start') process.exit(1);
		if (mode === 'bad-start') say({ id, protocol: 1, implementation: { name: 'x', version: 'main' }, precision: 'f32' });
		else say({ id, protocol: 1, implementation: { name: `hostile ${mode}`, version: '1' }, precision: 'f32' });
	} else if (request.case.includes('evil') || mode === 'always-die') (EVIL[mode] ?? EVIL.die)(id, request);
	else right(id, request.file);
}
