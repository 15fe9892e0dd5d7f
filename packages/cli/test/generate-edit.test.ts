import fs from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, freshFolders, lora, type Ran } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const BASE = path.join(RUNTIME, 'tiny-shapes');

const folder = freshFolders();

/** As fixtures/runtime/make_p2p_pictures.py drew: diffusers with its community controllers. */
const { settings, runs } = JSON.parse(fs.readFileSync(path.join(RUNTIME, 'p2p-pictures.json'), 'utf8')) as {
	readonly settings: { readonly guidance: number; readonly seed: number; readonly cross: number; readonly self: number };
	readonly runs: Readonly<Record<string, RecordedEdit>>;
};
interface RecordedEdit {
	readonly prompts: readonly [string, string];
	readonly steps: number;
	readonly size: number;
	readonly refine?: boolean;
	readonly lora?: string;
	readonly scale?: number;
	readonly weight?: readonly [string, number];
	readonly words?: readonly (readonly string[])[];
	readonly start?: number;
	readonly threshold?: number;
	readonly crop?: readonly [number, number, number, number];
}

function recordedRun(name: string): RecordedEdit {
	const run = runs[name];
	if (run === undefined) throw new Error(`no run ${name}`);
	return run;
}

function flagsOf({ prompts, steps, size, lora: adapter, scale, weight, words, start, threshold }: RecordedEdit): readonly string[] {
	const [source, edited] = prompts;
	return [
		...['generate', '--base', BASE, '--prompt', source, '--steps', String(steps), '--size', `${size}x${size}`],
		...['--seed', String(settings.seed), '--guidance', String(settings.guidance)],
		...(weight === undefined ? ['--edit', edited] : ['--edit-word', `${weight[0]}=${weight[1]}`]),
		...['--edit-cross', String(settings.cross), '--edit-self', String(settings.self)],
		...(adapter === undefined ? [] : ['--lora', `${path.join(RUNTIME, 'adapters', adapter)}.safetensors@${scale}`]),
		...[...new Set(words?.flat())].flatMap((word) => ['--edit-local', word]),
		...(start === undefined ? [] : ['--edit-start', String(start)]),
		...(threshold === undefined ? [] : ['--edit-threshold', String(threshold)]),
	];
}

interface Picture {
	readonly width: number;
	readonly height: number;
	readonly data: ArrayLike<number>;
}

function pixels(file: string): Picture {
	return decode(fs.readFileSync(file));
}

const recordedPicture = (name: string): Picture => pixels(path.join(RUNTIME, `runs/p2p-${name}.png`));

