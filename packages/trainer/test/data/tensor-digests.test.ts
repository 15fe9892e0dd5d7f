import { createHash } from 'node:crypto';
import { bytesSource, createSha256, rangeTensor, type Tensor } from '@lorakit/format';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTensorDigests } from '../../src/data/tensor-digests.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('digests of tensors', () => {
	it('are those of their bytes, however the file is cut and the tensors lie', () => {
		fc.assert(
			fc.property(
				fc.uint8Array({ minLength: 1, maxLength: 300 }),
				fc.array(fc.tuple(fc.nat(300), fc.nat(300)), { maxLength: 12 }),
				fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 20 }),
				(bytes, spans, cuts) => {
					const source = bytesSource(bytes, 'f');
					// They may touch, lie in each other and be empty, as those of torch's files may.
					const tensors = spans.map(([a, b]): Tensor => {
						const [from = 0, to = 0] = [a % (bytes.length + 1), b % (bytes.length + 1)].sort((x, y) => x - y);
						return rangeTensor('U8', [to - from], source, from);
					});
					const watcher = createTensorDigests(tensors, createSha256);
					for (let at = 0, i = 0; at < bytes.length; i++) {
						const end = Math.min(bytes.length, at + (cuts[i % cuts.length] ?? 1));
						watcher.update(at, bytes.subarray(at, end));
						at = end;
					}
					const found = watcher.digests();
					for (const tensor of tensors) {
						const from = tensor.range?.offset ?? 0;
						expect(found.get(tensor)).toBe(sha256(bytes.subarray(from, from + tensor.nbytes)));
					}
				},
			),
			{ numRuns: 300, seed: 5 },
		);
	});

	it('are missing for tensors that were not seen whole', () => {
		const source = bytesSource(new Uint8Array(100), 'f');
		const [before, over, behind] = [
			[0, 20],
			[30, 40],
			[60, 20],
		].map(([offset = 0, length = 0]) => rangeTensor('U8', [length], source, offset));
		const watcher = createTensorDigests([before, over, behind] as Tensor[], createSha256);
		watcher.update(0, new Uint8Array(35));
		watcher.update(45, new Uint8Array(55));
		expect([...watcher.digests().keys()]).toEqual([before, behind]);
	});
});
