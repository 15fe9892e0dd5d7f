import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { f32, lora, PACKAGE, readSafetensors, safetensors, startLora, tempFolder } from './cli.js';
import { ATTN, adapter, f16, folderBase, half, tree, unetTensors } from './fuse-helpers.js';

const top = tempFolder();
let n = 0;
/** A folder with `base.safetensors`, and `a.safetensors`: delta[i][j] = i * j / 64 on to_q. */
function fresh(): { at: (name: string) => string; base: string; a: string; out: string } {
	const folder = path.join(top, String(n++));
	fs.mkdirSync(folder);
	const at = (name: string): string => path.join(folder, name);
	fs.writeFileSync(at('base.safetensors'), safetensors(unetTensors(), { format: 'pt', author: 'somebody' }));
	fs.writeFileSync(
		at('a.safetensors'),
		adapter(
			(i) => i / 8,
			(j) => j / 8,
		),
	);
	return { at, base: at('base.safetensors'), a: at('a.safetensors'), out: at('out.safetensors') };
}

const sha256 = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
const NO_STACK = /\n\s+at |node:internal/;

describe('lora fuse, one file', () => {
	it('adds the delta, leaves the rest, keeps the order, and says how', () => {
		const { base, a, out } = fresh();
		const { code, out: text } = lora(['fuse', base, a, '--out', out]);
		expect(code).toBe(0);
		expect(text).toContain('1 modules, 1 tensors');
		const before = readSafetensors(fs.readFileSync(base));
		const after = readSafetensors(fs.readFileSync(out));
		expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
		expect(after.tensors.get(`${ATTN}q.weight`)).toEqual(f16([8, 8], (i) => (i - 30 + (i >> 3) * (i & 7)) / 64));
		for (const name of [`${ATTN}v.weight`, 'mid_block.attentions.0.transformer_blocks.0.norm1.weight'])
			expect(after.tensors.get(name)).toEqual(before.tensors.get(name));
		const { 'lorakit.recipe': recipe = '', ...kept } = after.metadata;
		expect(kept).toEqual({ format: 'pt', author: 'somebody' });
		expect(JSON.parse(recipe)).toMatchObject({
			schema: 'lora.recipe/1',
			tool: 'lorakit',
			base: { files: [{ path: 'base.safetensors', sha256: sha256(base) }] },
			adapters: [{ name: 'a.safetensors', sha256: sha256(a), scale: 1, modules: 1 }],
		});
	});

	it('takes a scale, a component, and any number of adapters, rounded once', () => {
		const { at, a, out } = fresh();
		fs.writeFileSync(at('ones.safetensors'), safetensors(unetTensors((shape) => f16(shape, () => 1))));
		// 0.4 of the step of binary16 above 1: three times is 1.2 steps, one is nothing.
		fs.writeFileSync(
			at('small.safetensors'),
			adapter(
				() => 0.4 * 2 ** -10,
				() => 1,
			),
		);
		const spec = at('small.safetensors');
		expect(lora(['fuse', at('ones.safetensors'), spec, spec, spec, '--out', out]).code).toBe(0);
		const sum = readSafetensors(fs.readFileSync(out)).tensors.get(`${ATTN}q.weight`);
		expect(sum).toEqual(f16([8, 8], () => 1 + 2 ** -10));
		expect(lora(['fuse', at('ones.safetensors'), `${a}@-0.5:unet=0.5`, '--out', out, '--force']).code).toBe(0);
		const scaled = readSafetensors(fs.readFileSync(out)).tensors.get(`${ATTN}q.weight`);
		expect(scaled).toEqual(f16([8, 8], (i) => 1 - ((i >> 3) * (i & 7)) / 256));
	});

	it('makes recorded hashes true', () => {
		const { at, a, out } = fresh();
		fs.writeFileSync(at('m.safetensors'), safetensors(unetTensors(), { 'modelspec.hash_sha256': '0xdead' }));
		expect(lora(['fuse', at('m.safetensors'), a, '--out', out]).code).toBe(0);
		const { metadata, data } = readSafetensors(fs.readFileSync(out));
		expect(metadata['modelspec.hash_sha256']).toBe(`0x${createHash('sha256').update(data).digest('hex')}`);
	});

	it('reads and writes torch files', () => {
		const { at, base, a, out } = fresh();
		expect(lora(['fuse', base, a, '--out', at('out.ckpt')]).code).toBe(0);
		expect(lora(['convert', at('out.ckpt'), at('back.safetensors'), '--to', 'keep']).code).toBe(0);
		expect(lora(['fuse', base, a, '--out', out]).code).toBe(0);
		const want = readSafetensors(fs.readFileSync(out));
		expect(readSafetensors(fs.readFileSync(at('back.safetensors'))).tensors.get(`${ATTN}q.weight`)).toEqual(
			want.tensors.get(`${ATTN}q.weight`),
		);
		expect(lora(['convert', base, at('base.ckpt'), '--to', 'keep', '--allow-loss']).code).toBe(0);
		expect(lora(['fuse', at('base.ckpt'), a, '--out', at('two.safetensors')]).code).toBe(0);
		const two = readSafetensors(fs.readFileSync(at('two.safetensors')));
		for (const [name, tensor] of want.tensors) expect(two.tensors.get(name)).toEqual(tensor);
		expect(JSON.parse(two.metadata['lorakit.recipe'] ?? '').base.files[0].sha256).toBe(sha256(at('base.ckpt')));
		const refused = lora(['fuse', at('base.ckpt'), a, '--out', at('three.safetensors'), '--reversible']);
		expect([refused.code, refused.err]).toEqual([1, expect.stringMatching(/^E_SIDECAR: /)]);
		expect(fs.existsSync(at('three.safetensors'))).toBe(false);
	});

	it('writes embeddings beside', () => {
		const { at, base, out } = fresh();
		const bundled = { 'bundle_emb.tok.string_to_param.*': f32([1, 768], (i) => i / 768) };
		const name = `lora_unet_${ATTN.replaceAll('.', '_')}q`;
		fs.writeFileSync(
			at('b.safetensors'),
			safetensors({
				...bundled,
				[`${name}.alpha`]: f32([], () => 1),
				[`${name}.lora_down.weight`]: f32([1, 8], () => 1),
				[`${name}.lora_up.weight`]: f32([8, 1], () => 1),
			}),
		);
		const { code, out: text } = lora(['fuse', base, at('b.safetensors'), '--out', out]);
		expect(code).toBe(0);
		expect(text).toContain(at('out_emb.safetensors'));
		expect([...readSafetensors(fs.readFileSync(at('out_emb.safetensors'))).tensors.values()]).toEqual(Object.values(bundled));
		expect(lora(['fuse', base, at('b.safetensors'), `${at('b.safetensors')}@0.5`, '--out', at('two.safetensors')]).code).toBe(0);
		expect(fs.readdirSync(at('.')).filter((file) => file.startsWith('two_'))).toEqual(['two_emb.safetensors']);
	});

	it('never writes embeddings over an input, also with --force', () => {
		const { at } = fresh();
		const base = folderBase(at('base'));
		const name = `lora_unet_${ATTN.replaceAll('.', '_')}q`;
		const bytes = safetensors({
			'bundle_emb.tok.string_to_param.*': f32([1, 768], (i) => i / 768),
			[`${name}.alpha`]: f32([], () => 1),
			[`${name}.lora_down.weight`]: f32([1, 8], () => 1),
			[`${name}.lora_up.weight`]: f32([8, 1], () => 1),
		});
		// The very name that the embeddings of OUT would get.
		fs.writeFileSync(at('out_emb.safetensors'), bytes);
		for (const more of [[], ['--dry-run']]) {
			const ran = lora(['fuse', base, at('out_emb.safetensors'), '--out', at('out'), '--force', ...more]);
			expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/^E_OUTPUT_IS_INPUT: /m)]);
			expect(fs.existsSync(at('out'))).toBe(false);
			expect(fs.readFileSync(at('out_emb.safetensors')).equals(bytes)).toBe(true);
		}
	});

	it('writes nothing with --dry-run, and says what would change', () => {
		const { at, base, a, out } = fresh();
		const { code, out: text } = lora(['fuse', base, a, '--out', out, '--dry-run', '--reversible']);
		expect(code).toBe(0);
		expect(text).toContain(`base.safetensors:${ATTN}q.weight  F16 (8, 8)  unet ${ATTN}q`);
		expect(fs.readdirSync(at('.')).sort()).toEqual(['a.safetensors', 'base.safetensors']);
	});

	it('gives JSON by its schema', () => {
		const { base, a, out } = fresh();
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(
			JSON.parse(fs.readFileSync(path.join(PACKAGE, 'schema/fuse.schema.json'), 'utf8')),
		);
		for (const more of [['--dry-run'], ['--reversible']]) {
			const document = JSON.parse(lora(['fuse', base, a, '--out', out, '--json', ...more]).out);
			check(document);
			expect(check.errors ?? []).toEqual([]);
			expect(document).toMatchObject({ modules: 1, tensors: 1, elements: 64 });
		}
		expect(JSON.parse(lora(['fuse', '--schema']).out).oneOf).toHaveLength(2);
	});

	it.each([
		[
			'NaN in a factor',
			'E_NONFINITE',
			adapter(
				() => Number.NaN,
				() => 1,
			),
		],
		[
			'Inf in a factor',
			'E_NONFINITE',
			adapter(
				() => 1,
				() => Number.POSITIVE_INFINITY,
			),
		],
		[
			'a result beyond F16',
			'E_NONFINITE',
			adapter(
				() => 1000,
				() => 100,
			),
		],
		[
			'another width',
			'E_BASE_MISMATCH',
			safetensors({ [`unet.${ATTN}q.lora_A.weight`]: f32([1, 16], () => 1), [`unet.${ATTN}q.lora_B.weight`]: f32([8, 1], () => 1) }),
		],
		['an empty file', 'E_EMPTY', Buffer.alloc(0)],
	])('refuses %s, names the module, leaves nothing', (_what, code, bytes) => {
		const { at, base, out } = fresh();
		fs.writeFileSync(at('bad.safetensors'), bytes);
		const ran = lora(['fuse', base, at('bad.safetensors'), '--out', out, '--reversible']);
		expect(ran.code).toBe(1);
		expect(ran.err).toContain(`${code}: `);
		if (code !== 'E_EMPTY') expect(ran.err).toContain(`${ATTN}q`);
		expect(ran.err).not.toMatch(NO_STACK);
		expect(fs.readdirSync(at('.')).sort()).toEqual(['a.safetensors', 'bad.safetensors', 'base.safetensors']);
	});

	it('--allow-nonfinite writes Inf and says so', () => {
		const { at, base, out } = fresh();
		fs.writeFileSync(
			at('big.safetensors'),
			adapter(
				() => 1000,
				() => 100,
			),
		);
		const ran = lora(['fuse', base, at('big.safetensors'), '--out', out, '--allow-nonfinite']);
		expect([ran.code, ran.err]).toEqual([0, expect.stringContaining(`W_OVERFLOW: 64 elements of "${ATTN}q.weight"`)]);
		expect(readSafetensors(fs.readFileSync(out)).tensors.get(`${ATTN}q.weight`)?.data.readUInt16LE(0)).toBe(0x7c00);
	});

	it('alpha 0 changes nothing, a negative alpha subtracts', () => {
		const { at, base, out } = fresh();
		const name = `lora_unet_${ATTN.replaceAll('.', '_')}q`;
		for (const alpha of [0, -1]) {
			fs.writeFileSync(
				at('k.safetensors'),
				safetensors({
					[`${name}.alpha`]: f32([], () => alpha),
					[`${name}.lora_down.weight`]: f32([1, 8], () => 1 / 8),
					[`${name}.lora_up.weight`]: f32([8, 1], () => 1 / 8),
				}),
			);
			const { code } = lora(['fuse', base, at('k.safetensors'), '--out', out, '--force']);
			if (code !== 0) expect(alpha).toBe(0);
			else expect(readSafetensors(fs.readFileSync(out)).tensors.get(`${ATTN}q.weight`)).toEqual(f16([8, 8], (i) => (i - 30 + alpha) / 64));
		}
	});

	it('refuses what is there, and an input as output, whatever its name', () => {
		const { at, base, a, out } = fresh();
		fs.writeFileSync(out, 'old');
		expect(lora(['fuse', base, a, '--out', out]).err).toMatch(/^E_OUTPUT_EXISTS: /m);
		expect(fs.readFileSync(out, 'utf8')).toBe('old');
		const before = sha256(base);
		fs.linkSync(base, at('hard.safetensors'));
		for (const same of [base, at('hard.safetensors'), a])
			expect(lora(['fuse', base, a, '--out', same, '--force']).err).toMatch(/^E_OUTPUT_IS_INPUT: /m);
		expect(sha256(base)).toBe(before);
		expect(lora(['fuse', base, a]).code).toBe(2);
		expect(lora(['fuse', base, a, '--out', at('out.xyz')]).code).toBe(2);
	});

	it('a kill at any moment leaves the old file or the new one, whole', async () => {
		const { at, base, a, out } = fresh();
		for (const signal of ['SIGKILL', 'SIGINT', 'SIGTERM'] as const) {
			for (const delay of [60, 110, 160]) {
				fs.writeFileSync(out, 'old');
				const child = startLora(['fuse', base, a, '--out', out, '--force']);
				const done = new Promise((resolve) => child.on('close', resolve));
				await new Promise((resolve) => setTimeout(resolve, delay));
				child.kill(signal);
				await done;
				const bytes = fs.readFileSync(out);
				if (bytes.toString() !== 'old') expect(readSafetensors(bytes).tensors.size).toBe(3);
				if (signal !== 'SIGKILL') expect(fs.readdirSync(at('.')).filter((name) => name.endsWith('.tmp'))).toEqual([]);
				for (const name of fs.readdirSync(at('.'))) if (name.endsWith('.tmp')) fs.rmSync(at(name));
			}
		}
	});
});

