import fs from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { f32, lora, PACKAGE, safetensors, type TestTensor, tempFolder } from './cli.js';
import { ATTN, adapter, folderBase, noise, tree } from './fuse-helpers.js';

const top = tempFolder();
let n = 0;
function fresh(): (name: string) => string {
	const folder = path.join(top, String(n++));
	fs.mkdirSync(folder);
	return (name) => path.join(folder, name);
}

/** A base of noise in every float type, with an odd but valid header. */
function noiseBase(dtype: 'F16' | 'BF16' | 'F32'): Buffer {
	return safetensors(
		{
			[`${ATTN}v.weight`]: noise(dtype, [8, 8], 1),
			odd: { dtype: 'U8', shape: [3], data: Buffer.from([1, 2, 3]) },
			[`${ATTN}q.weight`]: noise(dtype, [8, 8], 2),
			[`${ATTN}k.weight`]: noise(dtype, [8, 8], 3),
		},
		{ z: 'last', a: 'first "quoted" \u00e9', 'modelspec.hash_sha256': 'a stale one' },
	);
}

/** DoRA, whose delta is a function of the base, on to_k; LoRA on to_q and to_v. */
function mixedAdapter(): Buffer {
	const tensors: Record<string, TestTensor> = {
		[`unet.${ATTN}k.lora_A.weight`]: f32([2, 8], (i) => Math.sin(i)),
		[`unet.${ATTN}k.lora_B.weight`]: f32([8, 2], (i) => Math.cos(i)),
		[`unet.${ATTN}k.lora_magnitude_vector`]: f32([8], (i) => 1 + i / 9),
	};
	for (const leaf of ['q', 'v']) {
		tensors[`unet.${ATTN}${leaf}.lora_A.weight`] = f32([2, 8], (i) => Math.sin(3 * i) / 7);
		tensors[`unet.${ATTN}${leaf}.lora_B.weight`] = f32([8, 2], (i) => Math.cos(5 * i) / 3);
	}
	return safetensors(tensors);
}