/** A part of a picture. */
function part({ width, data }: Picture, [left, topRow, w, h]: readonly [number, number, number, number]): Uint8Array {
	const out = new Uint8Array(3 * w * h);
	for (let y = 0; y < h; y++) {
		for (let i = 0; i < 3 * w; i++) out[3 * y * w + i] = data[3 * ((topRow + y) * width + left) + i] ?? 0;
	}
	return out;
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

function ok(ran: Ran): Ran {
	expect([ran.code, ran.err]).toEqual([0, '']);
	return ran;
}

describe('lora generate --edit', () => {
	it.each(['replace', 'refine-striped', 'reweight'])("gives diffusers' pictures of %s within one grey level", (name) => {
		const run = recordedRun(name);
		const out = path.join(folder(), 'made');
		const ran = ok(lora([...flagsOf(run), '--out', out, '--json']));
		for (const i of [0, 1]) {
			const own = pixels(path.join(out, `edit-${settings.seed}-${i}.png`));
			expect(furthest(own.data, recordedPicture(`${name}-${i}`).data)).toBeLessThanOrEqual(1);
		}
		expect(furthest(recordedPicture(`${name}-0`).data, recordedPicture(`${name}-1`).data)).toBeGreaterThan(20);
		const doc = JSON.parse(ran.out);
		const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(lora(['generate', '--schema']).out));
		expect(check(doc), JSON.stringify(check.errors)).toBe(true);
		const kind = run.weight === undefined ? (run.refine === true ? 'refine' : 'replace') : 'reweight';
		expect(doc.outputs.map((o: { view: unknown }) => o.view)).toEqual([
			{ shows: 'edits', picture: 0 },
			{ shows: 'picture', picture: 0 },
			{ shows: 'picture', picture: 1 },
		]);
		expect(doc.outputs[0].edit).toEqual({
			edits: [{ kind, prompt: run.prompts[1] }],
			cross: [0, settings.cross],
			crossWords: [],
			self: [0, settings.self],
			words: run.weight === undefined ? [] : [{ word: run.weight[0], factor: run.weight[1] }],
			local: null,
		});
	});

	it('lays source and edits side by side, and every file can be repeated', () => {
		const run = recordedRun('replace');
		const dir = folder();
		const flags = [...flagsOf(run), '--edit', 'a blue circle on a white background', '--attention-maps', 'circle'];
		ok(lora([...flags, '--out', path.join(dir, 'all')]));
		const name = `all/edit-${settings.seed}`;
		const sheet = pixels(path.join(dir, `${name}.png`));
		// Captions of 10 letters a line: "a red", "circle on", "a white", "background"; lines of 9 pixels, 2 below.
		const y = 4 + 4 * 9 + 2;
		expect([sheet.width, sheet.height]).toEqual([4 + 3 * 68, y + 68]);
		for (const i of [0, 1, 2]) {
			const alone = pixels(path.join(dir, `${name}-${i}.png`)).data;
			expect(furthest(part(sheet, [4 + 68 * i, y, 64, 64]), alone)).toBe(0);
		}
		const ink = part(sheet, [4, 4, 64, 4 * 9]).filter((x) => x < 128).length;
		expect(ink).toBeGreaterThan(300);
		// One file gets the sheet, and the same pixels.
		ok(lora([...flags, '--out', path.join(dir, 'one.png')]));
		expect(fs.readdirSync(dir).sort()).toEqual(['all', 'one-attention.png', 'one.png']);
		expect(furthest(pixels(path.join(dir, 'one.png')).data, sheet.data)).toBe(0);
		for (const file of ['one.png', 'one-attention.png', `${name}-0.png`, `${name}-2.png`]) {
			const again = ok(lora(['generate', '--repeat', path.join(dir, file), '--out', path.join(dir, 'again.png'), '--force']));
			expect(again.out).toContain('the same picture as');
			expect(fs.readFileSync(path.join(dir, 'again.png')).equals(fs.readFileSync(path.join(dir, file)))).toBe(true);
		}
		expect(lora(['generate', '--repeat', path.join(dir, 'one.png'), '--edit', 'a star']).code).toBe(2);
		// A1111 and ComfyUI are told the prompt of the edit.
		const { text } = decode(fs.readFileSync(path.join(dir, `${name}-2.png`)));
		expect(text['parameters']).toMatch(/^a blue circle on a white background\n.*Edited from: a red circle on a white background,/);
		expect(text['prompt']).toContain('"text":"a blue circle on a white background"');
	});

	it("--edit-local gives diffusers' picture with its LocalBlend within one grey level", () => {
		const run = recordedRun('blend-later');
		const out = path.join(folder(), 'made');
		ok(lora([...flagsOf(run), '--out', out]));
		for (const i of [0, 1]) {
			const own = part(pixels(path.join(out, `edit-${settings.seed}-${i}.png`)), run.crop ?? [0, 0, 0, 0]);
			expect(furthest(own, recordedPicture(`blend-later-${i}-crop`).data)).toBeLessThanOrEqual(1);
		}
		expect(record(path.join(out, `edit-${settings.seed}.png`)).edit.local).toEqual({
			words: ['red', 'circle', 'blue'],
			threshold: run.threshold,
			start: run.start,
		});
	}, 120_000);

	it('ranges, words of their own and factors reach the run', () => {
		const dir = folder();
		const [source, edited] = recordedRun('replace').prompts;
		const common = ['generate', '--base', BASE, '--prompt', source, '--edit', edited, '--seed', '5', '--steps', '4', '--guidance', '4'];
		const drawn = (name: string, ...more: readonly string[]): ArrayLike<number> => {
			ok(lora([...common, ...more, '--out', path.join(dir, name)]));
			return pixels(path.join(dir, name, 'edit-5-1.png')).data;
		};
		const plain = drawn('plain');
		for (const [name, ...more] of [
			['cross', '--edit-cross', '0.2'],
			['range', '--edit-cross', '0.5..1'],
			['word', '--edit-cross', 'square=0.1'],
			['self', '--edit-self', '0'],
			['factor', '--edit-word', 'red=-3'],
		] as const) {
			expect(furthest(drawn(name, ...more), plain), name).toBeGreaterThan(1);
		}
		expect(record(path.join(dir, 'word/edit-5.png')).edit.crossWords).toEqual([{ word: 'square', range: [0, 0.1] }]);
		expect(record(path.join(dir, 'range/edit-5.png')).edit.cross).toEqual([0.5, 1]);
	});

	it('--dry-run names the files and writes nothing', () => {
		const dir = folder();
		const ran = ok(lora([...flagsOf(recordedRun('replace')), '--num', '2', '--attention-maps', 'all', '--out', path.join(dir, 'x'), '-n']));
		const named = ran.out.split('\n').flatMap((line) => /x\/(\S+)\.png/.exec(line)?.[1] ?? []);
		expect(named).toEqual(['11', '11-0', '11-1', '11-attention', '12', '12-0', '12-1', '12-attention'].map((name) => `edit-${name}`));
		expect(fs.readdirSync(dir)).toEqual([]);
	});
});

