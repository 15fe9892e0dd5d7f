import { describe, expect, it, vi } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { openZip } from '../../src/containers/zip-read.js';
import { planZip, type ZipWriteEntry } from '../../src/containers/zip-write.js';

// Summing 5 GiB would take too long here: every CRC is 0, which a reader takes for "none recorded".
vi.mock('../../src/containers/crc32.js', () => ({ crc32: () => 0 }));

describe('planZip', () => {
	it('uses zip64 for a count that needs it', async () => {
		const plan = planZip(Array.from({ length: 66_000 }, (_, k) => entry(`e${k}`, 0, new Uint8Array(0))));
		const out = new Uint8Array(plan.totalBytes);
		let at = 0;
		await plan.write({
			write(bytes) {
				out.set(bytes, at);
				at += bytes.byteLength;
			},
		});
		expect(at).toBe(plan.totalBytes);
		expect((await openZip(bytesSource(out))).entries.size).toBe(66_000);
	});

	it('uses zip64 for sizes and offsets that need it', async () => {
		const size = 5 * 2 ** 30;
		// Data that has nothing but its length; what is written around it is kept.
		const hole = Object.defineProperty(new Uint8Array(0), 'byteLength', { value: size });
		const parts: { readonly at: number; readonly bytes: Uint8Array }[] = [];
		let at = 0;
		const plan = planZip([entry('big', size, hole), entry('small', 3, Uint8Array.from([1, 2, 3]))]);
		await plan.write({
			write(bytes) {
				if (bytes !== hole) parts.push({ at, bytes: bytes.slice() });
				at += bytes.byteLength;
			},
		});
		expect(at).toBe(plan.totalBytes);
		const source = {
			...bytesSource(new Uint8Array(0), 'sparse'),
			size: at,
			async read(offset: number, length: number): Promise<Uint8Array> {
				const out = new Uint8Array(length);
				for (const p of parts) {
					for (let k = Math.max(offset, p.at); k < Math.min(offset + length, p.at + p.bytes.length); k++)
						out[k - offset] = p.bytes[k - p.at] ?? 0;
				}
				return out;
			},
		};
		const zip = await openZip(source);
		expect([...zip.entries.values()].map((e) => [e.name, e.size])).toEqual([
			['big', size],
			['small', 3],
		]);
		const small = zip.entries.get('small');
		expect(small === undefined ? undefined : await zip.read(small, 10)).toEqual(Uint8Array.from([1, 2, 3]));
	});
});

function entry(name: string, size: number, bytes: Uint8Array): ZipWriteEntry {
	return {
		name,
		size,
		async *chunks() {
			yield bytes;
		},
	};
}