describe('lora unfuse', () => {
	it.each(['F16', 'BF16', 'F32'] as const)('%s: the base comes back bit for bit, header and all', (dtype) => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase(dtype));
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		const fuse = lora(['fuse', at('base.safetensors'), `${at('a.safetensors')}@0.7`, '--out', at('f.safetensors'), '--reversible']);
		expect([fuse.code, fuse.err.replace(/^W_.*\n/gm, '')]).toEqual([0, '']);
		expect(fs.readFileSync(at('f.safetensors'))).not.toEqual(fs.readFileSync(at('base.safetensors')));
		expect(lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors')]).code).toBe(0);
		expect(fs.readFileSync(at('back.safetensors')).equals(noiseBase(dtype))).toBe(true);
		// Neither the adapter nor its place is needed.
		fs.rmSync(at('a.safetensors'));
		fs.renameSync(at('f.safetensors.unfuse'), at('elsewhere'));
		expect(lora(['unfuse', at('f.safetensors'), '--out', at('two.safetensors')]).err).toMatch(/^E_SIDECAR: .*--sidecar/m);
		expect(lora(['unfuse', at('f.safetensors'), '--out', at('two.safetensors'), '--sidecar', at('elsewhere')]).code).toBe(0);
		expect(fs.readFileSync(at('two.safetensors')).equals(noiseBase(dtype))).toBe(true);
	});

	it('overflow to Inf comes back too', () => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase('F16'));
		fs.writeFileSync(
			at('a.safetensors'),
			adapter(
				(i) => i * 1000,
				(j) => j * 100,
			),
		);
		expect(
			lora(['fuse', at('base.safetensors'), at('a.safetensors'), '--out', at('f.safetensors'), '--reversible', '--allow-nonfinite']).code,
		).toBe(0);
		expect(lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors')]).code).toBe(0);
		expect(fs.readFileSync(at('back.safetensors')).equals(noiseBase('F16'))).toBe(true);
	});

	it('a folder: every file as it was, and no sidecar', () => {
		const at = fresh();
		const base = folderBase(at('base'), {
			'diffusion_pytorch_model.safetensors': noiseBase('F16'),
			'b.fp16.safetensors': noiseBase('BF16'),
		});
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		expect(lora(['fuse', base, at('a.safetensors'), '--out', at('f'), '--reversible']).code).toBe(0);
		expect(fs.existsSync(at('f/lorakit.unfuse.safetensors'))).toBe(true);
		expect(lora(['unfuse', at('f'), '--out', at('back')]).code).toBe(0);
		expect(tree(at('back'))).toEqual(tree(base));
		expect(lora(['unfuse', at('f'), '--out', at('f'), '--force']).err).toMatch(/^E_OUTPUT_IS_INPUT: /m);
	});

	it('a strength of 0 changes nothing, and there is a way back all the same', () => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase('F16'));
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		const none = `${at('a.safetensors')}@0`;
		expect(lora(['fuse', at('base.safetensors'), none, '--out', at('f.safetensors'), '--reversible']).code).toBe(0);
		expect(lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors')])).toMatchObject({ code: 0, err: '' });
		expect(fs.readFileSync(at('back.safetensors')).equals(noiseBase('F16'))).toBe(true);
		const base = folderBase(at('base'));
		const fuse = lora(['fuse', base, none, '--out', at('f'), '--reversible']);
		expect([fuse.code, fuse.out]).toEqual([0, expect.not.stringMatching(/Infinity|NaN/)]);
		expect(lora(['unfuse', at('f'), '--out', at('back')]).out).toContain('fuse changed nothing');
		expect(tree(at('back'))).toEqual(tree(base));
		// A torch file has no way back, whatever the strength.
		expect(lora(['convert', at('base.safetensors'), at('base.ckpt'), '--to', 'keep', '--allow-loss']).code).toBe(0);
		expect(lora(['fuse', at('base.ckpt'), none, '--out', at('g.safetensors'), '--reversible']).err).toMatch(/^E_SIDECAR: /m);
	});

	it('does not take standard output for a file', () => {
		expect(lora(['unfuse', 'f.safetensors', '--out', '-'])).toMatchObject({ code: 2, err: expect.stringMatching(/^E_USAGE: /) });
	});

	it('claims no more than it checked', () => {
		const at = fresh();
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		const base = folderBase(at('base'), { 'diffusion_pytorch_model.safetensors': noiseBase('F16') });
		expect(lora(['fuse', base, at('a.safetensors'), '--out', at('f'), '--reversible']).code).toBe(0);
		const { out } = lora(['unfuse', at('f'), '--out', at('back')]);
		expect(out).toContain('4 other files copied as they are, unchecked');
		expect(out).toContain('bit for bit the base in every file that fuse changed');
	});

	it('refuses a fused file that changed, by one byte or as a whole', () => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase('F16'));
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		lora(['fuse', at('base.safetensors'), at('a.safetensors'), '--out', at('f.safetensors'), '--reversible']);
		const good = fs.readFileSync(at('f.safetensors'));
		const bad = Buffer.from(good);
		bad[bad.length - 1] = (bad[bad.length - 1] ?? 0) ^ 1;
		for (const bytes of [bad, noiseBase('F16'), good.subarray(0, good.length - 8), Buffer.alloc(0)]) {
			fs.writeFileSync(at('f.safetensors'), bytes);
			const ran = lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors')]);
			expect(ran.code).toBe(1);
			expect(ran.err).toMatch(/^E_(FUSED_CHANGED|TRUNCATED|EMPTY): /m);
			expect(fs.existsSync(at('back.safetensors'))).toBe(false);
		}
	});

	it('refuses a damaged sidecar, and never writes another base', () => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase('F16'));
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		lora(['fuse', at('base.safetensors'), at('a.safetensors'), '--out', at('f.safetensors'), '--reversible']);
		const good = fs.readFileSync(at('f.safetensors.unfuse'));
		const bad = Buffer.from(good);
		// Inside the residuals, which come last: the result's SHA-256 is what tells.
		bad[bad.length - 8] = (bad[bad.length - 8] ?? 0) ^ 0x10;
		for (const bytes of [bad, good.subarray(0, good.length - 1), Buffer.alloc(0), noiseBase('F16'), Buffer.from('{}')]) {
			fs.writeFileSync(at('f.safetensors.unfuse'), bytes);
			const ran = lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors')]);
			expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/^E_SIDECAR: /m)]);
			expect(fs.existsSync(at('back.safetensors'))).toBe(false);
		}
	});

	it('writes nothing with --dry-run, and gives JSON by its schema', () => {
		const at = fresh();
		fs.writeFileSync(at('base.safetensors'), noiseBase('F16'));
		fs.writeFileSync(at('a.safetensors'), mixedAdapter());
		lora(['fuse', at('base.safetensors'), at('a.safetensors'), '--out', at('f.safetensors'), '--reversible']);
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(
			JSON.parse(fs.readFileSync(path.join(PACKAGE, 'schema/unfuse.schema.json'), 'utf8')),
		);
		for (const more of [['--dry-run'], []]) {
			const document = JSON.parse(lora(['unfuse', at('f.safetensors'), '--out', at('back.safetensors'), '--json', ...more]).out);
			check(document);
			expect(check.errors ?? []).toEqual([]);
			expect(fs.existsSync(at('back.safetensors'))).toBe(more.length === 0);
		}
	});
});
