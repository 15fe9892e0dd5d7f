import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, lora, tempFolder } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const top = tempFolder();
const WEIGHTED = [
	'generate',
	'--base',
	path.join(RUNTIME, 'tiny-shapes'),
	'--weighting',
	'a1111',
	'--seed',
	'11',
	'--guidance',
	'4',
	'--steps',
	'5',
];

function pixels(file: string) {
	return decode(fs.readFileSync(file));
}

describe('lora generate --attention-maps --weighting a1111', () => {
	it('gives the attention to words of any chunk as diffusers has it', () => {
		const out = path.join(top, 'x.png');
		const ran = lora([...WEIGHTED, '--prompt', '(a:1.2) BREAK (b:0.8), c', '--attention-maps', 'b', '--attention-maps', 'c', '--out', out]);
		expect([ran.code, ran.err]).toEqual([0, '']);
		const { width, height, data } = pixels(path.join(top, 'x-attention.png'));
		// Picture, b, c; the pictures end above a gap of 4.
		expect(width).toBe(4 + 3 * 68);
		for (const [i, word] of ['b', 'c'].entries()) {
			const want = pixels(path.join(RUNTIME, `runs/weighted-map-${word}.png`)).data;
			let most = 0;
			for (let y = 0; y < 64; y++) {
				for (let x = 0; x < 3 * 64; x++) {
					const at = 3 * ((height - 68 + y) * width + 4 + (i + 1) * 68) + x;
					most = Math.max(most, Math.abs((data[at] ?? 0) - (want[3 * 64 * y + x] ?? 0)));
				}
			}
			// The picture is within one level, and the heat over it is laid on it and rounded once more.
			expect(most).toBeLessThanOrEqual(2);
		}
		const again = lora(['generate', '--repeat', path.join(top, 'x-attention.png')]);
		expect([again.code, again.out]).toEqual([0, expect.stringContaining('the same picture')]);
	});

	it('of all tokens: those of the prompt, without brackets and weights', () => {
		const out = path.join(top, 'all.png');
		const ran = lora([...WEIGHTED, '--steps', '1', '--prompt', 'a (red:1.2) [star] circle', '--attention-maps', 'all', '--out', out]);
		expect([ran.code, ran.err]).toEqual([0, '']);
		// The picture and "a", "red", "star", "circle", a token each.
		expect(pixels(path.join(top, 'all-attention.png')).width).toBe(4 + 5 * 68);
	});

	it.each([
		['a prompt that changes', ['--prompt', 'a [red:blue:0.5] ring'], 'stay the same'],
		['texts joined by AND', ['--prompt', 'a red ring AND a star'], 'stay the same'],
		['a weight of the whole', ['--prompt', 'a red ring :0.5'], 'stay the same'],
		['a negative that changes', ['--prompt', 'a red ring', '--negative', '[a|b]'], 'stay the same'],
		['a word across a BREAK', ['--prompt', 'a red BREAK ring', '--attention-maps', 'red ring'], '"red ring"'],
		['a weight as a word', ['--prompt', 'a (ring:1.2)', '--attention-maps', '1.2'], '"1.2"'],
	] as const)('refuses %s', (_name, args, says) => {
		const out = path.join(top, 'never.png');
		const ran = lora([...WEIGHTED, '--attention-maps', 'ring', ...args, '--out', out]);
		expect(ran.err).toMatch(/^E_USAGE: [^\n]+\n$/);
		expect(ran.err).toContain(says);
		expect([ran.code, fs.existsSync(out)]).toEqual([2, false]);
	});
});