describe('lora generate --attention-maps', () => {
	it('gives the attention of the run as diffusers has it, over the picture', () => {
		const run = recordedRun('replace');
		const out = path.join(folder(), 'x.png');
		ok(lora([...flagsOf(run), '--attention-maps', 'circle', '--attention-maps', 'square', '--out', out]));
		const sheet = pixels(out.replace('.png', '-attention.png'));
		const y = 4 + 4 * 9 + 2;
		expect([sheet.width, sheet.height]).toEqual([4 + 2 * 68, 2 * (y + 64) + 4]);
		for (const i of [0, 1]) {
			const map = part(sheet, [4 + 68, y + i * (y + 64), 64, 64]);
			// The picture itself is within one level, and the heat over it is laid on it and rounded once more.
			expect(furthest(map, recordedPicture(`replace-${i}-map`).data)).toBeLessThanOrEqual(2);
		}
	});

	it('of all tokens of one picture, eight in a row', () => {
		const dir = folder();
		const out = path.join(dir, 'x.png');
		const flags = ['generate', '--base', BASE, '--prompt', 'a large striped red ring and a small blue star', '--seed', '1', '--steps', '2'];
		ok(lora([...flags, '--attention-maps', 'all', '--out', out]));
		const sheet = pixels(path.join(dir, 'x-attention.png'));
		const tokens = 11;
		expect(sheet.width).toBe(4 + 8 * 68);
		expect(sheet.height).toBeGreaterThan(Math.ceil((1 + tokens) / 8) * 64);
		expect(record(path.join(dir, 'x-attention.png'))).toMatchObject({ attention: ['all'], view: { shows: 'attention' }, edit: null });
		ok(lora(['generate', '--repeat', out]));
		// The picture is that without maps, but for the last bits of the layers that are looked into.
		ok(lora([...flags, '--out', path.join(dir, 'plain.png')]));
		expect(furthest(pixels(out).data, pixels(path.join(dir, 'plain.png')).data)).toBeLessThanOrEqual(1);
	});
});

