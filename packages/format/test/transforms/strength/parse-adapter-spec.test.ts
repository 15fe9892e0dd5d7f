import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../src/errors.js';
import { strengthOf } from '../../../src/transforms/strength/adapter-use.js';
import { parseAdapterSpec, strengthFor } from '../../../src/transforms/strength/parse-adapter-spec.js';
import { f32, moduleOf } from '../../families/helpers.js';
import { adapterOf } from '../merge/merge-helpers.js';

describe('parseAdapterSpec', () => {
	it.each([
		['a.safetensors', 'a.safetensors', 1],
		['a.safetensors@0.7', 'a.safetensors', 0.7],
		['a@-0.4', 'a', -0.4],
		['a@1e-3', 'a', 0.001],
		['a@.5', 'a', 0.5],
		['a@+2', 'a', 2],
		['a@0', 'a', 0],
		['hf://owner/repo@main/file.safetensors', 'hf://owner/repo@main/file.safetensors', 1],
		['hf://owner/repo@main/file.safetensors@0.5', 'hf://owner/repo@main/file.safetensors', 0.5],
		['dir@2/a.safetensors', 'dir@2/a.safetensors', 1],
		['me@home.safetensors', 'me@home.safetensors', 1],
		['a@0.5@2', 'a@0.5', 2],
		['C:\\loras\\a.safetensors', 'C:\\loras\\a.safetensors', 1],
		['C:\\loras\\a.safetensors@0.5', 'C:\\loras\\a.safetensors', 0.5],
		['C:a=b.safetensors', 'C:a=b.safetensors', 1],
		['https://host:8080/a.safetensors', 'https://host:8080/a.safetensors', 1],
		['https://host:8080/a.safetensors?x=1@0.5', 'https://host:8080/a.safetensors?x=1', 0.5],
		['https://host/a?sig=x:y', 'https://host/a?sig=x:y', 1],
		['name: with colon.safetensors', 'name: with colon.safetensors', 1],
		['-', '-', 1],
		['-@0.5', '-', 0.5],
	])('%s', (text, path, scale) => {
		expect(parseAdapterSpec(text)).toEqual({ path, scale, parts: new Map(), blocks: undefined });
	});

	it.each([
		['a:unet=0.5', 'a', 1, [['unet', 0.5]], undefined],
		[
			'a@0.5:unet=2,te=0',
			'a',
			0.5,
			[
				['unet', 2],
				['te', 0],
			],
			undefined,
		],
		[
			'C:\\a.safetensors@2:TE1=-1,text_encoder_2=.25',
			'C:\\a.safetensors',
			2,
			[
				['te1', -1],
				['text_encoder_2', 0.25],
			],
			undefined,
		],
		['https://host:8080/a.safetensors@0.5:unet=1', 'https://host:8080/a.safetensors', 0.5, [['unet', 1]], undefined],
		['a:lbw=1,0,0.5,te=0', 'a', 1, [['te', 0]], '1,0,0.5'],
		['a:unet=1,lbw=1/0/1', 'a', 1, [['unet', 1]], '1/0/1'],
		['a:lbw=OUTALL', 'a', 1, [], 'OUTALL'],
	] as const)('%s', (text, path, scale, parts, blocks) => {
		expect(parseAdapterSpec(text)).toEqual({ path, scale, parts: new Map<string, number>(parts), blocks });
	});

	it.each([
		['@0.5', /names no file/],
		['', /names no file/],
		[':unet=1', /names no file/],
		['aa:unett=1', /did you mean unet\?/],
		['aa:te9=1', /the keys are te, te1/],
		['aa:strength=1', /the keys are te, te1/],
		['a:unet=1,unet=2', /says unet twice/],
		['a:lbw=ALL,lbw=NONE', /says lbw twice/],
		['a:unet=half', /must be a number, but is "half"/],
		['a:unet=', /must be a number/],
		['a:unet=0.5@0.7', /must be a number, but is "0\.5@0\.7"/],
		['a:unet=1,2', /"2" .* is no key=value/],
		['a@1e999', /must be a number/],
	])('%s is refused', (text, message) => {
		try {
			parseAdapterSpec(text);
			expect.unreachable();
		} catch (error) {
			expect(error).toBeInstanceOf(FormatError);
			expect((error as FormatError).code).toBe('E_USAGE');
			expect((error as FormatError).message).toMatch(message);
		}
	});
});

describe('strengthFor', () => {
	const factors = { up: f32([2, 1], [1, 1]), down: f32([1, 2], [1, 1]) };
	const unet = moduleOf('lora', factors, { path: 'conv_in' });
	const te1 = moduleOf('lora', factors, { component: 'text_encoder', path: 'a' });
	const te2 = moduleOf('lora', factors, { component: 'text_encoder_2', path: 'a' });
	const adapter = adapterOf([unet, te1, te2]);

	it.each([
		['a@0.5', [0.5, 0.5, 0.5]],
		['a@0.5:unet=2', [1, 0.5, 0.5]],
		['a:te=0', [1, 0, 0]],
		['a@2:te=0.25,te2=3', [2, 0.5, 6]],
		['a:te1=0', [1, 0, 1]],
		['a:text_encoder_2=-1', [1, 1, -1]],
	])('%s', (text, expected) => {
		const strength = strengthFor(parseAdapterSpec(text), adapter);
		expect([unet, te1, te2].map((m) => strengthOf(strength, m))).toEqual(expected);
	});

	it('refuses a component that is not there, but not te', () => {
		const without = adapterOf([unet]);
		expect(strengthOf(strengthFor(parseAdapterSpec('a:te=0'), without), unet)).toBe(1);
		expect(() => strengthFor(parseAdapterSpec('a:te2=0'), without)).toThrow(
			'te2=0 is for text_encoder_2, but "x" has unet; leave te2 out.',
		);
		expect(() => strengthFor(parseAdapterSpec('a:transformer=1'), without)).toThrow(/is for transformer/);
	});
});
