import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, lora, type Ran, tempFolder } from './cli.js';

const RUNTIME = path.join(FIXTURES, 'runtime');
const BASE = path.join(RUNTIME, 'tiny-shapes');
const GAP = 4;
const SIDE = 64;
/** Pixels from one letter to the next. */
const LETTER = 6;
const top = tempFolder();
let n = 0;
const fresh = (): string => path.join(top, `${n++}.png`);

const QUICK = ['generate', '--base', BASE, '--seed', '3', '--steps', '2', '--guidance', '5'];

function ok(ran: Ran): Ran {
	expect([ran.code, ran.err]).toEqual([0, '']);
	return ran;
}

function pixels(file: string) {
	return decode(fs.readFileSync(file));
}

/** The cells of a sheet from its lower right, where no label is. @param pitch from one column to the next */
function cells(file: string, rows: number, columns: number, pitch: number): readonly (readonly Uint8Array[])[] {
	const { width, height, data } = pixels(file);
	const [left, above] = [width - columns * pitch, height - rows * (SIDE + GAP)];
	return Array.from({ length: rows }, (_, row) =>
		Array.from({ length: columns }, (_unused, column) => {
			const cell = new Uint8Array(3 * SIDE * SIDE);
			for (let y = 0; y < SIDE; y++) {
				const at = 3 * ((above + row * (SIDE + GAP) + y) * width + left + column * pitch);
				for (let i = 0; i < 3 * SIDE; i++) cell[3 * SIDE * y + i] = data[at + i] ?? 0;
			}
			return cell;
		}),
	);
}

function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
	expect(a.length).toBe(b.length);
	let most = 0;
	for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
	return most;
}

describe('lora generate --grid over prompts', () => {
	it('draws what each prompt and negative draws alone, under labels of several lines', () => {
		const sheet = fresh();
		const long = 'a large red star, a small blue circle x on a "white" background';
		const grid = `prompt=a red star,"${long.replaceAll('"', '\\"')}" x negative="","black background"`;
		const { grid: labels, outputs } = JSON.parse(ok(lora([...QUICK, '--grid', grid, '--out', sheet, '--json'])).out);
		expect(labels).toEqual({ axes: grid, rows: ['a red star', long], columns: ['negative ', 'negative black background'] });
		expect(outputs[0].settings.prompt).toBe('a red star');
		const pitch = 'negative black background'.length * LETTER - 1 + GAP;
		// The long prompt in lines of 32 letters: "a large red star, a small blue", "circle x on a "white" background".
		const left = GAP + 32 * LETTER - 1 + GAP;
		const { width, height } = pixels(sheet);
		expect([width, height]).toEqual([left + 2 * pitch, GAP + 7 + GAP + 2 * (SIDE + GAP)]);
		const made = cells(sheet, 2, 2, pitch);
		for (const [row, prompt] of ['a red star', long].entries()) {
			for (const [column, negative] of ['', 'black background'].entries()) {
				const alone = fresh();
				ok(lora([...QUICK, '--prompt', prompt, '--negative', negative, '--out', alone]));
				expect(furthest(made[row]?.[column] ?? [], pixels(alone).data)).toBe(0);
			}
		}
		expect(furthest(made[0]?.[0] ?? [], made[1]?.[0] ?? [])).toBeGreaterThan(20);
		const again = lora(['generate', '--repeat', sheet]);
		expect([again.code, again.out]).toEqual([0, expect.stringContaining('the same picture')]);
	});

	it('reads each in the language of --weighting', () => {
		const sheet = fresh();
		const weighted = [...QUICK, '--weighting', 'a1111'];
		ok(lora([...weighted, '--grid', 'prompt="a (red:1.4) star","a [red:blue:0.5] star"', '--out', sheet]));
		const made = cells(sheet, 1, 2, 'a [red:blue:0.5] star'.length * LETTER - 1 + GAP);
		for (const [column, prompt] of ['a (red:1.4) star', 'a [red:blue:0.5] star'].entries()) {
			const alone = fresh();
			ok(lora([...weighted, '--prompt', prompt, '--out', alone]));
			expect(furthest(made[0]?.[column] ?? [], pixels(alone).data)).toBe(0);
		}
	});

	it('takes what stands in quotes as it is, but for \\" and \\\\', () => {
		const grid = String.raw`prompt="a \(b\), c:\d","a \"b\" \\ c"`;
		const { grid: labels } = JSON.parse(ok(lora([...QUICK, '--grid', grid, '--out', fresh(), '--dry-run', '--json'])).out);
		expect(labels.columns).toEqual([String.raw`a \(b\), c:\d`, String.raw`a "b" \ c`]);
	});

	it('says of every prompt what is cut off', () => {
		const ends = ['alpha', 'omega'];
		const axis = ends.map((end) => `${'red '.repeat(75)}${end}`).join(',');
		const dry = lora([...QUICK, '--grid', `prompt=${axis}`, '--out', fresh(), '--dry-run', '--json']);
		const { truncated } = JSON.parse(dry.out);
		expect(truncated).toHaveLength(2);
		for (const [i, end] of ends.entries()) expect(truncated[i]).toContain(end);
	});
});

