import fs from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { FIXTURES, f32, kohyaFile, LORA_CONVERT, lora, PACKAGE, readSafetensors, safetensors, tempFolder } from './cli.js';

const top = tempFolder();
let n = 0;
/** A folder of its own with `style.safetensors` (kohya, rank 2, alpha 1) in it. */
function fresh(): { folder: string; input: string } {
	const folder = path.join(top, String(n++));
	fs.mkdirSync(folder);
	const input = path.join(folder, 'style.safetensors');
	fs.writeFileSync(input, kohyaFile({ ss_output_name: 'style' }));
	return { folder, input };
}

const MODULE = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_';

describe('lora convert', () => {
	it('writes diffusers by default, bit for bit, and says what became of everything', () => {
		const { folder, input } = fresh();
		const out = path.join(folder, 'out.safetensors');
		const { code, out: text } = lora(['convert', input, out]);
		expect(code).toBe(0);
		expect(text).toContain('kohya -> diffusers');
		const before = readSafetensors(fs.readFileSync(input));
		const after = readSafetensors(fs.readFileSync(out));
		const names = [...after.tensors.keys()].sort();
		expect(names).toHaveLength(4);
		for (const leaf of ['q', 'v'])
			for (const side of ['up', 'down']) {
				const name = names.find((x) => x.includes(`${MODULE}${leaf}`) && (side === 'up' ? /up|lora_B/ : /down|lora_A/).test(x)) ?? '';
				const old = before.tensors.get(`lora_unet_${MODULE.replace(/\./g, '_')}${leaf}.lora_${side}.weight`);
				expect(after.tensors.get(name)).toEqual(old);
			}
	});

	it('is also lora-convert', () => {
		const { folder, input } = fresh();
		const out = path.join(folder, 'out.safetensors');
		expect(lora([input, out, '--quiet'], { bin: LORA_CONVERT })).toMatchObject({ code: 0, out: `${out}\n` });
		expect(fs.existsSync(out)).toBe(true);
	});

	it('goes there and back, header and all', () => {
		const { folder, input } = fresh();
		const middle = path.join(folder, 'middle.safetensors');
		const back = path.join(folder, 'back.safetensors');
		expect(lora(['convert', input, middle]).code).toBe(0);
		expect(lora(['convert', middle, back, '--to', 'kohya']).code).toBe(0);
		const before = readSafetensors(fs.readFileSync(input));
		const after = readSafetensors(fs.readFileSync(back));
		expect(after.metadata).toEqual(before.metadata);
		for (const [name, tensor] of before.tensors) expect(after.tensors.get(name)).toEqual(tensor);
		expect(after.tensors.size).toBe(before.tensors.size);
	});

	it('refuses what is there, replaces it with --force, writes nothing with --dry-run', () => {
		const { folder, input } = fresh();
		const out = path.join(folder, 'out.safetensors');
		const dry = lora(['convert', input, out, '--dry-run']);
		expect(dry.code).toBe(0);
		expect(dry.out).toContain(`lora_unet_${MODULE.replace(/\./g, '_')}q.lora_up.weight -> `);
		expect(fs.existsSync(out)).toBe(false);
		fs.writeFileSync(out, 'old');
		const refused = lora(['convert', input, out]);
		expect(refused.code).toBe(1);
		expect(refused.err).toMatch(/^E_OUTPUT_EXISTS: /);
		expect(fs.readFileSync(out, 'utf8')).toBe('old');
		expect(lora(['convert', input, out, '--force']).code).toBe(0);
		expect(readSafetensors(fs.readFileSync(out)).tensors.size).toBe(4);
	});

	it('gives a receipt whose counts add up, and JSON by its schema', () => {
		const { folder, input } = fresh();
		const receipt = path.join(folder, 'receipt.json');
		const { code, out } = lora(['convert', input, path.join(folder, 'out.safetensors'), '--receipt', receipt, '--json']);
		expect(code).toBe(0);
		const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });
		const document = JSON.parse(out);
		const written = JSON.parse(fs.readFileSync(receipt, 'utf8'));
		expect(document.receipt).toEqual(written);
		for (const [file, value] of [
			['schema/convert.schema.json', document],
			['../format/schema/receipt.schema.json', written],
		] as const) {
			const check = ajv.compile(JSON.parse(fs.readFileSync(path.join(PACKAGE, file), 'utf8')));
			check(value);
			expect(check.errors ?? []).toEqual([]);
		}
		const { total, carried, renamed, transformed, lost } = written.counts.tensors;
		expect([total, carried + renamed + transformed + lost]).toEqual([6, 6]);
		expect(document.outputs[0].bytes).toBe(fs.statSync(path.join(folder, 'out.safetensors')).size);
	});

	it('takes standard input and output', () => {
		const { out, bytes, code, err } = lora(['convert', '-', '-', '--to', 'keep'], { input: kohyaFile() });
		expect(code).toBe(0);
		expect(out.length).toBeGreaterThan(0);
		expect(err).toContain('standard input -> standard output');
		const before = readSafetensors(kohyaFile());
		const after = readSafetensors(bytes);
		for (const [name, tensor] of before.tensors) expect(after.tensors.get(name)).toEqual(tensor);
		const two = lora(['convert', '-', '-', '--to', 'peft'], { input: kohyaFile() });
		expect(two.code).toBe(2);
		expect(two.err).toMatch(/^E_USAGE: .*adapter_config\.json/);
		expect(two.bytes).toHaveLength(0);
	});

	it('takes the companions of cloneofsimo, and writes them, all or none', () => {
		const { folder } = fresh();
		for (const [from, to] of [
			['legacy_nonzip_r1.pt', 'x.pt'],
			['r4.text_encoder.pt', 'x.text_encoder.pt'],
			['r4.ti.pt', 'x.ti.pt'],
		] as const)
			fs.copyFileSync(path.join(FIXTURES, 'adapters/cloneofsimo', from), path.join(folder, to));
		const out = path.join(folder, 'y.safetensors');
		const to = lora(['convert', path.join(folder, 'x.pt'), out, '--quiet', '--order', 'new']);
		expect(to.code).toBe(0);
		const [first, ...beside] = to.out.trimEnd().split('\n');
		expect(first).toBe(out);
		expect(beside.map((f) => path.basename(f))).toEqual(['y_emb_s1.safetensors', 'y_emb_s2.safetensors']);
		const noted = lora(['convert', path.join(folder, 'x.pt'), path.join(folder, 'z.pt'), '--to', 'cloneofsimo', '--order', 'new']);
		expect(noted.code).toBe(0);
		expect(noted.err).toMatch(/^note: .*x\.text_encoder\.pt belongs to/m);
		expect(
			fs
				.readdirSync(folder)
				.filter((f) => f.startsWith('z'))
				.sort(),
		).toEqual(['z.pt', 'z.text_encoder.pt', 'z.ti.pt']);
		fs.rmSync(path.join(folder, 'z.pt'));
		const again = lora(['convert', path.join(folder, 'x.pt'), path.join(folder, 'z.pt'), '--to', 'cloneofsimo', '--order', 'new']);
		expect(again.err).toMatch(/^E_OUTPUT_EXISTS: .*z\.text_encoder\.pt/m);
		expect(fs.existsSync(path.join(folder, 'z.pt'))).toBe(false);
		const alone = lora([
			...['convert', path.join(folder, 'x.pt'), path.join(folder, 'w.pt'), '--to', 'cloneofsimo', '--order', 'new'],
			...['--text-encoder', 'none', '--embeddings', 'none', '--quiet'],
		]);
		expect(alone).toMatchObject({ code: 0, out: `${path.join(folder, 'w.pt')}\n` });
	});

	it('refuses cloneofsimo where the strength would be lost, unless it is folded in', () => {
		const { folder, input } = fresh();
		const out = path.join(folder, 'out.safetensors');
		const { code, err } = lora(['convert', input, out, '--to', 'cloneofsimo']);
		expect(code).toBe(1);
		expect(err).toMatch(/^E_[A-Z_]+: [^\n]*\n$/m);
		expect(fs.existsSync(out)).toBe(false);
	});

	it('finds a folder with an adapter in it', () => {
		const { folder } = fresh();
		const out = path.join(folder, 'out.safetensors');
		const { code, err } = lora(['convert', path.join(FIXTURES, 'adapters/peft/text_encoder_part'), out]);
		expect([err.match(/^E_/m), code]).toEqual([null, 0]);
		expect(err).toContain('adapter_config.json belongs to');
	});

	it('keep takes any tensor file, and names what is no tensor', () => {
		const { folder } = fresh();
		const { code, err } = lora(['convert', path.join(FIXTURES, 'torch/nested.pt'), path.join(folder, 'o.safetensors'), '--to', 'keep']);
		expect(code).toBe(0);
		expect(err).toMatch(/^W_NON_TENSOR: /m);
		expect([...readSafetensors(fs.readFileSync(path.join(folder, 'o.safetensors'))).tensors.keys()].sort()).toEqual([
			'te.0',
			'te.1',
			'unet.blocks.0',
			'unet.blocks.1.y',
			'unet.x',
		]);
	});

	it('warns of what rounding makes of numbers', () => {
		const { folder } = fresh();
		const file = path.join(folder, 'tiny.safetensors');
		fs.writeFileSync(file, safetensors({ w: f32([4], () => 1e-12) }));
		const { code, err } = lora(['convert', file, path.join(folder, 'o.safetensors'), '--to', 'keep', '--dtype', 'f16']);
		expect(code).toBe(0);
		expect(err).toMatch(/^W_UNDERFLOW: /m);
	});
});

