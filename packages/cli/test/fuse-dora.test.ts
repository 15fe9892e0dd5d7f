import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, lora, tempFolder } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const BASE = path.join(RUNTIME, 'tiny-shapes');
const HALF = `${path.join(RUNTIME, 'adapters/dora.safetensors')}@0.5`;
const RULES = ['interpolate', 'direction'] as const;
const top = tempFolder();
const fusedBy = (rule: string): string => path.join(top, rule);

describe('lora fuse --dora-strength', () => {
	it.each(RULES)('%s: the fused base draws the picture of diffusers and PEFT', (rule) => {
		const fused = lora(['fuse', BASE, HALF, '--dora-strength', rule, '--out', fusedBy(rule)]);
		expect(fused.code, fused.err).toBe(0);
		const out = path.join(top, `${rule}.png`);
		// The settings of fixtures/runtime/make_dora.py.
		const settings = ['--prompt', 'a red star', '--seed', '3', '--steps', '10', '--guidance', '5'];
		const drawn = lora(['generate', '--base', fusedBy(rule), ...settings, '--out', out]);
		expect(drawn.code, drawn.err).toBe(0);
		const [mine, theirs] = [out, path.join(RUNTIME, 'runs', `dora-${rule}.png`)].map((file) => decode(fs.readFileSync(file)).data);
		expect(mine?.length).toBe(theirs?.length);
		// The file holds float16, as the base does: each touched weight is rounded, which their float32 ones are not. The other rule is 20 and more away.
		expect(Math.max(...Array.from(mine ?? [], (level, i) => Math.abs(level - (theirs?.[i] ?? 0))))).toBeLessThanOrEqual(4);
	});

	it.each(RULES)('verify knows which of the two made the file: %s', (rule) => {
		for (const asked of RULES) {
			const { code } = lora(['verify', BASE, HALF, fusedBy(rule), '--dora-strength', asked]);
			expect(code).toBe(asked === rule ? 0 : 1);
		}
	});
});
