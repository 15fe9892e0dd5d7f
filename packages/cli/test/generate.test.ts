import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, freshFolders, lora, type Ran } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const BASE = path.join(RUNTIME, 'tiny-shapes');
const STRIPED = path.join(RUNTIME, 'adapters/striped.safetensors');
const CRESCENT = path.join(RUNTIME, 'adapters/crescent.safetensors');
const HEXAGON = path.join(RUNTIME, 'adapters/hexagon.safetensors');
const LORAKIT_VERSION = JSON.parse(fs.readFileSync(path.join(FIXTURES, '../packages/cli/package.json'), 'utf8')).version as string;

const folder = freshFolders();

function draw(...args: readonly string[]): Ran {
	return lora(['generate', ...args]);
}

/** Few steps: what is looked at is not how good the picture is. */
const QUICK = ['--base', BASE, '--prompt', 'a large striped red ring', '--guidance', '5', '--steps', '4'] as const;

function pixels(file: string): { readonly width: number; readonly height: number; readonly data: ArrayLike<number> } {
	return decode(fs.readFileSync(file));
}

function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
	expect(a.length).toBe(b.length);
	let most = 0;
	for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
	return most;
}

function record(file: string) {
	return JSON.parse(decode(fs.readFileSync(file)).text['lorakit'] ?? '{}');
}

interface Run {
	readonly picture: string;
	readonly prompt: string;
	readonly negative: string | null;
	readonly scheduler: string;
	readonly steps: number;
	readonly guidance: number;
	readonly seed: number;
	readonly width: number;
	readonly height: number;
	readonly adapters: readonly { readonly file: string; readonly scale: number }[];
	readonly fused: boolean;
}
const { runs } = JSON.parse(fs.readFileSync(path.join(RUNTIME, 'runs/runs.json'), 'utf8')) as { readonly runs: readonly Run[] };

