import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/run/logs/crc32c.js';
import { metricsLine, readMetrics } from '../../src/run/logs/metrics-line.js';
import { tensorboardHeader, tensorboardRecords } from '../../src/run/logs/tensorboard-events.js';
import { WANDB_HEADER, wandbRecordBytes } from '../../src/run/logs/wandb-file.js';
import { createWandbRecords } from '../../src/run/logs/wandb-records.js';
import type { RunEvent } from '../../src/run/run-events.js';

/** What TensorBoard's own writer gives for the same events: fixtures/training/README.md. */
const EXPECTED = JSON.parse(
	fs.readFileSync(path.resolve(import.meta.dirname, '../../../../fixtures/training/run/tensorboard.json'), 'utf8'),
) as Record<string, string>;
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const png = new Uint8Array(Buffer.from(EXPECTED['png'] ?? '', 'base64'));

const step = (n: number, more: Partial<Extract<RunEvent, { type: 'step' }>> = {}): RunEvent => ({
	type: 'step',
	step: n,
	epoch: 3,
	loss: 0.1,
	rates: { unet: 1e-4, text_encoder: 5e-5 },
	gradientNorm: 2.5,
	samples: 2,
	seconds: 0.25,
	remainingSeconds: 9,
	...more,
});

describe('TensorBoard events', () => {
	it('have CRC-32C as RFC 3720 gives it', () => {
		expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
		expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
		expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
	});

	it("are byte by byte what TensorBoard's writer makes of them", () => {
		expect(base64(tensorboardHeader(0, 1700000000.25))).toBe(EXPECTED['header_0']);
		expect(base64(tensorboardHeader(200, 1700000000.25))).toBe(EXPECTED['header_200']);
		expect(base64(tensorboardRecords(step(301), 1700000001.5))).toBe(EXPECTED['step']);
		expect(base64(tensorboardRecords({ type: 'validation', step: 70000, loss: 0.5, best: true, seconds: 1 }, 1700000002))).toBe(
			EXPECTED['validation'],
		);
		const pictures = [
			{ prompt: 'a rüd "hat"', seed: 1, png, width: 1, height: 1 },
			{ prompt: 'b', seed: 2, png: new Uint8Array([...png, ...png, ...png]), width: 513, height: 300 },
		];
		expect(base64(tensorboardRecords({ type: 'pictures', step: 5, pictures }, 1700000003))).toBe(EXPECTED['pictures']);
		expect(tensorboardRecords({ type: 'end', step: 5, reason: 'steps' }, 1).byteLength).toBe(0);
	});
});

describe('an offline run of Weights & Biases', () => {
	const wandb = JSON.parse(fs.readFileSync(path.resolve(import.meta.dirname, '../../../../fixtures/training/run/wandb.json'), 'utf8')) as {
		readonly sizes: readonly number[];
		readonly file_bytes: number;
		readonly file_sha256: string;
		readonly records: readonly string[];
	};

	it("is byte by byte the file of wandb's own data store, blocks and padding included", () => {
		const hash = createHash('sha256').update(WANDB_HEADER);
		let position = WANDB_HEADER.byteLength;
		for (const [i, size] of wandb.sizes.entries()) {
			const bytes = wandbRecordBytes(
				Uint8Array.from({ length: size }, (_, j) => (i + j) % 251),
				position,
			);
			hash.update(bytes);
			position += bytes.byteLength;
		}
		expect(position).toBe(wandb.file_bytes);
		expect(hash.digest('hex')).toBe(wandb.file_sha256);
	});

	it("has wandb's own records, one history record a step", () => {
		const startedAt = 1700000000250;
		const records = createWandbRecords({
			id: 'abcd1234',
			project: 'lorakit',
			name: 'shapes from step 5',
			group: 'shapes',
			config: { seed: 1, train: { learning_rate: 1e-4 } },
			host: 'box',
			version: '0.1.0',
			startedAt,
			startingStep: 5,
		});
		const made = [
			...records.begin(),
			...records.event(step(6, { epoch: 0, loss: 0.5, gradientNorm: 2, rates: { unet: 1e-4 } }), startedAt + 1000),
			...records.event({ type: 'validation', step: 6, loss: Number.NaN, best: false, seconds: 1 }, startedAt + 2000),
			...records.event({ type: 'checkpoint', step: 6, reason: 'every', name: 'c' }, startedAt + 2500),
			...records.end(1, startedAt + 3000),
		];
		expect(made.map(base64)).toEqual(wandb.records);
	});
});

describe('metrics.jsonl', () => {
	it('gives back what was written, pictures by their files', () => {
		const text = [
			metricsLine({ type: 'start', step: 0, steps: 2, parameters: { unet: 4 } }, 1),
			metricsLine(step(1), 2),
			metricsLine({ type: 'pictures', step: 1, pictures: [{ prompt: 'a\nb', seed: 1, png, width: 1, height: 1 }] }, 3, [
				'validation/x.png',
			]),
		].join('');
		expect(text.split('\n').length).toBe(4);
		expect(readMetrics(text)).toEqual([
			{ type: 'start', step: 0, steps: 2, parameters: { unet: 4 }, at: 1 },
			{ ...step(1), at: 2 },
			{ type: 'pictures', step: 1, pictures: [{ prompt: 'a\nb', seed: 1, width: 1, height: 1, file: 'validation/x.png' }], at: 3 },
		]);
	});

	it('forgets what was done again after a resume, and lines that were cut', () => {
		const start = (at: number) => metricsLine({ type: 'start', step: at, steps: 9, parameters: {} }, 1);
		const text = `${start(0)}${[1, 2, 3, 4].map((n) => metricsLine(step(n, { loss: n }), 1)).join('')}{"type":"st\n${start(2)}${metricsLine(step(3, { loss: 30 }), 1)}null\n7\n{"type":"else","step":1}\n`;
		expect(readMetrics(text).flatMap((l) => (l.type === 'step' ? [[l.step, l.loss]] : []))).toEqual([
			[1, 1],
			[2, 2],
			[3, 30],
		]);
	});
});