describe('lora convert --base', () => {
	it('reads which modules the base has', () => {
		const { folder, input } = fresh();
		const base = path.join(folder, 'base.safetensors');
		fs.mkdirSync(path.join(folder, 'model/unet'), { recursive: true });
		const weight = (leaf: string) => `${MODULE}${leaf}.weight`;
		const both = safetensors({ [weight('q')]: f32([8, 8], () => 0), [weight('v')]: f32([8, 8], () => 0) });
		fs.writeFileSync(path.join(folder, 'model/unet/diffusion_pytorch_model.safetensors'), both);
		expect(lora(['convert', input, path.join(folder, 'a.safetensors'), '--base', path.join(folder, 'model')]).code).toBe(0);
		const half = safetensors({ [weight('q')]: f32([8, 8], () => 0) });
		fs.writeFileSync(path.join(folder, 'model/unet/diffusion_pytorch_model.safetensors'), half);
		const refused = lora(['convert', input, path.join(folder, 'b.safetensors'), '--base', path.join(folder, 'model')]);
		expect(refused.code).toBe(1);
		expect(refused.err).toMatch(/^E_(MODULE_NOT_IN_BASE|BASE_MISMATCH): /m);
		fs.writeFileSync(base, safetensors({ nothing: f32([1], () => 0) }));
		expect(lora(['convert', input, path.join(folder, 'c.safetensors'), '--base', base]).err).toMatch(/^E_FORMAT: /m);
	});
});