describe('lora generate --grid of edits', () => {
	const { settings, runs } = JSON.parse(fs.readFileSync(path.join(RUNTIME, 'p2p-pictures.json'), 'utf8'));
	const run = runs.replace;

	it("has source and edit beside each other, which are diffusers' within one grey level", () => {
		const sheet = fresh();
		const args = [
			...['generate', '--base', BASE, '--prompt', run.prompts[0], '--edit', run.prompts[1], '--edit-cross', String(settings.cross)],
			...['--seed', String(settings.seed), '--steps', String(run.steps), '--guidance', String(settings.guidance)],
			...['--grid', `edit-self=0,${settings.self}`, '--out', sheet, '--json'],
		];
		const { grid } = JSON.parse(ok(lora(args)).out);
		const columns = ['0', String(settings.self)].flatMap((self) => ['source', run.prompts[1]].map((what) => `edit-self ${self}: ${what}`));
		expect(grid).toEqual({ axes: `edit-self=0,${settings.self}`, rows: [''], columns });
		const { width } = pixels(sheet);
		const [row = []] = cells(sheet, 1, 4, (width - GAP) / 4);
		const want = [0, 1].map((i) => pixels(path.join(RUNTIME, `runs/p2p-replace-${i}.png`)).data);
		expect(furthest(row[0] ?? [], want[0] ?? [])).toBeLessThanOrEqual(1);
		expect(furthest(row[2] ?? [], want[0] ?? [])).toBeLessThanOrEqual(1);
		expect(furthest(row[3] ?? [], want[1] ?? [])).toBeLessThanOrEqual(1);
		// Without the layout of the source it is another picture.
		expect(furthest(row[1] ?? [], want[1] ?? [])).toBeGreaterThan(5);
		expect(lora(['generate', '--repeat', sheet]).out).toContain('the same picture');
	});
});

describe('lora generate --grid refuses', () => {
	const EDIT = ['--prompt', 'a red circle', '--edit', 'a red star'];
	it.each<[string, readonly string[], string]>([
		['a prompt beside an axis of prompts', ['--prompt', 'a', '--grid', 'prompt=b,c'], '--prompt has none to say'],
		['prompts of edits', ['--edit', 'a red star', '--grid', 'prompt=a red circle,a blue circle'], 'edits are of one prompt'],
		['adapters of prompts', ['--weighting', 'a1111', '--grid', 'prompt=a <lora:x:1>,b'], '<lora:x>'],
		['a quote without end', ['--grid', 'prompt="a,b'], 'a quote that does not end'],
		['text behind a quote', ['--grid', 'prompt="a"b,c'], 'a quote that does not end'],
		['a prompt that is an axis by chance', ['--grid', 'prompt=an x ray'], 'is no axis'],
		['a range that never gets there', [...EDIT, '--grid', 'edit-self=0.2..0.8'], 'say the step'],
		['a share that is none', [...EDIT, '--grid', 'edit-cross="0.8..0.2"'], 'backwards'],
		['an axis of edits without edits', ['--prompt', 'a', '--grid', 'edit-cross=0.2,0.4'], 'name one with --edit'],
	])('%s', (_name, args, says) => {
		const out = fresh();
		const ran = lora([...QUICK, ...args, '--out', out]);
		expect(ran.err).toMatch(/^E_USAGE: [^\n]+\n$/);
		expect(ran.err).toContain(says);
		expect([ran.code, fs.existsSync(out)]).toEqual([2, false]);
	});
});
