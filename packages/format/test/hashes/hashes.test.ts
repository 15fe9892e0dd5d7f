import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { fileHashes, legacyHeader, refreshHashes, sshsHashes, sshsModelHash } from '../../src/hashes/index.js';
import { createSha256 } from '../../src/sha256.js';
import { bytesTensor } from '../../src/tensor.js';
import { memoryFile } from '../support/memory-file.js';

// Expected values: safetensors 0.8.0's own writer and Python's hashlib over the same tensors.
const METADATA = new Map([
	['ss_network_dim', '4'],
	['ss_output_name', 'é "q" \\ \n'],
	['sshs_model_hash', 'x'],
	['modelspec.title', 't'],
	['format', 'pt'],
]);
const MODEL = '680ce815ca1913ff484891ce1be174aa93480910ca3b5a1382aff406c6d7f8c0';

function big() {
	const numbers = Uint8Array.from({ length: 1_200_000 }, (_, i) => (i * 7) % 251);
	return new Map([
		['lora_unet_a.alpha', bytesTensor('F32', [], new Uint8Array(new Float32Array([2]).buffer))],
		['lora_unet_a.lora_down.weight', bytesTensor('U8', [4, 300_000], numbers)],
	]);
}

describe('sshs hashes', () => {
	it('are those of sd-scripts: data section, and the window of the file with only ss_ entries', async () => {
		expect(await sshsHashes({ tensors: big(), metadata: METADATA }, createSha256)).toEqual({ modelHash: MODEL, legacyHash: '4dbfff60' });
	});

	it('has the header length of the real writer', () => {
		const header = legacyHeader(big(), METADATA);
		expect(new DataView(header.buffer).getBigUint64(0, true)).toBe(240n);
		expect(header.byteLength).toBe(248);
	});

	it('gives the hash of nothing for the legacy window of a small file', async () => {
		const { legacyHash } = await sshsHashes(memoryFile({ 'a.alpha': 1 }), createSha256);
		expect(legacyHash).toBe('e3b0c442');
	});

	it('hashes a data section in memory', () => {
		expect(sshsModelHash(new Uint8Array(), createSha256)).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
	});
});

describe('fileHashes', () => {
	// {"__metadata__":{"sshs_model_hash":"0"},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}} padded to 96, then 01 02 03.
	const json = '{"__metadata__":{"sshs_model_hash":"0"},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'.padEnd(96);
	const bytes = new Uint8Array(8 + 96 + 3);
	bytes[0] = 96;
	bytes.set(new TextEncoder().encode(json), 8);
	bytes.set([1, 2, 3], 104);
	const state = {
		...memoryFile({}, { sshs_model_hash: '0' }),
		tensors: new Map([['a', bytesTensor('U8', [3], new Uint8Array([1, 2, 3]))]]),
	};
	// sha256 of 01 02 03
	const data = '039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81';

	it('gives every name of every hash and says which entries are stale', async () => {
		const hashes = await fileHashes(bytesSource(bytes, 'a.safetensors'), state, createSha256);
		expect(hashes).toMatchObject({
			bytes: 107,
			autoV1: 'e3b0c442',
			autoV3: data,
			autoV3Short: '039058c6f2c0',
			sshsModelHash: data,
			sshsLegacyHash: 'e3b0c442',
			modelspecHash: `0x${data}`,
			recorded: { sshs_model_hash: '0' },
			stale: ['sshs_model_hash'],
		});
		expect(hashes.autoV2).toBe(hashes.sha256.slice(0, 10));
	});

	it('has no hashes of a data section for other containers', async () => {
		const hashes = await fileHashes(bytesSource(new Uint8Array([1, 2, 3])), undefined, createSha256);
		expect(hashes).toMatchObject({ sha256: data, autoV3: null, sshsLegacyHash: null, stale: [] });
	});
});

describe('refreshHashes', () => {
	it('rewrites what is there, keeps the order, adds nothing and leaves hashes of other files', () => {
		const before = new Map([
			['sshs_legacy_hash', 'old'],
			['ss_sd_model_hash', 'ffffffff'],
			['modelspec.hash_sha256', '0xold'],
		]);
		const { metadata, changed } = refreshHashes(before, { modelHash: MODEL, legacyHash: '4dbfff60' });
		expect([...metadata]).toEqual([
			['sshs_legacy_hash', '4dbfff60'],
			['ss_sd_model_hash', 'ffffffff'],
			['modelspec.hash_sha256', `0x${MODEL}`],
		]);
		expect(changed.map((c) => c.key)).toEqual(['sshs_legacy_hash', 'modelspec.hash_sha256']);
	});
});
