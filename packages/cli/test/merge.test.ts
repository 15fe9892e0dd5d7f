import fs from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { f32, lora, readSafetensors, safetensors, type TestTensor, tempFolder } from './cli.js';

const top = tempFolder();
let n = 0;
function folder(): string {
	const made = path.join(top, String(n++));
	fs.mkdirSync(made);
	return made;
}

const FLAT = 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_';
const TE = 'lora_te_text_model_encoder_layers_0_self_attn_q_proj';

/** kohya, SD1: to_q of the UNet and one module of the text encoder. */
function kohya(
	up: (i: number) => number,
	rank: number,
	alpha: number,
	leaf = 'q',
	metadata: Readonly<Record<string, string>> = {},
): Buffer {
	const tensors: Record<string, TestTensor> = {};
	for (const name of [`${FLAT}${leaf}`, TE]) {
		tensors[`${name}.alpha`] = f32([], () => alpha);
		tensors[`${name}.lora_down.weight`] = f32([rank, 8], (i) => (i % 5) - 2);
		tensors[`${name}.lora_up.weight`] = f32([8, rank], up);
	}
	return safetensors(tensors, metadata);
}

function write(dir: string, name: string, bytes: Buffer): string {
	const file = path.join(dir, name);
	fs.writeFileSync(file, bytes);
	return file;
}

function values(tensor: TestTensor | undefined): number[] {
	if (tensor === undefined) throw new Error('no tensor');
	const data = Buffer.from(tensor.data);
	return Array.from({ length: data.length / 4 }, (_, i) => data.readFloatLE(4 * i));
}

/** up (8, r) times down (r, 8), times a number: every element, by hand. */
function delta(up: readonly number[], down: readonly number[], rank: number, by: number): number[] {
	const out: number[] = [];
	for (let i = 0; i < 8; i++)
		for (let j = 0; j < 8; j++) {
			let sum = 0;
			for (let k = 0; k < rank; k++) sum += (up[i * rank + k] ?? 0) * (down[k * 8 + j] ?? 0);
			out.push(by * sum);
		}
	return out;
}

const ups = { a: (i: number) => i / 4, b: (i: number) => (i % 3) - 1 };
const downs = (rank: number) => Array.from({ length: rank * 8 }, (_, i) => (i % 5) - 2);
const of = (up: (i: number) => number, rank: number) => Array.from({ length: rank * 8 }, (_, i) => up(i));

function schemaOf(command: string): ReturnType<Ajv2020['compile']> {
	return new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(lora([command, '--schema']).out));
}