describe('lora generate refuses, before anything is computed,', () => {
	const EDIT = ['--edit', 'a red square'];
	it.each<[string, readonly string[], string]>([
		['how to edit without what', ['--edit-self', '0.5'], '--edit-self says how to edit'],
		['a kind that is none', [...EDIT, '--edit-kind', 'rewrite'], ''],
		['other numbers of words to replace', ['--edit', 'a large red square', '--edit-kind', 'replace'], 'words'],
		['reweight without words', [...EDIT, '--edit-kind', 'reweight'], '--edit-word WORD=FACTOR'],
		['a word that no edit has', [...EDIT, '--edit-word', 'blue=2'], '"blue"'],
		['a factor that is none', [...EDIT, '--edit-word', 'red=much'], 'much'],
		['a share above 1', [...EDIT, '--edit-cross', '1.2'], '1.2'],
		['a range that runs back', [...EDIT, '--edit-self', '0.6..0.2'], 'backwards'],
		['local words of one prompt alone', [...EDIT, '--edit-local', 'circle'], 'a red square'],
		['a threshold of nothing', [...EDIT, '--edit-threshold', '0.5'], '--edit-local'],
		['maps in a grid', ['--attention-maps', 'circle', '--grid', 'seed=1,2'], '--grid'],
		['an axis of edits without edits', ['--grid', 'edit-self=0,0.4'], '--edit'],
		['a share above 1 in a grid', [...EDIT, '--grid', 'edit-self=0,1.4'], '1.4'],
		['edits of weighted prompts', [...EDIT, '--weighting', 'a1111'], '--weighting'],
		['too many edits', Array.from({ length: 16 }, () => EDIT).flat(), '15'],
		['an edit longer than the text encoder reads', ['--edit', 'red '.repeat(80)], '80 tokens'],
		['maps of a word that is not there', ['--attention-maps', 'star'], '"star"'],
		['maps of an empty word', ['--attention-maps', ''], 'empty'],
	])('%s', (_name, args, says) => {
		const dir = folder();
		const ran = lora(['generate', '--base', BASE, '--prompt', 'a red circle', '--seed', '1', '--out', path.join(dir, 'x.png'), ...args]);
		expect(ran.err).toMatch(/^(?:E_USAGE: [^\n]+\n|error: )/);
		expect(ran.err).toContain(says);
		expect(ran.code).toBe(2);
		expect(fs.readdirSync(dir)).toEqual([]);
	});

	it('a sheet with a side over 16,384 pixels', () => {
		const dir = folder();
		const edits = Array.from({ length: 5 }, () => EDIT).flat();
		const ran = lora([
			'generate',
			'--base',
			BASE,
			'--prompt',
			'a red circle',
			'--size',
			'4096x64',
			...edits,
			'--out',
			path.join(dir, 'x.png'),
			'-n',
		]);
		expect(ran).toMatchObject({ code: 1 });
		expect(ran.err).toMatch(/^E_LIMIT: /);
	});

	it('a record of a view that its run has not', () => {
		const dir = folder();
		const out = path.join(dir, 'x.png');
		ok(lora(['generate', '--base', BASE, '--prompt', 'a red circle', '--seed', '1', '--steps', '1', '--out', out]));
		const own = decode(fs.readFileSync(out)).text['lorakit'] ?? '';
		const bytes = fs.readFileSync(out);
		expect(own).toContain('"view":{"shows":"picture","picture":0}');
		// Of one length, so that only the checksum has to be made anew.
		const at = bytes.indexOf('"view":{"shows":"picture","picture":0}');
		bytes.write('"picture":1}', at + '"view":{"shows":"picture",'.length, 'latin1');
		const type = bytes.indexOf('tEXtlorakit');
		const length = bytes.readUInt32BE(type - 4);
		bytes.writeUInt32BE(crc32(bytes.subarray(type, type + 4 + length)), type + 4 + length);
		fs.writeFileSync(out, bytes);
		const ran = lora(['generate', '--repeat', out]);
		expect(ran.err).toMatch(/^E_CONFIG: [^\n]*view/);
	});
});
