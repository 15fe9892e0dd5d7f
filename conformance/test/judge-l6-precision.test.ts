import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judgeImage } from '../src/judge/judge-image.js';
import { openTensorFile, type TensorFile, valuesOf } from '../src/judge/tensor-file.js';
import type { Verdict } from '../src/judge/verdict.js';
import type { Case, Precision } from '../src/suite/case.js';
import { loadSuite, OWN_SUITE } from '../src/suite/load-suite.js';
import { safetensors } from './support/safetensors.js';

/**
 * No right subject is accused at f16 and bf16: the judge gets the latents of whole diffusers runs in these precisions
 * (`generate/record_precision.py`; adapters loaded by PEFT), and figures of the other right ways to run.
 */
const RECORDED = fileURLToPath(new URL('../generate/recorded/', import.meta.url));
const PRECISIONS: readonly Precision[] = ['f16', 'bf16'];

const cases = loadSuite().cases.filter((c) => c.level === 'L6');
const figures = JSON.parse(fs.readFileSync(path.join(RECORDED, 'images-precision.json'), 'utf8')) as Record<
	string,
	Record<string, Record<string, number>>
>;
const both = cases.flatMap((c) => PRECISIONS.map((p) => [c.id, p, c] as const));

let dir = '';
let recording: TensorFile | undefined;
beforeAll(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'l6-precision-'));
	recording = await openTensorFile(path.join(RECORDED, 'images-precision.safetensors'));
});
afterAll(async () => {
	await recording?.close();
	fs.rmSync(dir, { recursive: true, force: true });
});

/** A subject's answer: a file of one tensor `latents`, the recorded values (float32 holds them exactly). */
async function recorded(name: string): Promise<string> {
	const tensor = recording?.tensors.get(name);
	if (tensor === undefined) throw new Error(`nothing recorded of ${name}`);
	const out = path.join(dir, `${name.replaceAll('/', '-')}.safetensors`);
	fs.writeFileSync(out, safetensors({ latents: { shape: tensor.shape, values: await valuesOf(tensor) } }));
	return out;
}

function judged(c: Case, precision: Precision, latents: string): Promise<Verdict> {
	const at = (ref: string): string => path.join(OWN_SUITE, ref);
	return judgeImage({
		case: c,
		expect: c.expect,
		answer: { kind: 'ok', tensors: undefined, layout: undefined, modules: undefined, unmatched: undefined, scaling: undefined },
		file: at,
		output: (name) => (name === 'png' ? at(c.expect.png ?? '') : latents),
		precision,
		allowance: c.tolerance?.[precision] ?? {},
	});
}

describe('a right run is never accused', () => {
	it.each(both)('%s at %s', async (id, precision, c) => {
		const verdict = await judged(c, precision, await recorded(`${precision}/${id}`));
		expect(verdict.status).toBe('inconclusive');
		// Judge and recorder measure the same.
		expect(verdict.measure?.error).toBeCloseTo(figures[id]?.[precision]?.['loaded'] ?? Number.NaN, 4);
	});

	it.each(both)('%s at %s: the other right ways, three times over', (id, precision, c) => {
		const ways = Object.values(figures[id]?.[precision] ?? {});
		expect(ways.length).toBe(3);
		// Bounds have three digits.
		expect(c.tolerance?.[precision]?.inconclusiveBelow).toBeGreaterThanOrEqual(3 * Math.max(...ways) * (1 - 5e-3));
	});
});

describe('a wrong run never passes', () => {
	const adapted = both.filter(([, , c]) => c.expect.without !== c.expect.latents && !c.id.includes('-s0-'));
	it.each(adapted)('%s at %s, without its adapter', async (_id, precision, c) => {
		const { status } = await judged(c, precision, path.join(OWN_SUITE, c.expect.without ?? ''));
		expect(['failed', 'inconclusive']).toContain(status);
	});

	it('and is failed wherever the adapter does more than the precision', async () => {
		const missed: string[] = [];
		for (const [id, precision, c] of adapted) {
			const { status } = await judged(c, precision, path.join(OWN_SUITE, c.expect.without ?? ''));
			if (status !== 'failed') missed.push(`${id} ${precision}`);
			const says = c.tolerance?.derivation.includes('this run decides nothing') === true;
			if (status !== 'failed') expect(says, id).toBe(true);
		}
		// The rest is most of them.
		expect(missed.length).toBeLessThan(adapted.length / 4);
	});
});