describe('lora merge', () => {
	it('writes the exact sum in diffusers names, with a recipe and a verified error', () => {
		const dir = folder();
		const [a, b, out] = [
			write(dir, 'a.safetensors', kohya(ups.a, 2, 1)),
			write(dir, 'b.safetensors', kohya(ups.b, 3, 3)),
			path.join(dir, 'out.safetensors'),
		];
		const { code, out: text, err } = lora(['merge', `${a}@0.5`, `${b}@-2:te=0.25`, '--out', out, '--verify']);
		expect([code, err]).toEqual([0, '']);
		expect(text).toContain('a.safetensors@0.5 + b.safetensors@-2 -> ');
		expect(text).toContain('error    0: exact');
		expect(text).toMatch(/verified 2 modules read again from out\.safetensors: largest error 0/);
		const { tensors, metadata } = readSafetensors(fs.readFileSync(out));
		const [q] = [...tensors.keys()].filter((k) => k.includes('to_q') && /lora_A|down/.test(k));
		const [upName] = [...tensors.keys()].filter((k) => k.includes('to_q') && /lora_B|up/.test(k));
		const sum = delta(values(tensors.get(upName ?? '')), values(tensors.get(q ?? '')), 5, 1);
		const parts = [delta(of(ups.a, 2), downs(2), 2, 0.25), delta(of(ups.b, 3), downs(3), 3, -2)];
		expect(sum).toEqual((parts[0] ?? []).map((x, i) => x + (parts[1]?.[i] ?? 0)));
		const recipe = JSON.parse(metadata['lorakit.recipe'] ?? '{}');
		expect(recipe).toMatchObject({
			schema: 'lora.recipe/1',
			adapters: [
				{ name: 'a.safetensors', scale: 0.5, components: {}, modules: 2 },
				{ name: 'b.safetensors', scale: -2, components: { text_encoder: 0.25 }, modules: 2 },
			],
			merge: { method: 'concat', dtype: 'F32', largestError: 0 },
		});
		expect(recipe.adapters[0].sha256).toMatch(/^[0-9a-f]{64}$/);
	});

	it.each([
		[['--rank', '1'], 'svd'],
		[['--method', 'ties', '--density', '0.4'], 'ties'],
		[['--method', 'dare-linear', '--seed', '3'], 'dare-linear'],
		[['--method', 'dare-ties', '--rank', '4'], 'dare-ties'],
		[['--method', 'magnitude-prune', '--majority-sign', 'frequency'], 'magnitude-prune'],
		[['--method', 'slerp', '--t', '0.25'], 'slerp'],
		[['--method', 'linear'], 'linear'],
		[['--method', 'ties', '--on', 'factors'], 'ties'],
		[['--method', 'concat', '--dtype', 'f64', '--to', 'kohya'], 'concat'],
	])('%j gives a document by its schema, and verifies', (flags, method) => {
		const dir = folder();
		const [a, b, out] = [
			write(dir, 'a.safetensors', kohya(ups.a, 2, 1)),
			write(dir, 'b.safetensors', kohya(ups.b, 2, 2)),
			path.join(dir, 'out.safetensors'),
		];
		const ran = lora(['merge', `${a}@0.7`, `${b}@-0.4`, '--out', out, '--json', '--verify', ...flags]);
		expect(ran.code, ran.err).toBe(0);
		const doc = JSON.parse(ran.out);
		const check = schemaOf('merge');
		expect(check(doc), JSON.stringify(check.errors)).toBe(true);
		expect(doc.method).toBe(method);
		expect(doc.modules).toHaveLength(2);
		expect(doc.verified.modules).toBe(2);
		expect(fs.existsSync(out)).toBe(true);
	});

	it('a torch file needs no --allow-loss for the recipe that it cannot hold', () => {
		const dir = folder();
		const [a, b, out] = [
			write(dir, 'a.safetensors', kohya(ups.a, 2, 1)),
			write(dir, 'b.safetensors', kohya(ups.b, 2, 2)),
			path.join(dir, 'out.pt'),
		];
		const { code, err } = lora(['merge', a, b, '--out', out, '--to', 'kohya', '--verify']);
		expect(code, err).toBe(0);
		expect(err).toMatch(/^note: A torch file has no header, so .*out\.pt does not say how it was made/);
		expect(fs.existsSync(out)).toBe(true);
	});

	it('a file that is refused is named among the inputs', () => {
		const dir = folder();
		const a = write(dir, 'a.safetensors', kohya(ups.a, 2, 1));
		const b = write(dir, 'b.safetensors', kohya(ups.b, 0, 1));
		const { code, err } = lora(['merge', a, b, '--out', path.join(dir, 'out.safetensors')]);
		expect([code, err]).toEqual([1, expect.stringMatching(/^E_LORA_RANK: "b\.safetensors": unet .* has rank 0/)]);
	});

	it('the same seed gives the same file', () => {
		const dir = folder();
		const a = write(dir, 'a.safetensors', kohya(ups.a, 2, 1));
		const run = (name: string, seed: string): Buffer => {
			const out = path.join(dir, name);
			expect(lora(['merge', a, '--method', 'dare-linear', '--seed', seed, '--out', out]).code).toBe(0);
			return readSafetensors(fs.readFileSync(out)).data;
		};
		expect(run('1.safetensors', '5')).toEqual(run('2.safetensors', '5'));
		expect(run('3.safetensors', '6')).not.toEqual(run('4.safetensors', '5'));
	});

	it('writes nothing with --dry-run, and refuses what is there', () => {
		const dir = folder();
		const [a, out] = [write(dir, 'a.safetensors', kohya(ups.a, 2, 1)), path.join(dir, 'out.safetensors')];
		const dry = lora(['merge', a, `${a}@0.5`, '--out', out, '--dry-run']);
		expect(dry.code).toBe(0);
		expect(dry.out).toContain('nothing was written');
		expect(dry.out).toContain('attn1.to_q  concat of a.safetensors + a.safetensors (2), rank 4, error 0');
		expect(fs.readdirSync(dir)).toEqual(['a.safetensors']);
		expect(lora(['merge', a, '--out', a]).err).toMatch(/^E_OUTPUT_IS_INPUT/);
		fs.writeFileSync(out, 'old');
		expect(lora(['merge', a, '--out', out]).err).toMatch(/^E_OUTPUT_EXISTS/);
		expect(lora(['merge', a, '--out', out, '--force']).code).toBe(0);
	});

	it.each([
		[['--out', 'x.safetensors'], 2, /merge takes at least one ADAPTER/],
		[['A'], 2, /and --out OUT/],
		[['A', '--out', 'x.txt'], 2, /does not say which container/],
		[['A', '--out', '-'], 2, /not standard output/],
		[['A:unett=1', '--out', 'x.safetensors'], 2, /did you mean unet\?/],
		[['A', '--rank', '0', '--out', 'OUT'], 1, /^E_RANK/],
		[['A', '--rank', 'x', '--out', 'OUT'], 1, /^E_RANK/],
		[['A', '--method', 'slerp', '--out', 'OUT'], 2, /slerp is between two/],
		[['A', '--lbw', '1,2,3', '--out', 'OUT'], 2, /3 block weights fit no scheme/],
		[['A', '--to', 'koya', '--out', 'OUT'], 2, /E_USAGE/],
	])('%j is refused', (args, code, message) => {
		const dir = folder();
		const a = write(dir, 'alpha.safetensors', kohya(ups.a, 2, 1));
		const ran = lora(['merge', ...args.map((x) => (x === 'OUT' ? path.join(dir, 'out.safetensors') : x.replace(/^A/, a)))]);
		expect(ran.err).toMatch(message);
		expect(ran.code).toBe(code);
		expect(fs.readdirSync(dir)).toEqual(['alpha.safetensors']);
	});

	it('gives a refusal as JSON', () => {
		const dir = folder();
		const a = write(
			dir,
			'a.safetensors',
			kohya(() => Number.NaN, 2, 1),
		);
		const ran = lora(['merge', a, '--out', path.join(dir, 'out.safetensors'), '--json']);
		expect(ran.code).toBe(1);
		expect(JSON.parse(ran.out)).toMatchObject({ schema: 'lora.error/1', error: { code: 'E_NONFINITE' } });
	});

	it('multiplies scalings in where the target has no alpha', () => {
		const dir = folder();
		const [a, out] = [write(dir, 'a.safetensors', kohya(ups.a, 2, 1)), path.join(dir, 'out.pt')];
		const ran = lora(['merge', `${a}@0.7`, '--out', out, '--to', 'diffusers', '--allow-loss', '--verify']);
		expect(ran.code, ran.err).toBe(0);
	});
});

