import fs from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { f32, lora, PACKAGE, safetensors, type TestTensor, tempFolder } from './cli.js';
import { ATTN, adapter, unetTensors } from './fuse-helpers.js';

const folder = tempFolder();
const at = (name: string): string => path.join(folder, name);
fs.writeFileSync(at('base.safetensors'), safetensors(unetTensors(f32)));
fs.writeFileSync(
	at('a.safetensors'),
	adapter(
		(i) => (i + 1) / 8,
		(j) => (j - 3) / 8,
	),
);

/** The base with `share` of the delta at strength 1 on to_q. */
function fused(share: number): string {
	const tensors: Record<string, TestTensor> = unetTensors(f32);
	tensors[`${ATTN}q.weight`] = f32([8, 8], (i) => (i - 30) / 64 + (share * ((i >> 3) + 1) * ((i & 7) - 3)) / 64);
	const file = at(`fused-${share}.safetensors`);
	fs.writeFileSync(file, safetensors(tensors));
	return file;
}

describe('lora verify', () => {
	it('says right, and exits 0', () => {
		const ran = lora(['verify', at('base.safetensors'), `${at('a.safetensors')}@0.5`, fused(0.5)]);
		expect([ran.code, ran.out]).toEqual([0, expect.stringMatching(/^right: all 1 tensors/)]);
		expect(lora(['fuse', at('base.safetensors'), at('a.safetensors'), '--out', at('ours.safetensors')]).code).toBe(0);
		expect(lora(['verify', at('base.safetensors'), at('a.safetensors'), at('ours.safetensors')]).code).toBe(0);
	});

	it.each([
		['a squared strength', '0.5', 0.25, 'strength-squared', 0.5],
		['nothing added', '1', 0, 'not-applied', 0],
		['the wrong sign', '1', -1, 'subtracted', -1],
		['twice', '1', 2, 'applied-twice', 2],
	])('names %s', (_what, scale, share, cause, gain) => {
		const ran = lora(['verify', at('base.safetensors'), `${at('a.safetensors')}@${scale}`, fused(share), '--json']);
		expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/^E_VERIFY: /m)]);
		const document = JSON.parse(ran.out);
		expect(document).toMatchObject({ ok: false, cause });
		expect(document.gain).toBeCloseTo(gain, 6);
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(
			JSON.parse(fs.readFileSync(path.join(PACKAGE, 'schema/verify.schema.json'), 'utf8')),
		);
		check(document);
		expect(check.errors ?? []).toEqual([]);
	});

	it('sees a tensor that should not have changed', () => {
		const tensors = unetTensors(f32);
		tensors[`${ATTN}q.weight`] = f32([8, 8], (i) => (i - 30) / 64 + (((i >> 3) + 1) * ((i & 7) - 3)) / 64);
		tensors[`${ATTN}v.weight`] = f32([8, 8], () => 5);
		fs.writeFileSync(at('touched.safetensors'), safetensors(tensors));
		const ran = lora(['verify', at('base.safetensors'), at('a.safetensors'), at('touched.safetensors')]);
		expect([ran.code, ran.out]).toEqual([1, expect.stringContaining(`${ATTN}v.weight`)]);
		expect(ran.err).toMatch(/^E_VERIFY: .*1 tensors that no adapter touches are not those of the base/m);
	});

	it('needs three names', () => {
		expect(lora(['verify', at('base.safetensors'), at('a.safetensors')]).code).toBe(2);
		expect(JSON.parse(lora(['verify', '--schema']).out).oneOf).toHaveLength(2);
	});
});
