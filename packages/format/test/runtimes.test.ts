import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { decodeAdapter } from '../src/detect.js';
import { RUNTIMES, type RuntimeId, runtimeStrength, strengthDifferences } from '../src/runtimes.js';
import { DIFFUSERS, DIFFUSERS_METADATA, type Entries, KOHYA, memoryInput } from './support/memory-file.js';

const Q = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
const LORA = { [`${Q}.lora_down.weight`]: { shape: [4, 320] }, [`${Q}.lora_up.weight`]: { shape: [320, 4] } };
const LOKR = { [`${Q}.lokr_w1`]: { shape: [4, 4] }, [`${Q}.lokr_w2`]: { shape: [80, 80] } };

/** CONFORMANCE.md 1.4 as literal numbers: what each runtime applies. null: it does not compute the family. */
const CASES: readonly (readonly [string, Entries, Readonly<Partial<Record<RuntimeId, number | null>>>])[] = [
	[
		'alpha tensor 2 at rank 4',
		{ ...LORA, [`${Q}.alpha`]: 2 },
		{ comfyui: 0.5, a1111: 0.5, diffusers: 0.5, kohya: 0.5, 'kohya-merge': 0.5, 'sd.cpp': 0.5, invokeai: 0.5, peft: 1 },
	],
	['alpha missing', LORA, { comfyui: 1, a1111: 1, diffusers: 1, kohya: 1, 'kohya-merge': 1, 'sd.cpp': 1, invokeai: 1 }],
	['alpha 0', { ...LORA, [`${Q}.alpha`]: 0 }, { comfyui: 0, a1111: 0, diffusers: 0, kohya: 1, 'kohya-merge': 0, 'sd.cpp': 0, invokeai: 0 }],
	[
		'.scale 3 beside alpha 2',
		{ ...LORA, [`${Q}.alpha`]: 2, [`${Q}.scale`]: 3 },
		{ a1111: 3, 'sd.cpp': 3, comfyui: 0.5, kohya: 0.5, invokeai: 0.5 },
	],
	['LoKr with both factors full', { ...LOKR, [`${Q}.alpha`]: 2 }, { comfyui: 1, a1111: 1, invokeai: 1, diffusers: null, kohya: null }],
];

describe('runtimeStrength', () => {
	for (const [name, entries, expected] of CASES) {
		it.each(Object.entries(expected))(`${name}: %s applies %s`, (runtime, scaling) => {
			const { adapter } = decodeAdapter(memoryInput(entries));
			expect(runtimeStrength(adapter, runtime as RuntimeId).modules.map((m) => m.scaling ?? null)).toEqual([scaling]);
		});
	}
});

describe('strengthDifferences', () => {
	it('is empty where alpha stands in tensors', () => {
		expect(strengthDifferences(decodeAdapter(memoryInput(KOHYA)).adapter)).toEqual([]);
	});

	it('names ComfyUI for alpha in the header, only for the modules that it loads', () => {
		const found = strengthDifferences(decodeAdapter(memoryInput(DIFFUSERS, DIFFUSERS_METADATA)).adapter);
		expect(found.map((d) => [d.runtime, d.own, d.applied, d.modules])).toEqual([
			['comfyui', 2, 1, 1],
			['sd.cpp', 2, 1, 2],
		]);
		expect(found[0]?.message).toBe(
			'ComfyUI applies 1 instead of 2 (0.5 times) to 1 of 2 modules: alpha is only in the header metadata, which ComfyUI does not read.',
		);
		expect(found[0]?.gain).toEqual({ min: 0.5, max: 0.5 });
	});

	it('has no gain where the file means 0', () => {
		const [first] = strengthDifferences(decodeAdapter(memoryInput({ ...LORA, [`${Q}.alpha`]: 0 })).adapter);
		expect(first).toMatchObject({ runtime: 'kohya', own: 0, applied: 1, gain: null });
	});
});

describe('docs/alpha.md', () => {
	const page = readFileSync(join(dirname(fileURLToPath(import.meta.url)), '../../../docs/alpha.md'), 'utf8');

	it.each(RUNTIMES.map((row) => [row.name, row.source]))('names %s and its source', (name, source) => {
		expect(page).toContain(`| ${name}`);
		expect(page).toContain(`- ${name}: \`${source}\``);
	});
});
