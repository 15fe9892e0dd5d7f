import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { adapterToJson } from '../src/adapter-json.js';
import { bytesSource } from '../src/byte-source.js';
import { CHECK_TARGETS, checkTarget } from '../src/check.js';
import { planConversion } from '../src/convert.js';
import { decodeAdapter } from '../src/detect.js';
import { fileHashes } from '../src/hashes/index.js';
import { inspect } from '../src/inspect.js';
import { createSha256 } from '../src/sha256.js';
import { validate } from '../src/validate.js';
import { DIFFUSERS, DIFFUSERS_METADATA, type Entries, KOHYA, memoryFile, memoryInput } from './support/memory-file.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../schema');
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true });

function problems(name: string, data: unknown): unknown {
	const check =
		ajv.getSchema(`https://lorakit.dev/schema/${name}.schema.json`) ??
		ajv.compile(JSON.parse(readFileSync(join(folder, `${name}.schema.json`), 'utf8')));
	// What goes out is JSON: check what a reader of it gets.
	check(JSON.parse(JSON.stringify(data)));
	return check.errors ?? [];
}

const FILES: readonly (readonly [string, Entries, Readonly<Record<string, string>>])[] = [
	['kohya', KOHYA, { ss_network_dim: '4', ss_tag_frequency: '{"10_a":{"b":1}}', ss_resolution: '512' }],
	['diffusers', DIFFUSERS, DIFFUSERS_METADATA],
	['unknown tensors', { ...KOHYA, 'extra.something': { shape: [2] } }, {}],
	['no LoRA', { 'fc.weight': { shape: [2, 2] } }, {}],
	['damaged', { 'lora_unet_conv_in.lora_down.weight': { shape: [2, 4] } }, {}],
	['empty', {}, {}],
];

describe('JSON schemas', () => {
	it.each(FILES)('inspect and validate of %s', async (_, entries, metadata) => {
		const input = memoryInput(entries, metadata);
		expect(problems('inspect', inspect(input))).toEqual([]);
		expect(problems('validate', await validate(input, { hasher: createSha256 }))).toEqual([]);
	});

	it.each(FILES.slice(0, 3))('adapter and check of %s', (_, entries, metadata) => {
		const input = memoryInput(entries, metadata);
		const { adapter } = decodeAdapter(input);
		expect(problems('adapter', adapterToJson(adapter))).toEqual([]);
		for (const target of CHECK_TARGETS) expect(problems('check', checkTarget(input, adapter, target))).toEqual([]);
	});

	it('receipt', () => {
		expect(problems('receipt', planConversion(memoryInput(KOHYA), { to: 'diffusers' }).receipt)).toEqual([]);
	});

	it('hash', async () => {
		expect(problems('hash', await fileHashes(bytesSource(new Uint8Array([1])), undefined, createSha256))).toEqual([]);
	});

	it('an alpha that was not fetched is null in JSON', () => {
		const input = { ...memoryInput(KOHYA), file: { ...memoryFile(KOHYA), small: new Map(), smallComplete: false } };
		const json = adapterToJson(decodeAdapter(input).adapter);
		expect(json.modules[0]?.scaling).toBeNull();
		expect(problems('adapter', json)).toEqual([]);
		expect(problems('inspect', inspect(input))).toEqual([]);
		for (const target of CHECK_TARGETS) expect(problems('check', checkTarget(input, decodeAdapter(input).adapter, target))).toEqual([]);
	});

	it('refuses what is no report', () => {
		expect(problems('inspect', { schema: 'lora.inspect/1' })).not.toEqual([]);
	});
});
