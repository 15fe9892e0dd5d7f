import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createAheadSink } from '../../src/io/ahead-sink.js';
import { createSpill, type FileCalls, openFileSource, writeFilesAtomic } from '../../src/io/index.js';
import { pattern, refusal, sameBytes, tempDir } from './temp-dir.js';

const MB = 1024 * 1024;

describe('the sink that writes ahead', () => {
	it('puts pieces in order although they are under way together, and patches', async () => {
		const target = path.join(tempDir(), 'out.bin');
		const bytes = pattern(5 * MB);
		await writeFilesAtomic([
			{
				target,
				ahead: true,
				async write(sink) {
					const all: Promise<void>[] = [];
					for (let at = 0; at < bytes.byteLength; at += MB) all.push(sink.write(bytes.subarray(at, at + MB)));
					expect(sink.position).toBe(bytes.byteLength);
					await Promise.all(all);
					await sink.patch(3, Uint8Array.of(1, 2, 3));
				},
			},
		]);
		bytes.set([1, 2, 3], 3);
		expect(sameBytes(fs.readFileSync(target), bytes)).toBe(true);
	});

	it('goes on after short writes, and tells the disk to begin', async () => {
		const file = path.join(tempDir(), 'out.bin');
		const fd = fs.openSync(file, 'w+');
		let syncs = 0;
		const calls = {
			...fs,
			write: ((
				to: number,
				bytes: Uint8Array,
				from: number,
				length: number,
				at: number,
				done: (error: Error | null, wrote: number) => void,
			) => fs.write(to, bytes, from, Math.min(length, 7 * MB), at, done)) as unknown as FileCalls['write'],
			fdatasync: ((to: number, done: (error: Error | null) => void) => {
				syncs++;
				fs.fdatasync(to, done);
			}) as unknown as FileCalls['fdatasync'],
		};
		const sink = createAheadSink(fd, file, calls);
		const piece = pattern(10 * MB);
		for (let k = 0; k < 7; k++) await sink.write(piece);
		expect(sink.written).toBe(70 * MB);
		await sink.settle();
		fs.closeSync(fd);
		expect(syncs).toBeGreaterThan(0);
		const got = fs.readFileSync(file);
		for (let k = 0; k < 7; k++) expect(sameBytes(got.subarray(k * 10 * MB, (k + 1) * 10 * MB), piece)).toBe(true);
	});

	it.each(['write', 'fdatasync'] as const)('a disk that is full at %s: refused, nothing left, the old file there', async (call) => {
		const dir = tempDir();
		const target = path.join(dir, 'out.bin');
		fs.writeFileSync(target, 'old');
		const full = (...args: readonly unknown[]): void => {
			const done = args[args.length - 1] as (error: Error) => void;
			setTimeout(() => done(Object.assign(new Error('ENOSPC: made up'), { code: 'ENOSPC', syscall: call })), 1);
		};
		const error = await refusal(() =>
			writeFilesAtomic(
				[
					{
						target,
						ahead: true,
						async write(sink) {
							const piece = new Uint8Array(20 * MB);
							for (let k = 0; k < 4; k++) await sink.write(piece);
						},
					},
				],
				{ force: true, calls: { [call]: full } },
			),
		);
		expect(error.code).toBe('E_NO_SPACE');
		expect(fs.readdirSync(dir)).toEqual(['out.bin']);
		expect(fs.readFileSync(target, 'utf8')).toBe('old');
	});
});

describe('createSpill', () => {
	it('gives back what was put, and is gone', async () => {
		const dir = tempDir();
		const spill = createSpill(path.join(dir, 'out.bin'));
		const first = await spill.append(pattern(1000));
		const second = await spill.append(pattern(3 * MB));
		const source = spill.source();
		expect(sameBytes(await source.read(first, 1000), pattern(1000))).toBe(true);
		expect(sameBytes(await source.read(second, 3 * MB), pattern(3 * MB))).toBe(true);
		spill.close();
		expect(fs.readdirSync(dir)).toEqual([]);
	});
});

describe('readAhead', () => {
	it('fills memory of the caller, and refuses what is not there', async () => {
		const file = path.join(tempDir(), 'in.bin');
		fs.writeFileSync(file, pattern(2 * MB));
		const source = await openFileSource(file);
		const target = new Uint8Array(new SharedArrayBuffer(MB));
		await source.readAhead(5, target);
		expect(sameBytes(target, pattern(2 * MB).subarray(5, 5 + MB))).toBe(true);
		expect((await refusal(() => source.readAhead(MB + 1, target))).code).toBe('E_TRUNCATED');
		fs.truncateSync(file, 100);
		expect((await refusal(() => source.readAhead(0, target))).code).toBe('E_TRUNCATED');
		await source.close();
	});
});
