import { describe, expect, test } from 'vitest';
import { adapterFileSize } from '../../src/result/adapter-file-size.js';
import { adapterMetadata, embeddingMetadata } from '../../src/result/adapter-metadata.js';
import { planResult, type ResultOptions } from '../../src/result/plan-result.js';
import { trainedAdapter } from '../../src/result/trained-adapter.js';
import { attentionOf, fixtureJson, NARROW, SD15, someFacts, written } from './support.js';

/** Measured on files that torch 2.13 and safetensors wrote (make_result.py). */
const SIZES = fixtureJson<Readonly<Record<string, number>>>('sizes.json');

describe('the adapter of the post: rank 4, attention of Stable Diffusion 1.5', () => {
	const { modules, tensors } = attentionOf(SD15, 4);
	const description = { name: 'post', architecture: 'sd1', modules } as const;
	const size = (options: ResultOptions) => adapterFileSize(tensors, description, options);

	test('128 modules, 797,184 numbers', () => {
		expect(modules.length).toBe(128);
		expect(size({}).parameters).toBe(SIZES['f32 parameters']);
	});

	test.each([
		['f32', 'F32'],
		['f16', 'F16'],
	] as const)('%s: the old layout has the size of the file that safetensors writes, to the byte', (bits, dtype) => {
		expect(size({ layout: 'diffusers-attn-procs', dtype }).bytes).toBe(SIZES[`attn-procs ${bits} safetensors`]);
	});

	test.each([
		['f32', 'F32', '3.29'],
		['f16', 'F16', '1.69'],
	] as const)('%s as .bin: at most 1 %% below the file that torch writes', (bits, dtype, megabytes) => {
		const { files, bytes } = size({ layout: 'diffusers-attn-procs', container: 'torch-zip', dtype });
		expect(files.map(({ name }) => name)).toEqual(['pytorch_lora_weights.bin']);
		const torch = SIZES[`attn-procs ${bits} torch.save`] ?? 0;
		// torch pickles names less tersely and has three small entries more.
		expect(bytes).toBeLessThanOrEqual(torch);
		expect(bytes).toBeGreaterThan(torch * 0.99);
		expect((torch / 1e6).toFixed(2)).toBe(megabytes);
	});

	test("today's layout: the size of diffusers' file, and alpha in its header entry", () => {
		const bare = SIZES['diffusers f32 safetensors'] ?? 0;
		expect(size({ layout: 'diffusers-old' }).bytes).toBe(bare);
		const adapter = trainedAdapter(tensors, description);
		const [file] = planResult(adapter).files;
		if (file === undefined || typeof file.content === 'string') throw new Error('no file');
		const said = `,"lora_adapter_metadata":${JSON.stringify(file.content.metadata.get('lora_adapter_metadata'))}`;
		// Headers end at a multiple of 8.
		expect(Math.abs(size({}).bytes - (bare + Buffer.byteLength(said)))).toBeLessThan(8);
		expect((SIZES['diffusers f16 safetensors'] ?? 0) - size({ layout: 'diffusers-old', dtype: 'F16' }).bytes).toBe(0);
	});
});

describe('what was computed is what is written', () => {
	const { modules, tensors } = attentionOf(NARROW, 2);
	const rows = { name: 'added_rows', group: 'tokens', shape: [1, 12], values: new Float32Array(12) } as const;
	const facts = someFacts();
	const description = {
		name: 'size',
		architecture: 'sd1',
		modules,
		tokens: [{ token: '<s1>', vectors: 1 }],
		metadata: adapterMetadata(facts, { modules }, tensors),
	} as const;

	test.each<readonly [string, ResultOptions]>([
		['diffusers', {}],
		['diffusers F16', { dtype: 'F16' }],
		['kohya BF16', { layout: 'kohya', dtype: 'BF16' }],
		['cloneofsimo', { layout: 'cloneofsimo' }],
		['cloneofsimo torch', { layout: 'cloneofsimo', container: 'torch-zip' }],
		['peft', { layout: 'peft' }],
	])('%s', async (_, given) => {
		const options = { ...given, embeddingMetadata: embeddingMetadata(facts) };
		const planned = adapterFileSize([...tensors, rows], description, options);
		const files = await written(planResult(trainedAdapter([...tensors, rows], description), options));
		expect(planned.files.map(({ name, bytes }) => [name, bytes])).toEqual([...files].map(([name, bytes]) => [name, bytes.byteLength]));
		expect(planned.bytes).toBe([...files.values()].reduce((sum, bytes) => sum + bytes.byteLength, 0));
	});

	test('what could not be written is refused before training', () => {
		const conv = { name: 'unet.conv_in:down', shape: [2, 4, 3, 3] };
		const up = { name: 'unet.conv_in:up', shape: [8, 2, 1, 1] };
		const own = { name: 'x', architecture: 'sd1', modules: [{ component: 'unet', path: 'conv_in', rank: 2, alpha: 2 }] } as const;
		expect(adapterFileSize([conv, up], own, { layout: 'kohya' }).files).toHaveLength(1);
		expect(() => adapterFileSize([conv, up], own, { layout: 'cloneofsimo' })).toThrow(/conv_in/);
	});
});
