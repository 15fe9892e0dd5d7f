import { describe, expect, it } from 'vitest';
import { applyResidual, type CodeWidth, encodeResidual } from '../../../src/transforms/unfuse/residual.js';

function halves(...codes: number[]): Uint8Array {
	return new Uint8Array(Uint16Array.from(codes).buffer);
}

async function thereAndBack(truth: Uint8Array, guess: Uint8Array, width: CodeWidth): Promise<Uint8Array> {
	const residual = await encodeResidual(truth, guess, width);
	const out = guess.slice();
	await applyResidual(out, residual, width, '"w"');
	return out;
}

/** Numbers that are the same on every machine. */
function noise(bytes: number, seed: number): Uint8Array {
	const out = new Uint8Array(bytes);
	let state = seed;
	for (let i = 0; i < bytes; i++) {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		out[i] = state >>> 24;
	}
	return out;
}

describe('residual', () => {
	it('is nothing where nothing differs', async () => {
		expect(await encodeResidual(halves(1, 2, 3), halves(1, 2, 3), 2)).toHaveLength(0);
	});

	it.each([
		['neighbours', [0x3c00, 0x3c01], [0x3c01, 0x3c00]],
		['zero and minus zero', [0x0000, 0x8000], [0x8000, 0x0000]],
		['across zero', [0x0001, 0x8001], [0x8001, 0x0001]],
		['NaN payloads', [0x7e01, 0xfe02], [0x7e00, 0x7c00]],
		['both ends', [0x7fff, 0xffff], [0xffff, 0x7fff]],
	])('brings back %s', async (_what, truth, guess) => {
		expect(await thereAndBack(halves(...truth), halves(...guess), 2)).toEqual(halves(...truth));
	});

	it.each([2, 4, 8] as const)('brings any patterns of %i bytes back, at any alignment', async (width) => {
		const truth = noise(8 * 500 + 1, 1).subarray(1);
		const guess = noise(8 * 500 + 3, 2).subarray(3);
		expect(await thereAndBack(truth, guess, width)).toEqual(truth.slice());
		// Mostly equal, as in use.
		const near = truth.slice();
		for (let i = 0; i < near.length; i += 97) near[i] = (near[i] ?? 0) ^ 1;
		expect(await thereAndBack(truth, near, width)).toEqual(truth.slice());
	});

	it('is small where differences are rare', async () => {
		const truth = noise(200_000, 3);
		const guess = truth.slice();
		for (let i = 0; i < guess.length; i += 2000) guess[i] = (guess[i] ?? 0) ^ 1;
		expect((await encodeResidual(truth, guess, 2)).byteLength).toBeLessThan(400);
	});

	it('refuses what is damaged, whatever byte it is', async () => {
		const truth = noise(400, 4);
		const guess = truth.slice();
		for (let i = 0; i < guess.length; i += 16) guess[i] = (guess[i] ?? 0) ^ 3;
		const good = await encodeResidual(truth, guess, 2);
		for (let cut = 1; cut < good.byteLength; cut++) {
			const out = guess.slice();
			await expect(applyResidual(out, good.subarray(0, cut), 2, '"w"'), `cut at ${cut}`).rejects.toMatchObject({ code: 'E_SIDECAR' });
		}
		for (let at = 0; at < good.byteLength; at++) {
			const bad = good.slice();
			bad[at] = (bad[at] ?? 0) ^ 0x55;
			// Some changes give other values of the right shape: those the SHA-256 of the result catches.
			await applyResidual(guess.slice(), bad, 2, '"w"').catch((error: unknown) => expect(error).toMatchObject({ code: 'E_SIDECAR' }));
		}
	});

	it('refuses a residual of a larger tensor, and a bomb before inflating it', async () => {
		const residual = await encodeResidual(noise(400, 5), noise(400, 6), 2);
		await expect(applyResidual(new Uint8Array(100), residual, 2, '"w"')).rejects.toMatchObject({ code: 'E_SIDECAR' });
		const bomb = residual.slice();
		new DataView(bomb.buffer).setUint32(4, 0xffffffff, true);
		await expect(applyResidual(new Uint8Array(400), bomb, 2, '"w"')).rejects.toMatchObject({ code: 'E_SIDECAR' });
	});
});
