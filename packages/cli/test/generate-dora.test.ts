import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, lora, tempFolder } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const BASE = path.join(RUNTIME, 'tiny-shapes');
const DORA = path.join(RUNTIME, 'adapters/dora.safetensors');
const top = tempFolder();

/** The settings of fixtures/runtime/make_dora.py. */
const HALF = [
	...['generate', '--base', BASE, '--lora', `${DORA}@0.5`, '--prompt', 'a red star'],
	...['--seed', '3', '--steps', '10', '--guidance', '5'],
];

function furthest(file: string, other: string): number {
	const [a, b] = [decode(fs.readFileSync(file)).data, decode(fs.readFileSync(other)).data];
	expect(a.length).toBe(b.length);
	let most = 0;
	for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
	return most;
}

describe('lora generate --dora-strength', () => {
	const reference = (how: string): string => path.join(RUNTIME, 'runs', `dora-${how}.png`);

	it('has two meanings that draw two pictures', () => {
		expect(furthest(reference('interpolate'), reference('direction'))).toBeGreaterThan(20);
	});

	it.each([
		['interpolate', []],
		['direction', []],
		['interpolate', ['--fused']],
		['direction', ['--fused']],
	] as const)('%s %j gives the picture of diffusers and PEFT within one grey level', (how, more) => {
		const out = path.join(top, `${how}-${more.length}.png`);
		// The default is not said.
		const said = how === 'interpolate' ? [] : ['--dora-strength', how];
		const { code, err } = lora([...HALF, ...said, ...more, '--out', out, '--quiet']);
		expect([code, err]).toEqual([0, expect.not.stringContaining('E_')]);
		expect(furthest(out, reference(how))).toBeLessThanOrEqual(1);
		const { text } = decode(fs.readFileSync(out));
		expect(JSON.parse(text['lorakit'] ?? '{}').settings.doraStrength).toBe(how);
		expect(text['parameters']?.includes(', DoRA strength: direction,')).toBe(how === 'direction');
		if (how === 'interpolate') return;
		const again = lora(['generate', '--repeat', out]);
		expect(again.code, again.err).toBe(0);
		expect(again.out).toContain('the same picture');
		const beside = lora(['generate', '--repeat', out, '--dora-strength', 'direction']);
		expect([beside.code, beside.err]).toEqual([2, expect.stringContaining('--dora-strength cannot stand beside it')]);
	});

	it('a grid of scales is by the rule that was asked for', () => {
		const out = path.join(top, 'grid.png');
		const ran = lora([...HALF, '--dora-strength', 'direction', '--grid', 'scale=0.5', '--out', out]);
		expect(ran.code, ran.err).toBe(0);
		const { width, height, data } = decode(fs.readFileSync(out));
		const want = decode(fs.readFileSync(reference('direction')));
		// The sheet's one picture ends at its lower right, after a gap of 4 pixels.
		let most = 0;
		for (let y = 0; y < 64; y++) {
			for (let x = 0; x < 3 * 64; x++) {
				const at = 3 * ((height - 4 - 64 + y) * width + 4) + x;
				most = Math.max(most, Math.abs((data[at] ?? 0) - (want.data[3 * 64 * y + x] ?? 0)));
			}
		}
		expect(most).toBeLessThanOrEqual(1);
	});

	it('says when there is no DoRA that it could change', () => {
		const dry = ['generate', '--base', BASE, '--prompt', 'a', '--seed', '1', '--dry-run', '--out', path.join(top, 'x.png')];
		const striped = ['--lora', path.join(RUNTIME, 'adapters/striped.safetensors')];
		const note = 'note: No adapter here is a DoRA, so --dora-strength has no effect.';
		expect(lora([...dry, ...striped, '--dora-strength', 'direction']).err).toContain(note);
		expect(lora([...dry, ...striped]).err).not.toContain(note);
		expect(lora([...dry, '--lora', DORA, '--dora-strength', 'direction']).err).not.toContain(note);
	});

	it('is refused in other words', () => {
		const wrong = lora([...HALF, '--dora-strength', 'peft']);
		expect([wrong.code, wrong.err]).toEqual([2, expect.stringMatching(/^E_USAGE: .*interpolate, direction/)]);
	});
});