describe('lora fuse, a folder', () => {
	it('fuses every variant, copies the rest, leaves out second copies', () => {
		const { at, a } = fresh();
		const plain = safetensors(unetTensors(f32));
		const base = folderBase(at('base'), {
			'diffusion_pytorch_model.safetensors': plain,
			'diffusion_pytorch_model.fp16.safetensors': safetensors(unetTensors()),
			'diffusion_pytorch_model.bin': Buffer.from('not even read'),
			'config.json': Buffer.from('{"_class_name": "UNet2DConditionModel"}'),
		});
		fs.writeFileSync(path.join(base, 'v1-5-pruned.ckpt'), 'a whole checkpoint');
		const ran = lora(['fuse', base, a, '--out', at('out')]);
		expect(ran.code).toBe(0);
		expect(ran.err.match(/^W_FILE_LEFT_OUT: .*$/gm)?.join('\n')).toMatch(
			/unet\/diffusion_pytorch_model\.bin[\s\S]*v1-5-pruned|v1-5-pruned[\s\S]*unet\/diffusion_pytorch_model\.bin/,
		);
		const after = tree(at('out'));
		const before = tree(base);
		const same = Object.keys(before).filter((name) => before[name] === after[name]);
		expect(Object.keys(after).filter((name) => !same.includes(name))).toEqual([
			'unet/diffusion_pytorch_model.fp16.safetensors',
			'unet/diffusion_pytorch_model.safetensors',
		]);
		expect(Object.keys(before).filter((name) => !(name in after))).toEqual(['unet/diffusion_pytorch_model.bin', 'v1-5-pruned.ckpt']);
		const value = (i: number): number => (i - 30 + (i >> 3) * (i & 7)) / 64;
		const tensor = (name: string) => readSafetensors(fs.readFileSync(at(`out/unet/${name}`))).tensors.get(`${ATTN}q.weight`);
		expect(tensor('diffusion_pytorch_model.safetensors')).toEqual(f32([8, 8], value));
		expect(tensor('diffusion_pytorch_model.fp16.safetensors')).toEqual(f16([8, 8], value));
	});

	it('takes shards by their index, and refuses a missing one', () => {
		const { at, a } = fresh();
		const [first, second, third] = Object.entries(unetTensors());
		if (first === undefined || second === undefined || third === undefined) throw new Error('three tensors');
		const shard = (k: number): string => `diffusion_pytorch_model-0000${k}-of-00002.safetensors`;
		const index = { metadata: {}, weight_map: { [first[0]]: shard(1), [second[0]]: shard(2), [third[0]]: shard(2) } };
		const base = folderBase(at('base'), {
			[shard(1)]: safetensors(Object.fromEntries([first])),
			[shard(2)]: safetensors(Object.fromEntries([second, third])),
			'diffusion_pytorch_model.safetensors.index.json': Buffer.from(JSON.stringify(index)),
		});
		expect(lora(['fuse', base, a, '--out', at('out')]).code).toBe(0);
		const before = tree(base);
		const after = tree(at('out'));
		expect(Object.keys(after)).toEqual(Object.keys(before));
		expect(Object.keys(after).filter((name) => after[name] !== before[name])).toEqual([`unet/${shard(1)}`]);
		for (const [what, change] of [
			['moved', () => fs.writeFileSync(path.join(base, 'unet', shard(2)), safetensors(Object.fromEntries([second])))],
			['gone', () => fs.rmSync(path.join(base, 'unet', shard(2)))],
			['gone, no index', () => fs.rmSync(path.join(base, 'unet/diffusion_pytorch_model.safetensors.index.json'))],
		] as const) {
			change();
			const ran = lora(['fuse', base, a, '--out', at('two')]);
			expect([what, ran.code, ran.err]).toEqual([what, 1, expect.stringMatching(/^E_SHARD_MISSING: .*(00002-of-00002|norm1)/m)]);
			expect(fs.existsSync(at('two'))).toBe(false);
		}
	});

	it('follows the links of a snapshot in the cache', () => {
		const { at, a } = fresh();
		const plain = folderBase(at('plain'));
		fs.mkdirSync(at('blobs'));
		let k = 0;
		for (const name of Object.keys(tree(plain))) {
			const blob = at(`blobs/${k++}`);
			fs.mkdirSync(path.dirname(at(`snapshot/${name}`)), { recursive: true });
			fs.renameSync(path.join(plain, name), blob);
			fs.symlinkSync(blob, at(`snapshot/${name}`));
		}
		expect(lora(['fuse', at('snapshot'), a, '--out', at('out')]).code).toBe(0);
		expect(Object.keys(tree(at('out')))).toEqual(Object.keys(tree(at('snapshot'))));
		expect(fs.lstatSync(at('out/model_index.json')).isSymbolicLink()).toBe(false);
	});

	it('replaces only a model, only with --force, and never an input', () => {
		const { at, a } = fresh();
		const base = folderBase(at('base'));
		const before = tree(base);
		for (const out of [base, path.join(base, 'inside'), at('.'), path.join(base, '..', 'base')]) {
			expect(lora(['fuse', base, a, '--out', out, '--force']).err).toMatch(/^E_OUTPUT_IS_INPUT: /m);
		}
		expect(tree(base)).toEqual(before);
		fs.mkdirSync(at('photos'));
		fs.writeFileSync(at('photos/cat.jpg'), 'cat');
		expect(lora(['fuse', base, a, '--out', at('photos'), '--force']).err).toMatch(/^E_OUTPUT_EXISTS: .*does not look like a model/m);
		expect(fs.readFileSync(at('photos/cat.jpg'), 'utf8')).toBe('cat');
		expect(lora(['fuse', base, a, '--out', at('out')]).code).toBe(0);
		const once = tree(at('out'));
		expect(lora(['fuse', base, a, '--out', at('out')]).err).toMatch(/^E_OUTPUT_EXISTS: /m);
		fs.writeFileSync(at('out/stale.txt'), 'stale');
		expect(lora(['fuse', base, a, '--out', at('out'), '--force']).code).toBe(0);
		expect(tree(at('out'))).toEqual(once);
		expect(fs.readdirSync(at('.')).sort()).toEqual(['a.safetensors', 'base', 'base.safetensors', 'out', 'photos']);
	});

	it('a kill at any moment leaves no half folder', async () => {
		const { at, a } = fresh();
		const base = folderBase(at('base'));
		expect(lora(['fuse', base, a, '--out', at('out')]).code).toBe(0);
		const whole = Object.keys(tree(at('out')));
		for (const signal of ['SIGKILL', 'SIGINT'] as const) {
			for (const delay of [60, 100, 140, 180]) {
				const child = startLora(['fuse', base, a, '--out', at('out'), '--force']);
				const done = new Promise((resolve) => child.on('close', resolve));
				await new Promise((resolve) => setTimeout(resolve, delay));
				child.kill(signal);
				await done;
				expect(Object.keys(tree(at('out')))).toEqual(whole);
				if (signal === 'SIGINT')
					expect(fs.readdirSync(at('.')).filter((name) => name.startsWith('.out') && name.endsWith('.tmp'))).toEqual([]);
				for (const name of fs.readdirSync(at('.'))) if (name.startsWith('.out')) fs.rmSync(at(name), { recursive: true });
			}
		}
		expect(half(1)).toBe(0x3c00);
	});
});