describe('lora scale', () => {
	it('changes alpha alone and keeps the layout', () => {
		const dir = folder();
		const input = write(dir, 'in.safetensors', kohya(ups.a, 2, 1, 'q', { ss_network_alpha: '1', ss_output_name: 'x' }));
		const out = path.join(dir, 'out.safetensors');
		const ran = lora(['scale', input, out, '--by', '0.5', '--te', '4', '--json']);
		expect(ran.code, ran.err).toBe(0);
		const doc = JSON.parse(ran.out);
		const check = schemaOf('scale');
		expect(check(doc), JSON.stringify(check.errors)).toBe(true);
		expect(doc).toMatchObject({ layout: 'kohya', counts: { modules: 2, changed: 2, folded: 0 } });
		const [before, after] = [readSafetensors(fs.readFileSync(input)), readSafetensors(fs.readFileSync(out))];
		for (const [name, tensor] of before.tensors) {
			if (name.endsWith('.alpha')) expect(values(after.tensors.get(name))).toEqual([name.startsWith(TE) ? 2 : 0.5]);
			else expect(after.tensors.get(name)).toEqual(tensor);
		}
		expect(after.metadata['ss_output_name']).toBe('x');
		expect(after.metadata['ss_network_alpha']).toBe('Dynamic');
	});

	it.each([
		[
			['--te', '0'],
			[[1], [0]],
		],
		[
			['--lbw', '1,0,0,0,0,0,0,0.25,0,0,0,0,0,0,0,0,0'],
			[[0.25], [1]],
		],
		[
			['--lbw', 'NONE'],
			[[0], [0]],
		],
		[
			['--by', '2', '--unet', '0.5'],
			[[1], [2]],
		],
	])('%j', (flags, expected) => {
		const dir = folder();
		const [input, out] = [write(dir, 'in.safetensors', kohya(ups.a, 2, 1)), path.join(dir, 'out.safetensors')];
		expect(lora(['scale', input, out, ...flags]).code).toBe(0);
		const { tensors } = readSafetensors(fs.readFileSync(out));
		expect([values(tensors.get(`${FLAT}q.alpha`)), values(tensors.get(`${TE}.alpha`))]).toEqual(expected);
	});

	it.each([
		[[], /Say by how much/],
		[['--by', 'x'], /--by must be a number/],
		[['--te2', '1'], /te2=1 is for text_encoder_2/],
	])('%j is refused', (flags, message) => {
		const dir = folder();
		const input = write(dir, 'in.safetensors', kohya(ups.a, 2, 1));
		const ran = lora(['scale', input, path.join(dir, 'out.safetensors'), ...flags]);
		expect(ran.err).toMatch(message);
		expect(ran.code).toBe(2);
	});
});