describe('lora convert --out-dir', () => {
	it('converts many, goes on after a refusal, sums up and exits 1', () => {
		const { folder } = fresh();
		const source = path.join(folder, 'in');
		fs.mkdirSync(source);
		for (const name of ['a', 'b', 'c']) fs.writeFileSync(path.join(source, `${name}.safetensors`), kohyaFile());
		fs.writeFileSync(path.join(source, 'd.safetensors'), 'nonsense');
		const outDir = path.join(folder, 'out');
		const { code, out, err } = lora(['convert', source, '--out-dir', outDir, '--jobs', '2']);
		expect(code).toBe(1);
		expect(err).toContain('3 of 4 converted, 1 failed');
		expect(err).toMatch(/^E_[A-Z_]+: .*d\.safetensors/m);
		expect(out.match(/ -> /g)?.length).toBeGreaterThanOrEqual(3);
		expect(fs.readdirSync(outDir).sort()).toEqual(['a.safetensors', 'b.safetensors', 'c.safetensors']);
		const quiet = lora([
			'convert',
			path.join(source, '[ab].safetensors'),
			'--out-dir',
			path.join(folder, 'peft'),
			'--to',
			'peft',
			'--quiet',
		]);
		expect(quiet.code).toBe(0);
		expect(fs.readdirSync(path.join(folder, 'peft/a')).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
	});

	it('refuses two inputs that would have one name', () => {
		const { folder, input } = fresh();
		fs.mkdirSync(path.join(folder, 'other'));
		fs.copyFileSync(input, path.join(folder, 'other/style.safetensors'));
		const { code, err } = lora(['convert', input, path.join(folder, 'other/style.safetensors'), '--out-dir', path.join(folder, 'out')]);
		expect(code).toBe(2);
		expect(err).toMatch(/^E_USAGE: .*would both be written/);
		expect(fs.existsSync(path.join(folder, 'out'))).toBe(false);
	});
});

describe('what was found by reading it as an enemy', () => {
	const embeds = path.join(FIXTURES, 'adapters/cloneofsimo');

	it('--to keep names what belongs to the input and stays behind', () => {
		const { folder } = fresh();
		fs.cpSync(path.join(FIXTURES, 'adapters/peft/rslora_part'), path.join(folder, 'p'), { recursive: true });
		const { code, err } = lora(['convert', path.join(folder, 'p'), path.join(folder, 'k.safetensors'), '--to', 'keep']);
		expect(code).toBe(0);
		expect(err).toMatch(/W_COMPANION: .*adapter_config\.json/);
	});

	it('--text-encoder none and --embeddings none leave out what is inside, and say so', () => {
		const { folder } = fresh();
		for (const name of ['r4.text_encoder.pt', 'legacy_nonzip_r1.pt']) fs.copyFileSync(path.join(embeds, name), path.join(folder, name));
		fs.copyFileSync(path.join(embeds, 'legacy_nonzip_r1.pt'), path.join(folder, 'r4.pt'));
		fs.copyFileSync(path.join(embeds, 'r4.ti.pt'), path.join(folder, 'r4.ti.pt'));
		const both = path.join(folder, 'both.safetensors');
		expect(lora(['convert', path.join(folder, 'r4.pt'), both, '--to', 'kohya']).code).toBe(0);
		const receipt = path.join(folder, 'receipt.json');
		const out = path.join(folder, 'unet.safetensors');
		const flags = ['--to', 'kohya', '--text-encoder', 'none', '--embeddings', 'none', '--receipt', receipt];
		const { code, err } = lora(['convert', both, out, ...flags]);
		expect(code).toBe(0);
		expect(err).toMatch(/W_LOSS: \d+ tensors are left out as asked/);
		const names = [...readSafetensors(fs.readFileSync(out)).tensors.keys()];
		expect(names.length).toBeGreaterThan(0);
		expect(names.filter((name) => !name.startsWith('lora_unet_'))).toEqual([]);
		const { counts } = JSON.parse(fs.readFileSync(receipt, 'utf8'));
		expect(counts.tensors.lost).toBe(readSafetensors(fs.readFileSync(both)).tensors.size - names.length);
	});

	it('takes embeddings that lie beside a kohya file', () => {
		const { folder, input } = fresh();
		fs.copyFileSync(path.join(embeds, 'r4.ti.pt'), path.join(folder, 'style.ti.pt'));
		const { code, err } = lora(['convert', input, path.join(folder, 'o.safetensors'), '--embeddings', path.join(folder, 'style.ti.pt')]);
		expect(err).not.toContain('E_');
		expect(code).toBe(0);
		expect(fs.readdirSync(folder).filter((name) => name.startsWith('o_emb'))).toHaveLength(2);
	});

	it('says that adapter_config.json beside another layout is not used', () => {
		const { folder, input } = fresh();
		fs.writeFileSync(path.join(folder, 'adapter_config.json'), '{"peft_type":"LORA","r":2,"lora_alpha":32}');
		const { code, err } = lora(['convert', input, path.join(folder, 'out.safetensors')]);
		expect(code).toBe(0);
		expect(err).toMatch(/adapter_config\.json lies beside .* and is not used/);
	});

	it('names a batch of PEFT folders after the folders, and leaves no empty folder of a refused one', () => {
		const { folder } = fresh();
		const source = path.join(FIXTURES, 'adapters/peft/rslora_part');
		for (const name of ['one', 'two']) fs.cpSync(source, path.join(folder, name), { recursive: true });
		fs.writeFileSync(path.join(folder, 'bad.safetensors'), 'no');
		const out = path.join(folder, 'od');
		expect(lora(['convert', path.join(folder, 'one'), path.join(folder, 'two'), '--to', 'kohya', '--out-dir', out]).code).toBe(0);
		expect(fs.readdirSync(out).sort()).toEqual(['one.safetensors', 'two.safetensors']);
		const again = path.join(folder, 'pe');
		expect(lora(['convert', path.join(folder, 'bad.safetensors'), path.join(folder, 'one'), '--to', 'peft', '--out-dir', again]).code).toBe(
			1,
		);
		expect(fs.readdirSync(again)).toEqual(['one']);
	});
});
