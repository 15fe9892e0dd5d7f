import fs from 'node:fs';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, lora, type Ran, tempFolder } from './cli.js';

const BASE = path.join(FIXTURES, 'runtime/tiny-shapes');
const STARTS = path.join(FIXTURES, 'training/img2img');
const PICTURES = path.join(FIXTURES, 'training/pictures');
const dir = tempFolder();

function draw(start: string, out: string, ...args: readonly string[]): Ran {
	const settings = ['--base', BASE, '--prompt', 'a red star', '--strength', '0.6', '--steps', '10', '--seed', '1'];
	return lora(['generate', ...settings, '--init-image', start, '--out', path.join(dir, out), ...args]);
}

function expectPicture(file: string, reference: string): void {
	const [made, expected] = [decode(fs.readFileSync(path.join(dir, file))), decode(fs.readFileSync(reference))];
	expect([made.width, made.height]).toEqual([expected.width, expected.height]);
	let most = 0;
	for (let i = 0; i < expected.data.length; i++) most = Math.max(most, Math.abs((made.data[i] ?? 0) - (expected.data[i] ?? 0)));
	// One grey level: what rounding the last float32 to 8 bits may differ by.
	expect(most).toBeLessThanOrEqual(1);
}

const texts = (file: string): Record<string, string> => decode(fs.readFileSync(path.join(dir, file))).text;

describe('lora generate --init-image', () => {
	it("a JPEG on its side, 75x90 upright, gives diffusers' picture of 72x88", () => {
		const ran = draw(path.join(STARTS, 'start.jpg'), 'default.png');
		expect([ran.code, ran.err]).toEqual([0, '']);
		expectPicture('default.png', path.join(STARTS, 'default.png'));
		const { init, settings } = JSON.parse(texts('default.png')['lorakit'] ?? '{}');
		expect([init.width, init.height, settings.width, settings.height]).toEqual([75, 90, 72, 88]);
		const nodes = Object.values(JSON.parse(texts('default.png')['prompt'] ?? '{}')) as { class_type: string; inputs: object }[];
		expect(nodes.find(({ class_type }) => class_type === 'ImageScale')?.inputs).toMatchObject({
			width: 72,
			height: 88,
			upscale_method: 'lanczos',
		});
		expect(lora(['generate', '--repeat', path.join(dir, 'default.png')]).code).toBe(0);
	});

	it("a WebP of another shape is resized to --size as diffusers' image processor does", () => {
		const ran = draw(path.join(STARTS, 'start.webp'), 'wide.png', '--size', '96x64');
		expect([ran.code, ran.err]).toEqual([0, '']);
		expectPicture('wide.png', path.join(STARTS, '96x64.png'));
	});

	it.each([
		['animated.gif', 'E_FORMAT', /animated\.gif" is a GIF of 3 frames/],
		['picture.bmp', 'E_FORMAT', /picture\.bmp" is a BMP picture/],
		['pillow.json', 'E_FORMAT', /pillow\.json" is no picture/],
		['none.jpg', 'E_IO', /none\.jpg/],
	])('refuses %s and writes nothing', (name, code, message) => {
		const ran = draw(path.join(PICTURES, name), 'never.png');
		expect(ran.code).toBe(1);
		expect(ran.err).toContain(code);
		expect(ran.err).toMatch(message);
		expect(fs.existsSync(path.join(dir, 'never.png'))).toBe(false);
	});
});
