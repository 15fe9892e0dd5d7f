import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judgeImage } from '../src/judge/judge-image.js';
import type { Verdict } from '../src/judge/verdict.js';
import type { Case, Precision } from '../src/suite/case.js';

/**
 * No right subject is accused at f16 and bf16: the judge gets the latents of whole diffusers runs in these precisions
 * (`generate/record_precision.py`; adapters loaded by PEFT), and figures of the other right ways to run.
 */
const CASES = fileURLToPath(new URL('../cases/', import.meta.url));
const RECORDED = fileURLToPath(new URL('../generate/recorded/', import.meta.url));
const PRECISIONS: readonly Precision[] = ['f16', 'bf16'];

const read = <T>(file: string): T => JSON.parse(fs.readFileSync(file, 'utf8')) as T;
const cases = ['shapes', 'tiny-sd'].flatMap((group) => read<readonly Case[]>(path.join(CASES, `images/${group}.json`)));
const figures = read<Record<string, Record<string, Record<string, number>>>>(path.join(RECORDED, 'images-precision.json'));
const both = cases.flatMap((c) => PRECISIONS.map((p) => [c.id, p, c] as const));

interface Entry {
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly data_offsets: readonly [number, number];
}

let dir = '';
let file: Buffer = Buffer.alloc(0);
let header: Record<string, Entry> = {};
let data = 0;
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'l6-precision-'));
	file = fs.readFileSync(path.join(RECORDED, 'images-precision.safetensors'));
	data = 8 + Number(file.readBigUInt64LE(0));
	header = JSON.parse(file.subarray(8, data).toString('utf8')) as Record<string, Entry>;
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

/** A file of one tensor `latents`, the bytes of the recording. */
function recorded(name: string): string {
	const entry = header[name];
	if (entry === undefined) throw new Error(`nothing recorded of ${name}`);
	const [from, to] = entry.data_offsets;
	const text = JSON.stringify({ latents: { dtype: entry.dtype, shape: entry.shape, data_offsets: [0, to - from] } });
	const size = Buffer.alloc(8);
	size.writeBigUInt64LE(BigInt(text.length));
	const out = path.join(dir, `${name.replaceAll('/', '-')}.safetensors`);
	fs.writeFileSync(out, Buffer.concat([size, Buffer.from(text), file.subarray(data + from, data + to)]));
	return out;
}

function judged(c: Case, precision: Precision, latents: string): Promise<Verdict> {
	const at = (ref: string): string => path.join(CASES, ref);
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
		const verdict = await judged(c, precision, recorded(`${precision}/${id}`));
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
		const { status } = await judged(c, precision, path.join(CASES, c.expect.without ?? ''));
		expect(['failed', 'inconclusive']).toContain(status);
	});

	it('and is failed wherever the adapter does more than the precision', async () => {
		const missed: string[] = [];
		for (const [id, precision, c] of adapted) {
			const { status } = await judged(c, precision, path.join(CASES, c.expect.without ?? ''));
			if (status !== 'failed') missed.push(`${id} ${precision}`);
			const says = c.tolerance?.derivation.includes('this run decides nothing') === true;
			if (status !== 'failed') expect(says, id).toBe(true);
		}
		// The rest is most of them.
		expect(missed.length).toBeLessThan(adapted.length / 4);
	});
});
