import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diagnoseRun } from '../src/diagnose/diagnose-run.js';
import { judge } from '../src/judge/judge.js';
import { openTensorFile, valuesOf } from '../src/judge/tensor-file.js';
import type { Verdict } from '../src/judge/verdict.js';
import type { CaseResult } from '../src/run/result.js';
import { runSuite } from '../src/run/run-suite.js';
import type { Case, Precision } from '../src/suite/case.js';
import { loadSuite, OWN_SUITE } from '../src/suite/load-suite.js';
import { type Plain, safetensors } from './support/safetensors.js';

/**
 * The 23 wrong merges that were recorded beside the right one (../shared/reference/inference/faults), answered at L5 and L6
 * by the replay subject: each is caught and named, by whole models and by pictures alone.
 */
const FAULTS = [
	'alpha-ignored',
	'alpha-not-divided-by-rank',
	'rank-of-first-module-for-all',
	'alpha-of-first-module-for-all',
	'alpha-over-rank-squared',
	'rank-over-alpha',
	'user-scale-squared',
	'user-scale-ignored',
	'applied-twice',
	'sign-flipped',
	'up-down-swapped-on-square',
	'delta-column-major',
	'text-encoder-dropped',
	'unet-dropped',
	'block-dropped',
	'mid-block-dropped',
	'conv-ignored',
	'conv3x3-ignored',
	'conv-kernel-flipped',
	'to-out-dropped',
	'cross-attention-only',
	'k-and-v-exchanged',
	'ff-dropped',
] as const;

const suite = loadSuite();
const REPLAY = fileURLToPath(new URL('../harness/replay/subject.mjs', import.meta.url));
const UNET = 'L5/unet/a-strength-0.8';
const TEXT = 'L5/text-encoder/a-strength-0.8';
const IMAGE = 'L6/tiny-sd/lora-a-planted-s0.8-dpm10';

async function replay(answer: string, wanted: (c: Case) => boolean, levels = 'L5,L6'): Promise<readonly CaseResult[]> {
	const { results } = await runSuite({
		suite,
		cases: suite.cases.filter(wanted),
		command: `"${process.execPath}" "${REPLAY}" --answer ${answer} --levels ${levels}`,
		jobs: 1,
		limits: { timeout: 30_000, startTimeout: 30_000, memory: 2 ** 31 },
		isolation: 'hashes',
	});
	return results;
}

const planted = (c: Case): boolean => [UNET, TEXT, IMAGE].includes(c.id);
/** Of the layers: the first of the text encoder, of the UNet, of to_out, of the middle, of up_blocks.1, and some between. */
const layers = (c: Case): boolean => planted(c) || /^L5\/layer\/a\/(000|070|080|140|190|340|400)-/.test(c.id);

describe('a recorded fault', () => {
	it.each(FAULTS)('%s is caught and named', async (fault) => {
		const results = await replay(fault, planted);
		const failed = results.filter((r) => r.status === 'failed');
		expect(failed.map((r) => r.id)).toContain(IMAGE);
		for (const some of [results, results.filter((r) => r.level === 'L6'), results.filter((r) => r.level === 'L5')]) {
			const [first] = await diagnoseRun(suite, some, 'f32');
			const said = first === undefined ? [] : [first.code, ...first.runnersUp];
			expect(said).toContain(fault);
			expect(said.length).toBeLessThanOrEqual(2);
		}
		// Whole runs are all different: one name.
		const image = results.find((r) => r.id === IMAGE)?.diagnosis;
		expect([image?.code, image?.runnersUp]).toEqual([fault, []]);
		expect(image?.detail).toBe(fault === 'block-dropped' ? 'up_blocks.1' : undefined);
	});

	it('and a right subject passes', async () => {
		expect((await replay('right', planted)).map((r) => r.status)).toEqual(['passed', 'passed', 'passed']);
	});
});