describe('lora generate', () => {
	it.each(runs)("gives diffusers' picture $picture within one grey level", (run) => {
		const out = path.join(folder(), 'out.png');
		const { code, err } = draw(
			...['--base', BASE, '--prompt', run.prompt, '--out', out, '--seed', String(run.seed), '--steps', String(run.steps)],
			...['--guidance', String(run.guidance), '--scheduler', run.scheduler, '--size', `${run.width}x${run.height}`],
			...(run.negative === null ? [] : ['--negative', run.negative]),
			...run.adapters.flatMap(({ file, scale }) => ['--lora', `${path.join(RUNTIME, file)}@${scale}`]),
			...(run.fused ? ['--fused'] : []),
		);
		expect([code, err]).toEqual([0, '']);
		const [got, want] = [pixels(out), pixels(path.join(RUNTIME, 'runs', run.picture))];
		expect([got.width, got.height]).toEqual([run.width, run.height]);
		expect(furthest(got.data, want.data)).toBeLessThanOrEqual(1);
	});

	it('writes its settings as A1111, ComfyUI and itself read them, and a document by its schema', () => {
		const dir = folder();
		const out = path.join(dir, 'out.png');
		const prompt = 'a (large) striped: red, ring\\';
		const ran = draw(
			...[
				'--base',
				BASE,
				'--lora',
				`${STRIPED}@0.8:unet=0.5`,
				'--prompt',
				prompt,
				'--negative',
				'black background',
				'--seed',
				'18446744073709551615',
			],
			...['--steps', '3', '--clip-skip', '1', '--scheduler', 'ddim', '--eta', '0.5', '--guidance-rescale', '0.7', '--out', out, '--json'],
		);
		expect([ran.code, ran.err]).toEqual([0, '']);
		const doc = JSON.parse(ran.out);
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(lora(['generate', '--schema']).out));
		expect(check(doc), JSON.stringify(check.errors)).toBe(true);
		const { text } = decode(fs.readFileSync(out));
		const sha = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
		const unet = path.join(BASE, 'unet/diffusion_pytorch_model.safetensors');
		const bytes = fs.readFileSync(STRIPED);
		const autoV3 = createHash('sha256')
			.update(bytes.subarray(8 + Number(bytes.readBigUInt64LE(0))))
			.digest('hex');
		// The form of A1111's create_infotext, written by hand: brackets of an unweighted prompt are escaped for it.
		expect(text['parameters']).toBe(
			[
				'a \\(large\\) striped: red, ring\\\\ <lora:striped:0.8:0.4>',
				'Negative prompt: black background',
				`Steps: 3, Sampler: DDIM, CFG scale: 7.5, Seed: 18446744073709551615, Size: 64x64, Model hash: ${sha(unet).slice(0, 10)}, Model: tiny-shapes, Clip skip: 2, Eta: 0.5, CFG rescale: 0.7, Lora hashes: "striped: ${autoV3.slice(0, 12)}", Version: lorakit ${LORAKIT_VERSION}`,
			].join('\n'),
		);
		expect(text['prompt']).toContain('"seed":18446744073709551615');
		const nodes = Object.values(
			JSON.parse(text['prompt'] ?? '{}') as Record<string, { class_type: string; inputs: Record<string, unknown> }>,
		);
		const node = (type: string) => nodes.find(({ class_type }) => class_type === type)?.inputs;
		expect(node('LoraLoader')).toMatchObject({ lora_name: 'striped.safetensors', strength_model: 0.4, strength_clip: 0.8 });
		expect(node('KSampler')).toMatchObject({ steps: 3, cfg: 7.5, sampler_name: 'ddim', denoise: 1 });
		expect(node('CLIPSetLastLayer')).toMatchObject({ stop_at_clip_layer: -2 });
		expect(nodes.filter(({ class_type }) => class_type === 'CLIPTextEncode').map(({ inputs }) => inputs['text'])).toEqual([
			prompt,
			'black background',
		]);
		const own = record(out);
		expect(own.settings).toEqual(doc.outputs[0].settings);
		expect(own.base.files).toContainEqual({
			path: 'unet/diffusion_pytorch_model.safetensors',
			bytes: fs.statSync(unet).size,
			sha256: sha(unet),
		});
		expect(own.adapters).toMatchObject([{ sha256: sha(STRIPED), scale: 0.8, components: { unet: 0.5 } }]);
	});

	it('texts beyond Latin-1 are iTXt in UTF-8', () => {
		const out = path.join(folder(), 'out.png');
		expect(draw('--base', BASE, '--prompt', '赤い circle', '--steps', '1', '--seed', '1', '--out', out).code).toBe(0);
		const bytes = fs.readFileSync(out);
		expect(bytes.includes(Buffer.from('iTXtparameters\0\0\0\0\0赤い circle\n', 'utf8'))).toBe(true);
		expect(draw('--repeat', out).code).toBe(0);
	});

	it('--num gives the pictures of each seed alone', () => {
		const dir = folder();
		const many = path.join(dir, 'many');
		const ran = draw(...QUICK, '--seed', '7', '--num', '3', '--out', many, '--quiet');
		expect(ran).toMatchObject({ code: 0, err: '' });
		expect(ran.out.trim().split('\n')).toEqual([7, 8, 9].map((seed) => path.join(many, `picture-${seed}.png`)));
		const alone = path.join(dir, 'alone.png');
		expect(draw(...QUICK, '--seed', '9', '--out', alone).code).toBe(0);
		expect(furthest(pixels(path.join(many, 'picture-9.png')).data, pixels(alone).data)).toBe(0);
		expect(furthest(pixels(path.join(many, 'picture-7.png')).data, pixels(alone).data)).toBeGreaterThan(1);
	});

	it('--grid puts the pictures of its cells in order, under labels', () => {
		const dir = folder();
		const sheet = path.join(dir, 'sheet.png');
		const ran = draw(...QUICK, '--lora', STRIPED, '--grid', 'scale=0,1 x seed=3..4', '--out', sheet, '--json');
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(JSON.parse(ran.out).grid).toEqual({
			axes: 'scale=0,1 x seed=3..4',
			rows: ['scale 0', 'scale 1'],
			columns: ['seed 3', 'seed 4'],
		});
		const { width, height, data } = pixels(sheet);
		// 7 letters of 6 pixels, less one; margins of 4; pictures of 64 with 4 between.
		const [left, topRow] = [4 + 41 + 4, 4 + 7 + 4];
		expect([width, height]).toEqual([left + 2 * 68, topRow + 2 * 68]);
		for (const [row, scale] of [0, 1].entries()) {
			for (const [column, seed] of [3, 4].entries()) {
				const alone = path.join(dir, `${scale}-${seed}.png`);
				expect(draw(...QUICK, '--lora', `${STRIPED}@${scale}`, '--seed', String(seed), '--out', alone).code).toBe(0);
				const cell = new Uint8Array(64 * 64 * 3);
				for (let y = 0; y < 64; y++) {
					const from = 3 * ((topRow + 68 * row + y) * width + left + 68 * column);
					for (let i = 0; i < 64 * 3; i++) cell[y * 64 * 3 + i] = data[from + i] ?? 0;
				}
				expect(furthest(cell, pixels(alone).data)).toBe(0);
			}
		}
		const ink = (x0: number, y0: number, w: number, h: number): number => {
			let dark = 0;
			for (let y = y0; y < y0 + h; y++) for (let x = x0; x < x0 + w; x++) if ((data[3 * (y * width + x)] ?? 255) < 128) dark++;
			return dark;
		};
		expect(ink(left, 4, 41, 7)).toBeGreaterThan(40);
		expect(ink(4, topRow, 41, 64)).toBeGreaterThan(40);
		// Without adapters at all: scale 0 is the base.
		const none = path.join(dir, 'none.png');
		expect(draw(...QUICK, '--seed', '3', '--out', none).code).toBe(0);
		expect(furthest(pixels(none).data, pixels(path.join(dir, '0-3.png')).data)).toBe(0);
		expect(draw('--repeat', sheet).code).toBe(0);
	});

	it('--grid over files and schedulers', () => {
		const dir = folder();
		const sheet = path.join(dir, 'sheet.png');
		const ran = draw(
			...QUICK,
			'--seed',
			'3',
			'--grid',
			`lora=${STRIPED}@0.5,${CRESCENT} x scheduler=euler,ddim x steps=2`,
			'--out',
			sheet,
			'--json',
		);
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(JSON.parse(ran.out).grid).toMatchObject({
			rows: ['striped@0.5, euler', 'striped@0.5, ddim', 'crescent, euler', 'crescent, ddim'],
			columns: ['steps 2'],
		});
		expect(record(sheet).adapters.map((a: { scale: number; origin: string }) => [a.scale, a.origin])).toEqual([
			[0.5, 'grid'],
			[1, 'grid'],
		]);
	});

	it('--weighting a1111 takes adapters from the prompt', () => {
		const dir = folder();
		const [tagged, flagged] = [path.join(dir, 'tagged.png'), path.join(dir, 'flagged.png')];
		const weighted = ['--base', BASE, '--steps', '4', '--seed', '5', '--weighting', 'a1111'];
		const ran = draw(
			...weighted,
			'--prompt',
			'a (large:1.2) striped red ring<lora:striped:0.6>',
			'--lora-dir',
			path.dirname(STRIPED),
			'--out',
			tagged,
		);
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(draw(...weighted, '--prompt', 'a (large:1.2) striped red ring', '--lora', `${STRIPED}@0.6`, '--out', flagged).code).toBe(0);
		expect(furthest(pixels(tagged).data, pixels(flagged).data)).toBe(0);
		const plain = path.join(dir, 'plain.png');
		expect(
			draw(
				'--base',
				BASE,
				'--steps',
				'4',
				'--seed',
				'5',
				'--prompt',
				'a large striped red ring',
				'--lora',
				`${STRIPED}@0.6`,
				'--out',
				plain,
			).code,
		).toBe(0);
		expect(furthest(pixels(plain).data, pixels(flagged).data)).toBeGreaterThan(1);
		expect(draw('--repeat', tagged).code).toBe(0);
		const odd = draw(...weighted, '--prompt', 'a circle <hypernet:x:0.5>', '--out', path.join(dir, 'odd.png'));
		expect(odd.code).toBe(0);
		expect(odd.err).toContain('"<hypernet:x:0.5>" has no effect here');
	});

	it('--weighting a1111 reads prompts that change over the run, and AND', () => {
		const dir = folder();
		const make = (name: string, prompt: string, ...more: readonly string[]): ArrayLike<number> => {
			const out = path.join(dir, `${name}.png`);
			const flags = ['--base', BASE, '--steps', '6', '--seed', '5', '--guidance', '4', '--weighting', 'a1111'];
			const ran = draw(...flags, '--prompt', prompt, '--out', out, ...more);
			expect([ran.code, ran.err]).toEqual([0, '']);
			return pixels(out).data;
		};
		const [red, blue] = [make('red', 'a red circle'), make('blue', 'a blue circle')];
		// All of the run is before its end, none of it after step 0: the first picture to the bit, the second too.
		expect(furthest(make('never', 'a [red:blue:1.0] circle'), red)).toBe(0);
		expect(furthest(make('at once', 'a [red:blue:0] circle'), blue)).toBe(0);
		const half = make('half', 'a [red:blue:0.5] circle');
		for (const other of [red, blue, make('turns', 'a [red|blue] circle')]) expect(furthest(half, other)).toBeGreaterThan(1);
		expect(draw('--repeat', path.join(dir, 'half.png')).code).toBe(0);
		expect(decode(fs.readFileSync(path.join(dir, 'half.png'))).text['parameters']).toMatch(/^a \[red:blue:0\.5\] circle\n/);
		// A text joined with itself, half and half, is itself but for roundings; a weight of nothing is the negative alone.
		expect(furthest(make('and', 'a red circle:0.5 AND a red circle:0.5'), red)).toBeLessThanOrEqual(1);
		const nothing = make('nothing', 'a red circle:0', '--negative', 'a blue circle');
		expect(furthest(nothing, make('unguided', 'a blue circle', '--guidance', '1'))).toBeLessThanOrEqual(1);
		const rescaled = draw(
			'--base',
			BASE,
			'--prompt',
			'a AND b',
			'--weighting',
			'a1111',
			'--guidance-rescale',
			'0.5',
			'--out',
			path.join(dir, 'x.png'),
		);
		expect(rescaled.code).toBe(2);
		expect(rescaled.err).toMatch(/^E_USAGE: [^\n]*AND/m);
	});

	it('A1111 is told of every adapter once, also where one name begins another', () => {
		const dir = folder();
		const [short, out] = [path.join(dir, 'stri.safetensors'), path.join(dir, 'out.png')];
		fs.copyFileSync(CRESCENT, short);
		const prompt = 'a ring <lora:striped:0.6>';
		const asked = ['--weighting', 'a1111', '--lora-dir', path.dirname(STRIPED), '--lora', `${short}@0.5`];
		const ran = draw('--base', BASE, '--steps', '1', '--seed', '5', '--prompt', prompt, ...asked, '--out', out);
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(decode(fs.readFileSync(out)).text['parameters']?.split('\n')[0]).toBe(`${prompt} <lora:stri:0.5>`);
	});

	it('says what has no effect, and what is to be known of adapters in any cell of a grid', () => {
		const ran = draw(
			...['--base', BASE, '--steps', '1', '--seed', '5', '--guidance', '1', '--prompt', 'a ring <lora:striped:0.6>'],
			...['--negative', 'a star', '--guidance-rescale', '0.5', '--lora', silentAdapter(), '--grid', 'scale=0,1'],
			...['--out', path.join(folder(), 'sheet.png')],
		);
		expect(ran.code).toBe(0);
		expect(ran.err).toContain('--negative has no effect');
		expect(ran.err).toContain('--guidance-rescale has no effect');
		expect(ran.err).toContain('"<lora:striped:0.6>" is read as text');
		// At scale 0, the first cell, there is nothing to say.
		expect(ran.err.match(/W_ALPHA_ZERO/g)).toHaveLength(1);
	});

	/** A LoRA of one module with alpha 0. */
	function silentAdapter(): string {
		const module = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
		const sizes: readonly (readonly [string, readonly number[]])[] = [
			['lora_up.weight', [32, 4]],
			['lora_down.weight', [4, 32]],
			['alpha', []],
		];
		let at = 0;
		const entries = sizes.map(([name, shape]) => {
			const from = at;
			at += 4 * shape.reduce((product, d) => product * d, 1);
			return [`${module}.${name}`, { dtype: 'F32', shape, data_offsets: [from, at] }];
		});
		const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
		const length = Buffer.alloc(8);
		length.writeBigUInt64LE(BigInt(header.length));
		const file = path.join(folder(), 'silent.safetensors');
		fs.writeFileSync(file, Buffer.concat([length, header, Buffer.alloc(at)]));
		return file;
	}

	it('--embedding makes a token, under its own name or another', () => {
		const dir = folder();
		const make = (name: string, ...args: readonly string[]): string => {
			const out = path.join(dir, name);
			const ran = draw('--base', BASE, '--steps', '4', '--seed', '5', '--out', out, ...args);
			expect([ran.code, ran.err]).toEqual([0, '']);
			return out;
		};
		const own = make('own.png', '--embedding', HEXAGON, '--prompt', 'a red <hex>');
		const other = make('other.png', '--embedding', `${HEXAGON}=<six>`, '--prompt', 'a red <six>');
		const without = make('without.png', '--prompt', 'a red <hex>');
		expect(furthest(pixels(own).data, pixels(other).data)).toBe(0);
		expect(furthest(pixels(own).data, pixels(without).data)).toBeGreaterThan(1);
		expect(record(other).embeddings).toMatchObject([{ token: '<six>' }]);
		expect(draw('--repeat', other).code).toBe(0);
	});

	it('a learned token beside an adapter comes with it, named once more or not', () => {
		const dir = folder();
		const lora = path.join(dir, 'pytorch_lora_weights.safetensors');
		const embedding = path.join(dir, 'learned_embeds.safetensors');
		fs.copyFileSync(STRIPED, lora);
		fs.copyFileSync(HEXAGON, embedding);
		const make = (name: string, ...args: readonly string[]): ArrayLike<number> => {
			const out = path.join(dir, name);
			const common = ['--base', BASE, '--steps', '2', '--seed', '5', '--prompt', 'a red <hex>', '--out', out];
			expect(draw(...common, ...args).code).toBe(0);
			return pixels(out).data;
		};
		const alone = make('alone.png', '--lora', lora);
		expect(furthest(alone, make('named.png', '--lora', lora, '--embedding', embedding))).toBe(0);
		expect(furthest(alone, make('apart.png', '--lora', STRIPED, '--embedding', HEXAGON))).toBe(0);
		expect(furthest(alone, make('without.png', '--lora', STRIPED))).toBeGreaterThan(1);
		// The record says what was named, and makes the same again.
		const named = path.join(dir, 'named.png');
		const sha256 = createHash('sha256').update(fs.readFileSync(HEXAGON)).digest('hex');
		expect(record(named).embeddings).toEqual([{ path: embedding, sha256, token: null }]);
		expect(draw('--repeat', named).code).toBe(0);
	});

	it("--embedding gives diffusers' picture of a learned token within one grey level", () => {
		const out = path.join(folder(), 'out.png');
		const ran = draw(
			...[
				'--base',
				BASE,
				'--embedding',
				HEXAGON,
				'--prompt',
				'a red <hex>',
				'--steps',
				'10',
				'--guidance',
				'5',
				'--seed',
				'5',
				'--out',
				out,
			],
		);
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(furthest(pixels(out).data, pixels(path.join(RUNTIME, 'runs/hexagon.png')).data)).toBeLessThanOrEqual(1);
	});

	it.each(['0.2', '0.6'])("--init-image at strength %s gives diffusers' picture within one grey level", (strength) => {
		const out = path.join(folder(), 'out.png');
		const start = path.join(RUNTIME, 'runs/base-heun20.png');
		const ran = draw(
			'--base',
			BASE,
			'--prompt',
			'a red star',
			'--init-image',
			start,
			'--strength',
			strength,
			'--steps',
			'10',
			'--seed',
			'1',
			'--out',
			out,
		);
		expect([ran.code, ran.err]).toEqual([0, '']);
		expect(furthest(pixels(out).data, pixels(path.join(RUNTIME, `runs/img2img-${strength}.png`)).data)).toBeLessThanOrEqual(1);
		expect(draw('--repeat', out).code).toBe(0);
	});

	it('--dry-run checks and writes nothing', () => {
		const dir = folder();
		const ran = draw(...QUICK, '--lora', STRIPED, '--seed', '3', '--num', '2', '--out', path.join(dir, 'new'), '--dry-run');
		expect(ran).toMatchObject({ code: 0, err: '' });
		expect(ran.out).toContain('picture-4.png');
		expect(fs.readdirSync(dir)).toEqual([]);
	});

	it('a seed that is drawn is said, and makes the same picture', () => {
		const dir = folder();
		const first = draw(...QUICK, '--out', path.join(dir, 'a.png'));
		const seed = /--seed (\d+) makes the same again/.exec(first.err)?.[1];
		expect(seed).toBeDefined();
		expect(draw(...QUICK, '--seed', seed ?? '', '--out', path.join(dir, 'b.png')).code).toBe(0);
		expect(fs.readFileSync(path.join(dir, 'a.png')).equals(fs.readFileSync(path.join(dir, 'b.png')))).toBe(true);
	});

	it('--threads and other engines give the picture too', () => {
		const dir = folder();
		const make = (name: string, ...args: readonly string[]): ArrayLike<number> => {
			const out = path.join(dir, name);
			expect(draw(...QUICK, '--seed', '3', '--size', '32x32', '--steps', '2', '--out', out, ...args).code).toBe(0);
			return pixels(out).data;
		};
		const onnx = make('onnx.png', '--threads', '1');
		expect(furthest(onnx, make('float64.png', '--engine', 'float64'))).toBeLessThanOrEqual(1);
	});

	it('--precision fp16 gives the picture to what float16 rounds, writes it down, and repeats it', () => {
		const out = path.join(folder(), 'half.png');
		const asked = ['--seed', '3', '--size', '32x32', '--steps', '4', '--threads', '1'];
		const made = draw(...QUICK, ...asked, '--precision', 'fp16', '--out', out);
		expect([made.code, made.err]).toEqual([0, expect.stringContaining('no float16 of its own')]);
		const single = out.replace('half', 'single');
		expect(draw(...QUICK, ...asked, '--out', single).code).toBe(0);
		const apart = furthest(pixels(out).data, pixels(single).data);
		// Whole runs of diffusers in float16 are some levels off (conformance/cases/images). Of 3,072 values some 200 are rounded the other way.
		expect(apart).toBeGreaterThan(0);
		expect(apart).toBeLessThanOrEqual(4);
		const record = JSON.parse(decode(fs.readFileSync(out)).text['lorakit'] ?? '{}');
		expect(record.engine.precision).toBe('fp16');
		const again = draw('--repeat', out);
		expect(again.out).toContain('the same picture');
		expect(draw('--repeat', out, '--engine', 'onnx').out).toContain('the same picture');
		const other = draw('--repeat', out, '--precision', 'fp32');
		expect(other.out + other.err).toContain('The precision');
		expect(draw(...QUICK, '--engine', 'float64', '--precision', 'fp16', '--out', single, '--force')).toMatchObject({
			code: 2,
			err: expect.stringContaining('float64 does not compute in fp16'),
		});
	});

	it('a device that is not there is one sentence, without what ONNX Runtime writes itself', () => {
		for (const device of ['cuda', 'coreml']) {
			const { err } = draw(...QUICK, '--device', device, '--dry-run', '--out', path.join(folder(), 'x.png'));
			// Where it is there, nothing.
			expect(err).toMatch(/^(E_DEVICE: [^\n]+\n)?$/);
		}
	});
});

