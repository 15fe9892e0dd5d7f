import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createSha256 } from '../src/sha256.js';

describe('createSha256', () => {
	it.each([
		['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
		['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
		['abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq', '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1'],
	])('FIPS 180-4: %s', (text, want) => {
		const hash = createSha256();
		hash.update(new TextEncoder().encode(text));
		expect(hash.digestHex()).toBe(want);
	});

	it('agrees with node for every length to 300, in pieces of any size', () => {
		const data = Uint8Array.from({ length: 300 }, (_, i) => (i * 151 + 7) & 255);
		for (let n = 0; n <= 300; n++) {
			const hash = createSha256();
			for (let at = 0; at < n; at += 1 + (n % 67)) hash.update(data.subarray(at, Math.min(n, at + 1 + (n % 67))));
			expect(hash.digestHex()).toBe(createHash('sha256').update(data.subarray(0, n)).digest('hex'));
		}
	});

	it('counts beyond 2^32 bits', () => {
		const piece = new Uint8Array(1 << 24).fill(3);
		const ours = createSha256();
		const theirs = createHash('sha256');
		for (let i = 0; i < 33; i++) {
			ours.update(piece);
			theirs.update(piece);
		}
		expect(ours.digestHex()).toBe(theirs.digest('hex'));
	});
});