describe('where a run goes wrong', () => {
	it.each([
		['text-encoder-dropped', 'text_encoder.text_model.encoder.layers.0.self_attn.q_proj'],
		['unet-dropped', 'unet.down_blocks.0.resnets.0.conv1'],
		['to-out-dropped', 'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0'],
		['mid-block-dropped', 'unet.mid_block.resnets.0.conv1'],
		['block-dropped', 'unet.up_blocks.1.resnets.0.conv1'],
	] as const)('%s: the first wrong layer', async (fault, layer) => {
		const image = (await replay(fault, layers)).find((r) => r.id === IMAGE);
		expect(image?.image).toMatchObject({ firstStep: 9, layer });
		expect(image?.diagnosis).toMatchObject({ code: fault, modules: [layer] });
		expect(image?.message).toContain(`the first wrong layer is ${layer}`);
	});

	it('without an adapter: the first step, and the layer', async () => {
		const image = (await replay('without', layers)).find((r) => r.id === IMAGE);
		expect(image?.image).toMatchObject({ firstStep: 0, layer: 'text_encoder.text_model.encoder.layers.0.self_attn.q_proj' });
		expect(image?.diagnosis?.code).toBe('adapter-not-applied');
	});

	it('is unknown where L5 is not answered', async () => {
		const image = (await replay('sign-flipped', layers, 'L6')).find((r) => r.id === IMAGE);
		expect(image?.image?.layer).toBeNull();
		expect(image?.message).toContain('the layer is unknown');
	});
});

describe('right merges of a lower precision', () => {
	let dir = '';
	beforeAll(() => {
		dir = fs.mkdtempSync(path.join(os.tmpdir(), 'recorded-faults-'));
	});
	afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

	/** The right answer with what was recorded of a merge laid over: of an output its first values, of latents the last. */
	async function judged(id: string, merge: string, probe: string, precision: Precision): Promise<Verdict> {
		const entry = suite.cases.find((c) => c.id === id);
		if (entry === undefined) throw new Error(`no case ${id}`);
		const at = (ref: string): string => path.join(OWN_SUITE, ref);
		const merges = await openTensorFile(fileURLToPath(new URL('../generate/recorded/faults-merges.safetensors', import.meta.url)));
		const right = await openTensorFile(at(entry.expect.outputs ?? entry.expect.latents ?? ''));
		const [name = '', tensor] = [...right.tensors][0] ?? [];
		const over = merges.tensors.get(`${merge}/${probe}`);
		if (tensor === undefined || over === undefined) throw new Error(`nothing recorded of ${merge}`);
		const values = await valuesOf(tensor);
		const recorded = await valuesOf(over);
		values.set(recorded, entry.level === 'L6' ? values.length - recorded.length : 0);
		const answer: Record<string, Plain> = { [name]: { shape: tensor.shape, values } };
		const out = path.join(dir, `${merge}-${probe}.safetensors`);
		fs.writeFileSync(out, safetensors(answer));
		await merges.close();
		await right.close();
		return await judge({
			case: entry,
			expect: entry.expect,
			answer: { kind: 'ok', tensors: undefined, layout: undefined, modules: undefined, unmatched: undefined, scaling: undefined },
			file: at,
			output: (which) => (which === 'png' ? at(entry.expect.png ?? '') : out),
			precision,
			allowance: entry.tolerance?.[precision] ?? {},
		});
	}

	it.each([
		[UNET, 'unet_probe', 'passed'],
		[TEXT, 'text_probe', 'passed'],
		[IMAGE, 'final_latents', 'inconclusive'],
	] as const)('%s is not failed', async (id, probe, status) => {
		expect((await judged(id, 'none', probe, 'f32')).status).toBe('passed');
		expect((await judged(id, 'float16-merge', probe, 'f16')).status).toBe(status);
		expect((await judged(id, 'bfloat16-merge', probe, 'bf16')).status).toBe(status);
		// Declared as float32 it is wrong.
		expect((await judged(id, 'bfloat16-merge', probe, 'f32')).status).toBe('failed');
	});
});