describe('lora generate --repeat', () => {
	it('says that the picture is the same, and names what differs', () => {
		const dir = folder();
		const adapter = path.join(dir, 'striped.safetensors');
		fs.copyFileSync(STRIPED, adapter);
		const out = path.join(dir, 'out.png');
		expect(draw(...QUICK, '--lora', `${adapter}@0.9`, '--seed', '3', '--out', out).code).toBe(0);
		const again = draw('--repeat', out, '--out', path.join(dir, 'again.png'));
		expect(again).toMatchObject({ code: 0, err: '' });
		expect(again.out).toContain(`the same picture as ${out}, every pixel`);
		expect(fs.readFileSync(path.join(dir, 'again.png')).equals(fs.readFileSync(out))).toBe(true);
		fs.copyFileSync(CRESCENT, adapter);
		const other = draw('--repeat', out, '--json');
		expect(other.code).toBe(1);
		expect(other.err).toContain('E_VERIFY');
		const { repeat } = JSON.parse(other.out);
		expect(repeat.equal).toBe(false);
		expect(repeat.pixels.differing).toBeGreaterThan(0);
		expect(repeat.differences).toHaveLength(1);
		expect(repeat.differences[0]).toMatch(/^The SHA-256 of the adapter .*striped\.safetensors was [0-9a-f]{64} and is [0-9a-f]{64}\.$/);
		expect(draw('--repeat', out, '--lora', STRIPED).code).toBe(0);
		expect(draw('--repeat', out, '--steps', '5')).toMatchObject({ code: 2 });
	});

	function chunk(type: string, body: Buffer): Buffer {
		const out = Buffer.alloc(body.length + 12);
		out.writeUInt32BE(body.length, 0);
		out.write(type, 4, 'latin1');
		body.copy(out, 8);
		out.writeUInt32BE(crc32(out.subarray(4, body.length + 8)), body.length + 8);
		return out;
	}

	/** A PNG of one pixel with this record. */
	function pngWith(text: string): string {
		const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
		const parts = [
			chunk('IHDR', header),
			chunk('tEXt', Buffer.from(`lorakit\0${text}`, 'latin1')),
			chunk('IDAT', deflateSync(Buffer.alloc(4))),
			chunk('IEND', Buffer.alloc(0)),
		];
		const file = path.join(folder(), 'x.png');
		fs.writeFileSync(file, Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...parts]));
		return file;
	}

	it('fetches nothing because a picture says so, and believes no number', () => {
		const out = path.join(folder(), 'out.png');
		expect(draw(...QUICK, '--lora', STRIPED, '--seed', '3', '--out', out).code).toBe(0);
		const own = record(out);
		// Nobody listens there; a try would be E_HTTP.
		const far = 'http://127.0.0.1:9/x.safetensors';
		for (const [changed, flag] of [
			[{ base: { ...own.base, path: far } }, '--base'],
			[{ base: { ...own.base, tokenizer: '\\\\server\\share' } }, '--tokenizer'],
			[{ adapters: [{ ...own.adapters[0], path: far }] }, '--lora'],
			[{ embeddings: [{ path: 'hf://a/b/c.pt', sha256: own.adapters[0].sha256, token: null }] }, '--embedding'],
			[{ grid: `lora=${far}` }, '--grid'],
		] as const) {
			const ran = draw('--repeat', pngWith(JSON.stringify({ ...own, ...changed })));
			expect(ran.err).toMatch(/^E_USAGE: [^\n]+\n$/);
			expect(ran.err).toContain(`name it with ${flag}`);
			expect(ran.code).toBe(2);
		}
		const named = draw('--repeat', pngWith(JSON.stringify({ ...own, base: { ...own.base, path: far } })), '--base', BASE);
		expect(named.err).toMatch(/^E_VERIFY/);
		for (const [settings, code] of [
			[{ clipSkip: -1 }, 'E_USAGE'],
			[{ steps: 1.5 }, 'E_USAGE'],
			[{ width: 1e9 }, 'E_USAGE'],
			[{ scheduler: 'nope' }, 'E_CONFIG'],
		] as const) {
			const ran = draw('--repeat', pngWith(JSON.stringify({ ...own, settings: { ...own.settings, ...settings } })));
			expect(ran.err).toMatch(new RegExp(`^${code}: [^\\n]+\\n$`));
		}
		const threads = draw('--repeat', pngWith(JSON.stringify({ ...own, engine: { ...own.engine, threads: 1e9 } })));
		expect(threads.err).toMatch(/^E_CONFIG: .*threads/);
	});

	it('refuses a picture that is small and unpacks to gigabytes, before it is unpacked', () => {
		// 16,384 x 16,384 of RGBA in 16 bits: 2 GB. What says so has 70 bytes.
		const header = Buffer.from([0, 0, 0x40, 0, 0, 0, 0x40, 0, 16, 6, 0, 0, 0]);
		const file = path.join(folder(), 'x.png');
		const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.alloc(4))), chunk('IEND', Buffer.alloc(0))];
		fs.writeFileSync(file, Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...chunks]));
		const ran = draw('--repeat', file);
		expect(ran.err).toMatch(/^E_LIMIT: .*16384x16384 of 64 bits a pixel, 2147500032 bytes/);
		expect(ran.code).toBe(1);
	});

	it.each([
		['no PNG', Buffer.from('hello'), 'E_FORMAT'],
		['a JPEG', Buffer.from('ffd8ffe000104a46494600', 'hex'), 'E_FORMAT'],
		['half a PNG', fs.readFileSync(path.join(RUNTIME, 'runs/base-heun20.png')).subarray(0, 900), 'E_TRUNCATED'],
		['a PNG without settings', fs.readFileSync(path.join(RUNTIME, 'runs/base-heun20.png')), 'E_USAGE'],
	])('refuses %s', (_name, bytes, code) => {
		const file = path.join(folder(), 'x.png');
		fs.writeFileSync(file, bytes);
		const ran = draw('--repeat', file);
		expect(ran.err).toMatch(new RegExp(`^${code}: [^\\n]+\\n$`));
		expect(ran.code).toBe(code === 'E_USAGE' ? 2 : 1);
	});
});