describe('lora split and join', () => {
	it('take apart and put together, byte for byte', () => {
		const dir = folder();
		const input = write(dir, 'whole.safetensors', kohya(ups.a, 2, 1, 'q', { ss_output_name: 'x', ss_seed: '4' }));
		const parts = path.join(dir, 'parts');
		const split = lora(['split', input, '--out-dir', parts, '--json']);
		expect(split.code, split.err).toBe(0);
		const check = schemaOf('split');
		expect(check(JSON.parse(split.out)), JSON.stringify(check.errors)).toBe(true);
		expect(fs.readdirSync(parts).sort()).toEqual(['whole.text_encoder.safetensors', 'whole.unet.safetensors']);
		const unet = readSafetensors(fs.readFileSync(path.join(parts, 'whole.unet.safetensors')));
		expect([...unet.tensors.keys()].every((k) => k.startsWith('lora_unet_'))).toBe(true);
		expect(unet.metadata['ss_seed']).toBe('4');
		const again = path.join(dir, 'again.safetensors');
		const joined = lora([
			'join',
			path.join(parts, 'whole.unet.safetensors'),
			path.join(parts, 'whole.text_encoder.safetensors'),
			'--out',
			again,
			'--json',
		]);
		expect(joined.code, joined.err).toBe(0);
		const checkJoin = schemaOf('join');
		expect(checkJoin(JSON.parse(joined.out)), JSON.stringify(checkJoin.errors)).toBe(true);
		const [before, after] = [readSafetensors(fs.readFileSync(input)), readSafetensors(fs.readFileSync(again))];
		expect(after.metadata).toEqual(before.metadata);
		expect(after.tensors.size).toBe(before.tensors.size);
		for (const [name, tensor] of before.tensors) expect(after.tensors.get(name)).toEqual(tensor);
	});

	it('refuses to join what overlaps and to split what has one part', () => {
		const dir = folder();
		const [a, b] = [write(dir, 'a.safetensors', kohya(ups.a, 2, 1)), write(dir, 'b.safetensors', kohya(ups.b, 2, 1, 'k'))];
		const joined = lora(['join', a, b, '--out', path.join(dir, 'out.safetensors')]);
		expect(joined.code).toBe(1);
		expect(joined.err).toMatch(
			/^E_LORA_DUPLICATE_MODULE: "a\.safetensors" and "b\.safetensors" both have text_encoder .*"lora merge" adds/,
		);
		expect(lora(['join', `${a}@0.5`, '--out', path.join(dir, 'out.safetensors')]).code).toBe(2);
		lora(['split', a, '--out-dir', path.join(dir, 'p')]);
		const one = lora(['split', path.join(dir, 'p/a.unet.safetensors'), '--out-dir', path.join(dir, 'q')]);
		expect(one.code).toBe(1);
		expect(one.err).toMatch(/^E_EMPTY_ADAPTER: .* has unet alone/);
		const dry = lora(['split', a, '--out-dir', path.join(dir, 'r'), '--dry-run']);
		expect(dry.code).toBe(0);
		expect(fs.existsSync(path.join(dir, 'r'))).toBe(false);
	});
});
