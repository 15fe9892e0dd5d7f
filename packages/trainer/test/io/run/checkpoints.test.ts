import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkpointSteps } from '../../../src/io/run/checkpoint-store.js';
import { checkResume, findCheckpoint } from '../../../src/io/run/resume-checkpoint.js';
import { LOCK_NAME, openRunFolder } from '../../../src/io/run/run-folder.js';
import { readMetrics } from '../../../src/run/logs/metrics-line.js';
import type { RunSnapshot } from '../../../src/run/run-snapshot.js';
import { trainRun } from '../../../src/run/train-run.js';
import { fakeRun } from '../../run/fake-run.js';
import { fakeIdentity, fakeStore } from './fake-store.js';

const top = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-run-'));
const child = path.join(top, 'child-run.mjs');
const STEPS = 24;

beforeAll(async () => {
	const bundle = await rolldown({ input: path.join(import.meta.dirname, 'child-run.ts'), platform: 'node', logLevel: 'silent' });
	await bundle.write({ file: child, format: 'esm', codeSplitting: false });
	await bundle.close();
});
afterAll(() => fs.rmSync(top, { recursive: true, force: true }));

function fresh(name: string): string {
	return fs.mkdtempSync(path.join(top, `${name}-`));
}

async function trainInto(folder: string, extra: Parameters<typeof fakeRun>[0] = {}): Promise<void> {
	for await (const _ of trainRun(
		fakeRun(extra.checkpoints === undefined ? { ...extra, checkpoints: { every: 2, save: fakeStore(folder) } } : extra),
	));
}

