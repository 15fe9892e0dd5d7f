import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../../src/byte-source.js';
import { readSafetensors } from '../../../src/containers/safetensors-read.js';
import { safetensorsBytes } from '../../../src/containers/safetensors-write.js';
import { FUSE_WINDOW_BYTES } from '../../../src/limits.js';
import { bytesTensor } from '../../../src/tensor.js';
import { createBufferPool } from '../../../src/transforms/fuse/write-fused-buffers.js';
import { dataWindows, streamWindows } from '../../../src/transforms/fuse/write-fused-windows.js';

/** A file of U8 tensors of these sizes, named 0, 1, ... */
async function fileOf(sizes: readonly number[]): Promise<Uint8Array> {
	return safetensorsBytes(
		new Map(
			sizes.map((size, i) => {
				const bytes = new Uint8Array(size);
				for (let k = 0; k < size; k++) bytes[k] = (k * 7 + (k >> 8) + i) % 251;
				return [String(i), bytesTensor('U8', [size], bytes)];
			}),
		),
		new Map(),
	);
}

const W = FUSE_WINDOW_BYTES;

describe('dataWindows', () => {
	it.each([
		['nothing changes', [10, 2 * W + 5, 7], []],
		['small ones', [100, 200, 300], ['1']],
		['a large one that changes', [100, W + 1000, 300], ['1']],
		['one across a boundary', [W - 100, 1000, 5], ['1']],
		['around a long run', [50, 3 * W, 60], ['0', '2']],
		['empty tensors', [0, 5, 0], ['0', '1']],
	])('%s: windows are the whole data, in order, and hold whole tensors', async (_what, sizes, names) => {
		const bytes = await fileOf(sizes);
		const state = await readSafetensors(bytesSource(bytes));
		const changes = new Set(names);
		const windows = dataWindows(state, changes);
		const begin = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
		let at = begin;
		const seen: string[] = [];
		for (const window of windows) {
			expect(window.offset).toBe(at);
			at += window.length;
			for (const { name, at: place, nbytes } of window.changed) {
				seen.push(name);
				expect(window.offset + place).toBe(state.tensors.get(name)?.range?.offset);
				expect(place + nbytes).toBeLessThanOrEqual(window.length);
			}
			if (window.length > W) expect(window.changed).toHaveLength(1);
		}
		expect(at).toBe(bytes.byteLength);
		expect(seen).toEqual(names.filter((name) => (sizes[Number(name)] ?? 0) > 0));
		const out: Uint8Array[] = [];
		await streamWindows(bytesSource(bytes), windows, { write: (piece) => void out.push(piece.slice()) }, async (window, piece) => {
			for (const { at: place, nbytes } of window.changed)
				for (let k = 0; k < nbytes; k++) piece[place + k] = (piece[place + k] ?? 0) ^ 0xff;
		});
		const want = bytes.slice(begin);
		for (const name of seen) {
			const offset = (state.tensors.get(name)?.range?.offset ?? 0) - begin;
			for (let k = 0; k < (sizes[Number(name)] ?? 0); k++) want[offset + k] = (want[offset + k] ?? 0) ^ 0xff;
		}
		expect(Buffer.compare(Buffer.concat(out), want)).toBe(0);
	});
});

describe('streamWindows', () => {
	it.each(['read', 'change', 'write'])('a failure to %s ends it, with nothing under way', async (what) => {
		const bytes = await fileOf([12 * W]);
		const state = await readSafetensors(bytesSource(bytes));
		let busy = 0;
		let calls = 0;
		const slow = async (kind: string): Promise<void> => {
			busy++;
			await new Promise((resolve) => setTimeout(resolve, 2));
			busy--;
			if (kind === what && ++calls === 3) throw new Error(`no ${what}`);
		};
		const source = {
			...bytesSource(bytes),
			async readAhead(offset: number, target: Uint8Array) {
				await slow('read');
				target.set(bytes.subarray(offset, offset + target.byteLength));
			},
		};
		const windows = dataWindows(state, new Set()).map((window) => ({ ...window, changed: [{ name: '0', at: 0, nbytes: 1 }] }));
		await expect(streamWindows(source, windows, { write: () => slow('write') }, () => slow('change'))).rejects.toThrow(`no ${what}`);
		expect(busy).toBe(0);
	});
});

describe('createBufferPool', () => {
	it('lends no more than its budget, one larger loan aside', async () => {
		const pool = createBufferPool(30, 10, false);
		const [a, b, c] = [await pool.take(10), await pool.take(5), await pool.take(10)];
		let got = false;
		const waiting = pool.take(10).then((bytes) => {
			got = true;
			return bytes;
		});
		await new Promise((resolve) => setTimeout(resolve, 5));
		expect(got).toBe(false);
		pool.give(b);
		const d = await waiting;
		expect(d.buffer).toBe(b.buffer);
		for (const bytes of [a, c, d]) pool.give(bytes);
		expect((await pool.take(100)).byteLength).toBe(100);
	});
});