describe('lora generate refuses', () => {
	const good = fs.readFileSync(path.join(BASE, 'unet/diffusion_pytorch_model.safetensors'));

	/** The base with another UNet file. */
	function baseWith(unet: Buffer): string {
		const base = path.join(folder(), 'base');
		fs.cpSync(BASE, base, { recursive: true });
		fs.writeFileSync(path.join(base, 'unet/diffusion_pytorch_model.safetensors'), unet);
		return base;
	}

	/** The first weights of a half-precision file as NaN. */
	function withNaN(file: Buffer): Buffer {
		const bytes = Buffer.from(file);
		const data = 8 + Number(bytes.readBigUInt64LE(0));
		for (let i = 0; i < 64; i++) bytes.writeUInt16LE(0x7e00, data + 2 * i);
		return bytes;
	}

	it.each<[string, number, string, () => readonly string[]]>([
		['a truncated base', 1, 'E_TRUNCATED', () => ['--base', baseWith(good.subarray(0, 1_000_000))]],
		['NaN in the base', 1, 'E_NONFINITE', () => ['--base', baseWith(withNaN(good))]],
		['a missing shard', 1, 'E_SHARD_MISSING', () => ['--base', shardedBase()]],
		['a base that is not there', 1, 'E_IO', () => ['--base', path.join(folder(), 'nowhere')]],
		['a wrong base', 1, 'E_BASE_MISMATCH', () => ['--lora', path.join(FIXTURES, 'safetensors/kohya-mini.safetensors')]],
		['NaN in an adapter', 1, 'E_NONFINITE', () => ['--lora', nanAdapter()]],
		['sizes that are no multiples of 8', 2, 'E_USAGE', () => ['--size', '60x64']],
		['sizes that are none', 2, 'E_USAGE', () => ['--size', 'large']],
		['a grid of no axis', 2, 'E_USAGE', () => ['--grid', 'scal=1']],
		['a grid too large', 1, 'E_LIMIT', () => ['--grid', 'seed=1..2000']],
		['several pictures in one file', 2, 'E_USAGE', () => ['--num', '2']],
		['an option that the scheduler has not', 2, 'E_USAGE', () => ['--scheduler-option', 'use_karras=true']],
		['an eta that means nothing', 2, 'E_USAGE', () => ['--eta', '0.5']],
		['a strength that means nothing', 2, 'E_USAGE', () => ['--strength', '0.5', '--grid', 'seed=1,2']],
		[
			'more seeds than there are',
			2,
			'E_USAGE',
			() => ['--seed', '18446744073709551615', '--num', '2', '--out', path.join(folder(), 'never')],
		],
		['scales of no adapter', 2, 'E_USAGE', () => ['--grid', 'scale=0,1']],
		['--offline that means nothing', 2, 'E_USAGE', () => ['--offline']],
		['--from-hub beside --repeat, before anything is fetched', 2, 'E_USAGE', () => ['--from-hub', 'a/b', '--repeat', 'x.png']],
		['wrong flags beside --from-hub, before anything is fetched', 2, 'E_USAGE', () => ['--from-hub', 'a/b', '--grid', 'scal=1']],
		['a range of seeds that no double counts', 2, 'E_USAGE', () => ['--grid', 'seed=18446744073709551610..18446744073709551612']],
		[
			'an adapter of a later cell, before the first is drawn',
			1,
			'E_BASE_MISMATCH',
			() => ['--dry-run', '--grid', `lora=${STRIPED},${path.join(FIXTURES, 'safetensors/kohya-mini.safetensors')}`],
		],
		['a start that is no picture', 1, 'E_FORMAT', () => ['--init-image', path.join(RUNTIME, 'README.md')]],
		['an adapter that the prompt only names', 2, 'E_USAGE', () => ['--prompt', '<lora:nope:1>', '--weighting', 'a1111']],
		['an embedding that is none', 1, 'E_NOT_A_LORA', () => ['--embedding', STRIPED]],
	])('%s', (_name, code, error, args) => {
		const dir = folder();
		const ran = draw(
			'--base',
			BASE,
			'--prompt',
			'a red circle',
			'--steps',
			'2',
			'--seed',
			'1',
			'--out',
			path.join(dir, 'x.png'),
			...args(),
		);
		expect(ran.err).toMatch(new RegExp(`^${error}: [^\\n]+\\n$`));
		expect(ran.code).toBe(code);
		expect(fs.readdirSync(dir)).toEqual([]);
	});

	function shardedBase(): string {
		const base = path.join(folder(), 'base');
		fs.cpSync(BASE, base, { recursive: true });
		const unet = path.join(base, 'unet/diffusion_pytorch_model');
		fs.renameSync(`${unet}.safetensors`, `${unet}-00001-of-00002.safetensors`);
		return base;
	}

	function nanAdapter(): string {
		const bytes = Buffer.from(fs.readFileSync(STRIPED));
		bytes.writeFloatLE(Number.NaN, 8 + Number(bytes.readBigUInt64LE(0)));
		const file = path.join(folder(), 'nan.safetensors');
		fs.writeFileSync(file, bytes);
		return file;
	}

	it('a file that is there, unless --force', () => {
		const out = path.join(folder(), 'x.png');
		fs.writeFileSync(out, 'mine');
		const ran = draw(...QUICK, '--seed', '1', '--out', out);
		expect(ran).toMatchObject({ code: 1 });
		expect(ran.err).toMatch(/^E_OUTPUT_EXISTS/);
		expect(fs.readFileSync(out, 'utf8')).toBe('mine');
		expect(draw(...QUICK, '--seed', '1', '--out', out, '--force').code).toBe(0);
	});

	it('nothing of a prompt of 10,000 characters: it says what has no effect', () => {
		const prompt = 'circle, '.repeat(1250);
		const cut = draw('--base', BASE, '--prompt', prompt, '--steps', '1', '--seed', '1', '--out', path.join(folder(), 'x.png'));
		expect(cut.code).toBe(0);
		expect(cut.err).toMatch(/^W_PROMPT_TRUNCATED: The text encoder reads 77 tokens/);
		const whole = draw(
			'--base',
			BASE,
			'--prompt',
			prompt,
			'--weighting',
			'a1111',
			'--steps',
			'1',
			'--seed',
			'1',
			'--out',
			path.join(folder(), 'x.png'),
		);
		expect([whole.code, whole.err]).toEqual([0, '']);
		const long = draw('--base', BASE, '--prompt', 'x'.repeat(100_001), '--out', path.join(folder(), 'x.png'));
		expect(long.code).toBe(1);
		expect(long.err).toMatch(/^E_LIMIT/);
	});
});
