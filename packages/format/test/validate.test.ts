import { describe, expect, it } from 'vitest';
import { decodeAdapter } from '../src/detect.js';
import { soloInput } from '../src/load.js';
import { scanValues } from '../src/scan-values.js';
import { createSha256 } from '../src/sha256.js';
import { bytesTensor } from '../src/tensor.js';
import { validate } from '../src/validate.js';
import { metadataWarnings } from '../src/validate-metadata.js';
import { type Entries, KOHYA, memoryFile, memoryInput } from './support/memory-file.js';

const Q = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
const K = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k';

async function codes(entries: Entries, metadata: Readonly<Record<string, string>> = {}): Promise<string[]> {
	const report = await validate(memoryInput(entries, metadata), { hasher: createSha256 });
	return [...report.errors, ...report.warnings].map((f) => f.code);
}

describe('validate', () => {
	it('finds nothing in a sound file', async () => {
		const report = await validate(memoryInput(KOHYA), { hasher: createSha256 });
		expect(report).toMatchObject({
			verdict: 'ok',
			layout: 'kohya',
			modules: 2,
			errors: [],
			warnings: [],
			data: { tensors: 6, values: 5122, bytes: 20488, nan: 0, inf: 0 },
		});
	});

	it.each<[string, Entries, Readonly<Record<string, string>>, string[]]>([
		[
			'NaN in a factor',
			{ ...KOHYA, [`${Q}.lora_up.weight`]: { shape: [320, 4], values: [1, Number.NaN, Number.POSITIVE_INFINITY, 2] } },
			{},
			['W_NONFINITE'],
		],
		['up all zero', { ...KOHYA, [`${Q}.lora_up.weight`]: { shape: [320, 4], values: [0, -0] } }, {}, ['W_ZERO_UP']],
		['no tensors', {}, {}, ['E_EMPTY_ADAPTER']],
		['embedding', { emb_params: { shape: [1, 768] } }, {}, ['E_NOT_A_LORA']],
		['wrong rank in the header', KOHYA, { ss_network_dim: '128' }, ['W_METADATA_CONTRADICTS']],
		['broken JSON', KOHYA, { ss_tag_frequency: '{' }, ['W_METADATA_PARSE']],
		['stale hash', KOHYA, { sshs_model_hash: '00' }, ['W_METADATA_HASH']],
		[
			'hash of nothing',
			KOHYA,
			{ sshs_model_hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' },
			['W_METADATA_HASH'],
		],
		['alpha 0', { ...KOHYA, [`${Q}.alpha`]: 0 }, {}, ['W_ALPHA_ZERO', 'W_RUNTIMES_DIFFER']],
	])('%s', async (_, entries, metadata, expected) => {
		expect(await codes(entries, metadata)).toEqual(expected);
	});

	it('counts what is not finite', async () => {
		const report = await validate(
			memoryInput({ ...KOHYA, [`${Q}.lora_up.weight`]: { shape: [320, 4], values: [1, Number.NaN, Number.POSITIVE_INFINITY, 2] } }),
		);
		expect(report.data).toMatchObject({ nan: 320, inf: 320, nonFiniteTensors: [`${Q}.lora_up.weight`] });
	});

	it('lists every broken module, not only the first', async () => {
		const { [`${Q}.lora_up.weight`]: _q, [`${K}.lora_down.weight`]: _k, ...rest } = KOHYA;
		const report = await validate(memoryInput(rest));
		expect(report.verdict).toBe('invalid');
		expect(report.errors.map((e) => [e.code, e.at])).toEqual([
			['E_LORA_UNPAIRED', `${Q}.lora_down.weight`],
			['E_LORA_UNPAIRED', `${K}.lora_up.weight`],
		]);
	});

	it('sees a fused projection that was trained apart', async () => {
		// 3 parts of rank 1: only the diagonal blocks of up (9, 3) are not zero.
		const name = 'lora_unet_double_blocks_0_img_attn_qkv';
		const up = {
			shape: [9216, 3],
			values: Array.from({ length: 9216 * 3 }, (_, i) => (Math.floor(Math.floor(i / 3) / 3072) === i % 3 ? 0.5 : 0)),
		};
		expect(await codes({ [`${name}.lora_down.weight`]: { shape: [3, 3072] }, [`${name}.lora_up.weight`]: up })).toContain('W_SPLIT_QKV');
		expect(
			await codes({ [`${name}.lora_down.weight`]: { shape: [3, 3072] }, [`${name}.lora_up.weight`]: { shape: [9216, 3] } }),
		).not.toContain('W_SPLIT_QKV');
	});

	it('accepts hashes that are right', async () => {
		const file = memoryFile(KOHYA);
		const data = createSha256();
		for (const tensor of file.tensors.values()) data.update(await tensor.read());
		const metadata = new Map([
			['sshs_model_hash', data.digestHex()],
			['sshs_legacy_hash', 'e3b0c442'],
		]);
		expect((await validate(soloInput({ ...file, metadata }), { hasher: createSha256 })).warnings).toEqual([]);
	});
});

describe('metadataWarnings', () => {
	const { adapter } = decodeAdapter(memoryInput(KOHYA));
	const sd1 = { ...adapter, base: { family: 'sd1', label: 'Stable Diffusion 1.x', confidence: 0.95, evidence: [] } };

	it.each([
		['sdxl_base_v1-0', sd1, true],
		['sd_v1', sd1, false],
		['sd_1.5', sd1, false],
		['hunyuan-image-2.1', sd1, false],
		['sd_v2', { ...sd1, base: { ...sd1.base, family: 'sd1or2' } }, false],
		['sdxl_base_v1-0', { ...sd1, base: { ...sd1.base, confidence: 0.5 } }, false],
	])('ss_base_model_version %s', (version, of, contradicts) => {
		const found = metadataWarnings(new Map([['ss_base_model_version', version]]), of);
		expect(found.map((w) => w.code)).toEqual(contradicts ? ['W_METADATA_CONTRADICTS'] : []);
	});

	it('takes a multiple of the dim for split_qkv', () => {
		const args = { ss_network_dim: '2', ss_network_args: '{"split_qkv": "True"}' };
		expect(metadataWarnings(new Map(Object.entries(args)), adapter)).toEqual([]);
	});
});

describe('scanValues', () => {
	it.each([
		['F32', new Uint8Array(new Float32Array([0, -0, 1, Number.NaN, Number.NEGATIVE_INFINITY]).buffer), { nan: 1, inf: 1, nonzero: 3 }],
		['F64', new Uint8Array(new Float64Array([0, -0, 5e-324, Number.NaN, Number.POSITIVE_INFINITY]).buffer), { nan: 1, inf: 1, nonzero: 3 }],
		['F16', new Uint8Array(new Uint16Array([0, 0x8000, 1, 0x7c00, 0xfc01]).buffer), { nan: 1, inf: 1, nonzero: 3 }],
		['BF16', new Uint8Array(new Uint16Array([0, 0x8000, 1, 0xff80, 0x7f81]).buffer), { nan: 1, inf: 1, nonzero: 3 }],
		['F8_E4M3', new Uint8Array([0, 0x80, 0x7e, 0x7f, 0xff]), { nan: 2, inf: 0, nonzero: 3 }],
		['F8_E5M2', new Uint8Array([0, 0x80, 0x7b, 0x7c, 0xfd]), { nan: 1, inf: 1, nonzero: 3 }],
		['F8_E4M3FNUZ', new Uint8Array([0, 0x80, 0x7f]), { nan: 1, inf: 0, nonzero: 2 }],
	] as const)('%s', (dtype, bytes, expected) => {
		const counts = { nan: 0, inf: 0, nonzero: 0 };
		expect(scanValues(dtype, bytes, counts)).toBe(true);
		expect(counts).toEqual(expected);
	});

	it('reads bytes that lie on no word boundary, and leaves integers alone', () => {
		const whole = new Uint8Array(5);
		whole.set(new Uint8Array(new Float32Array([Number.NaN]).buffer), 1);
		const counts = { nan: 0, inf: 0, nonzero: 0 };
		scanValues('F32', whole.subarray(1), counts);
		expect(counts.nan).toBe(1);
		expect(scanValues('I64', new Uint8Array(8), counts)).toBe(false);
		expect(bytesTensor('F32', [1], whole.subarray(1)).nbytes).toBe(4);
	});
});