describe('checkpoints', () => {
	it('are folders with the adapter, the state and the digests of both', async () => {
		const folder = fresh('plain');
		await trainInto(folder, { steps: 5 });
		expect(fs.readdirSync(folder).sort()).toEqual(['checkpoint-000002', 'checkpoint-000004', 'checkpoint-000005']);
		expect(fs.readdirSync(path.join(folder, 'checkpoint-000005')).sort()).toEqual([
			'pytorch_lora_weights.safetensors',
			'state.json',
			'training-state.safetensors',
		]);
		const found = await findCheckpoint(folder);
		expect(found).toMatchObject({ name: 'checkpoint-000005', damaged: [], record: { step: 5, reason: 'end' } });
		// AdamW's moments and the values, the same bits as in memory.
		expect([...(found?.snapshot.tensors.keys() ?? [])].filter((n) => n.startsWith('tensors/')).sort()).toEqual([
			'tensors/unet.a:down',
			'tensors/unet.a:up',
		]);
	});

	it('keep the newest and the best', async () => {
		const folder = fresh('keep');
		const save = fakeStore(folder, { keep: 2 });
		const snapshots: RunSnapshot[] = [];
		for await (const _ of trainRun(
			fakeRun({ steps: 6, checkpoints: { every: 1, save: async (s) => snapshots.push(structuredClone(s)).toString() } }),
		));
		for (const s of snapshots) await save({ ...s, best: { step: 2, loss: 1, since: 0 } }, 'every');
		expect(checkpointSteps(folder)).toEqual([6, 5, 2]);
	});

	it('are taken from the newest whole one; what is damaged is named', async () => {
		const folder = fresh('damaged');
		await trainInto(folder, { steps: 8 });
		const flip = path.join(folder, 'checkpoint-000008', 'training-state.safetensors');
		const bytes = fs.readFileSync(flip);
		bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
		fs.writeFileSync(flip, bytes);
		fs.truncateSync(path.join(folder, 'checkpoint-000006', 'pytorch_lora_weights.safetensors'), 10);
		const found = await findCheckpoint(folder);
		expect(found?.name).toBe('checkpoint-000004');
		expect(found?.damaged.map(({ name }) => name)).toEqual(['checkpoint-000008', 'checkpoint-000006']);
		expect(found?.damaged[0]?.why).toContain('SHA-256');
		expect(found?.damaged[1]?.why).toContain('has 10 bytes and was written with');
		await expect(findCheckpoint(folder, 'checkpoint-000008')).rejects.toMatchObject({ code: 'E_FORMAT' });
		for (const step of ['000004', '000002'])
			fs.writeFileSync(path.join(folder, `checkpoint-${step}`, 'state.json'), '{"schema":"lora.checkpoint/1"}');
		await expect(findCheckpoint(folder)).rejects.toThrow(/No checkpoint .* is whole/);
		expect(await findCheckpoint(fresh('none'))).toBeUndefined();
		await expect(findCheckpoint(folder, '../x')).rejects.toMatchObject({ code: 'E_USAGE' });
	});

	it('with a hostile state are refused, never by an error of the machine', async () => {
		const folder = fresh('hostile');
		await trainInto(folder, { steps: 2 });
		const file = path.join(folder, 'checkpoint-000002', 'state.json');
		const good = JSON.parse(fs.readFileSync(file, 'utf8'));
		const deep = `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`;
		fs.writeFileSync(file, JSON.stringify(good).replace('"config":{', `"config":{"x":${deep},`));
		await expect(findCheckpoint(folder, 'checkpoint-000002')).rejects.toMatchObject({ code: 'E_LIMIT' });
		const { files } = good;
		for (const change of [
			{ step: -1 },
			{ step: 1e300 },
			{ step: 3 },
			{ files: [{ ...files[0], name: '../x' }] },
			{ files: [{ ...files[0], name: '/etc/passwd' }] },
			{ files: [{ ...files[0], name: '.' }] },
			{ files: [] },
			{ best: { step: 1, loss: null, since: 0 } },
			{ run: null },
			// Sound by their form, and not what was written.
			{ validationDue: !good.validationDue },
			{ best: { step: 1, loss: 1, since: 0 } },
			{ batches: { ...good.batches, order: { ...good.batches.order, position: 0, epoch: 7 } } },
			{ extra: 1 },
		]) {
			fs.writeFileSync(file, JSON.stringify({ ...good, ...change }));
			await expect(findCheckpoint(folder, 'checkpoint-000002'), JSON.stringify(change)).rejects.toBeInstanceOf(FormatError);
		}
		// Another way to write the same.
		fs.writeFileSync(file, JSON.stringify(good));
		expect((await findCheckpoint(folder, 'checkpoint-000002'))?.record.step).toBe(2);
	});

	it('refuse another run, naming what differs, and note what may change bits', async () => {
		const folder = fresh('other');
		await trainInto(folder, { steps: 2 });
		const found = await findCheckpoint(folder);
		if (found === undefined) throw new Error('no checkpoint');
		expect(checkResume(found, fakeIdentity(), false)).toEqual([]);
		const other = fakeIdentity({ train: { learning_rate: 1e-3 }, seed: 5 }, { data: { train: 'd2' } });
		expect(() => checkResume(found, other, false)).toThrow(
			/"checkpoint-000002" belongs to another run: seed was 0 and is 5; train.learning_rate was 0.0001 and is 0.001; data digest \(train\) was "d1" and is "d2"/,
		);
		expect(checkResume(found, other, true).length).toBe(3);
		const moved = fakeIdentity(
			{ logs: { dashboard: true }, engine: { threads: 2 }, train: { max_train_steps: 9 } },
			{ engine: { id: 'float64', device: 'cpu', threads: 2 } },
		);
		expect(checkResume(found, moved, false).map(({ path: p, kind }) => [p, kind])).toEqual([
			['engine.threads', 'bits'],
			['engine threads', 'bits'],
		]);
		const longer = { train: { max_train_steps: 9, lr_scheduler: 'cosine' } };
		expect(() => checkResume(found, fakeIdentity(longer), false)).toThrow(/max_train_steps/);
	});

	it('are not begun where there is no room', async () => {
		const folder = fresh('room');
		let free = Number.POSITIVE_INFINITY;
		const save = fakeStore(folder, { freeBytes: () => free });
		const run = trainRun(fakeRun({ steps: 6, checkpoints: { every: 2, save } }));
		const error = await (async () => {
			for await (const event of run) if (event.type === 'checkpoint') free = 1000;
		})().catch((e: unknown) => e);
		expect(error).toMatchObject({ code: 'E_NO_SPACE' });
		expect(String(error)).toMatch(/has only 1000 free.*checkpoint of step 4 was not written; the last good one is "checkpoint-000002"/);
		expect(fs.readdirSync(folder)).toEqual(['checkpoint-000002']);
	});

	it('survive a disk that becomes full while one is written: the last good one stays, and the run goes on from it', async () => {
		const whole = fresh('whole');
		expect(spawnSync(process.execPath, [child, whole, String(STEPS)]).status).toBe(0);
		const folder = fresh('full');
		const full = spawnSync(process.execPath, [child, folder, String(STEPS), '7'], { encoding: 'utf8' });
		expect(full.status).toBe(1);
		// The log may be the first to be refused, or the checkpoint: both say it.
		expect(full.stdout).toMatch(/^E_NO_SPACE /);
		expect((await findCheckpoint(folder))?.name).toBe('checkpoint-000006');
		expect(fs.readdirSync(folder).filter((n) => n.startsWith('.'))).toEqual([]);
		expect(spawnSync(process.execPath, [child, folder, String(STEPS)]).status).toBe(0);
		expect(fs.readFileSync(path.join(folder, 'final.bin'))).toEqual(fs.readFileSync(path.join(whole, 'final.bin')));
	});

	it('kill -9 at any moment and resume gives the same bytes', async () => {
		const whole = fresh('whole');
		expect(spawnSync(process.execPath, [child, whole, String(STEPS)]).status).toBe(0);
		const expected = fs.readFileSync(path.join(whole, 'final.bin'));
		const folder = fresh('killed');
		let kills = 0;
		// Delays that fall into starting, computing, writing and renaming.
		for (let attempt = 0; attempt < 40; attempt++) {
			const process_ = spawn(process.execPath, [child, folder, String(STEPS)]);
			const done = new Promise<NodeJS.Signals | null>((resolve) => process_.on('close', (_, signal) => resolve(signal)));
			const timer = attempt < 12 ? setTimeout(() => process_.kill('SIGKILL'), 150 + ((attempt * 67) % 240)) : undefined;
			const signal = await done;
			clearTimeout(timer);
			if (signal === 'SIGKILL') kills++;
			else break;
		}
		expect(kills).toBeGreaterThan(2);
		expect(fs.readFileSync(path.join(folder, 'final.bin'))).toEqual(expected);
		// The state of the last checkpoint too: moments, averages, best, generators.
		const last = (at: string): Buffer => fs.readFileSync(path.join(at, `checkpoint-0000${STEPS}`, 'training-state.safetensors'));
		expect(last(folder)).toEqual(last(whole));
		const records = await Promise.all([folder, whole].map(async (f) => (await findCheckpoint(f))?.record));
		expect(records[0]).toEqual(records[1]);
		expect(fs.readdirSync(folder).filter((n) => n.startsWith('.'))).toEqual([]);
		// And the log, lives put together.
		const losses = (at: string) =>
			readMetrics(fs.readFileSync(path.join(at, 'metrics.jsonl'), 'utf8')).flatMap((l) => (l.type === 'step' ? [[l.step, l.loss]] : []));
		expect(losses(folder)).toEqual(losses(whole));
		expect(losses(whole).length).toBe(STEPS);
	});
});

describe('a run folder', () => {
	it("is one process's at a time, and a dead one's is taken over", () => {
		const folder = path.join(fresh('lock'), 'run');
		const open = openRunFolder(folder);
		expect(() => openRunFolder(folder)).toThrow(/in use by process/);
		open.close();
		const again = openRunFolder(folder);
		again.close();
		const gone = spawnSync(process.execPath, ['-e', '']).pid;
		fs.writeFileSync(path.join(folder, LOCK_NAME), `${gone} ${os.hostname()}\n`);
		fs.mkdirSync(path.join(folder, '.checkpoint-000010.abc123.tmp'));
		fs.mkdirSync(path.join(folder, '.mine.tmp'));
		const taken = openRunFolder(folder);
		expect(fs.readdirSync(folder).sort()).toEqual(['.mine.tmp', LOCK_NAME]);
		taken.close();
		fs.writeFileSync(path.join(folder, LOCK_NAME), '1 another-machine\n');
		expect(() => openRunFolder(folder)).toThrow(/1 on another-machine/);
	});
});
