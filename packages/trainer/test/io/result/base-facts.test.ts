import { createHash } from 'node:crypto';
import { type ByteSource, bytesSource, bytesTensor, rangeTensor, type Tensor } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import { type Base, parseVaeConfig, type Weights } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { encodingWeights, identityTensors, weightsIdentity } from '../../../src/data/cache-key.js';
import { readBaseOnce } from '../../../src/io/result/base-facts.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const { config } = parseVaeConfig({ _class_name: 'AutoencoderKL' });

/** Bytes, and how often each was read. */
function counted(bytes: Uint8Array, name: string): { readonly source: ByteSource; readonly reads: Uint8Array } {
	const inner = bytesSource(bytes, name);
	const reads = new Uint8Array(bytes.length);
	const source: ByteSource = {
		...inner,
		read(offset, length) {
			for (let i = offset; i < offset + length; i++) reads[i] = (reads[i] ?? 0) + 1;
			return inner.read(offset, length);
		},
	};
	return { source, reads };
}

/** Larger than a piece that is read at once (4 MiB), so that a tensor goes over its end. */
const LARGE = Uint8Array.from({ length: 5 * 2 ** 20 }, (_, i) => (i * 31 + (i >> 8)) % 251);
const SMALL = Uint8Array.from({ length: 64 }, (_, i) => 200 - i);

function someBase(): { readonly base: Pick<Base, 'weights' | 'kind' | 'textEncoders'>; readonly reads: readonly Uint8Array[] } {
	const [unet, vae] = [counted(SMALL, 'unet.safetensors'), counted(LARGE, 'vae.safetensors')];
	const places: Readonly<Record<string, { readonly file: string; readonly tensor: Tensor }>> = {
		'unet/conv.weight': { file: 'unet.safetensors', tensor: rangeTensor('U8', [32], unet.source, 16) },
		'vae/encoder.b': { file: 'vae.safetensors', tensor: rangeTensor('U8', [4 * 2 ** 20], vae.source, 1000) },
		'vae/encoder.a': { file: 'vae.safetensors', tensor: rangeTensor('U8', [100], vae.source, 4 * 2 ** 20 + 1000) },
		'vae/decoder.a': { file: 'vae.safetensors', tensor: rangeTensor('U8', [500], vae.source, 0) },
		// Made, not stored: read by itself.
		'vae/encoder.c': { file: 'vae.safetensors', tensor: bytesTensor('U8', [3], Uint8Array.of(1, 2, 3)) },
	};
	const at = (component: string, name: string) => places[`${component}/${name}`];
	const weights: Weights = {
		shape: (component, name) => at(component, name)?.tensor.shape,
		names: (component) => Object.keys(places).flatMap((key) => (key.startsWith(`${component}/`) ? [key.slice(component.length + 1)] : [])),
		locate(component, name) {
			const place = at(component, name);
			return place === undefined ? undefined : { ...place, name, shape: place.tensor.shape };
		},
	};
	return { base: { weights, kind: 'folder', textEncoders: [] }, reads: [unet.reads, vae.reads] };
}

describe('a base', () => {
	it('is read once for the hashes of its files and the identity of its parts', async () => {
		const { base, reads } = someBase();
		const progress: (readonly [number, number])[] = [];
		const { hashes, tensors } = await readBaseOnce(base, {
			tensors: identityTensors(base.weights, 'vae', encodingWeights),
			onProgress: (done, total) => progress.push([done, total]),
		});
		const options = { keep: encodingWeights, createHasher: createNodeSha256 };
		const identity = await weightsIdentity(base.weights, 'vae', config, { ...options, digests: tensors });
		expect(hashes).toEqual({
			files: [
				{ path: 'unet.safetensors', bytes: 64, sha256: sha256(SMALL) },
				{ path: 'vae.safetensors', bytes: LARGE.length, sha256: sha256(LARGE) },
			],
			autoV1: undefined,
		});
		for (const read of reads) expect(read.every((n) => n === 1)).toBe(true);
		expect(progress.at(-1)).toEqual([64 + LARGE.length, 64 + LARGE.length]);
		expect([...tensors.values()].sort()).toEqual(
			[sha256(LARGE.subarray(1000, 1000 + 4 * 2 ** 20)), sha256(LARGE.subarray(4 * 2 ** 20 + 1000, 4 * 2 ** 20 + 1100))].sort(),
		);
		// The same as without any digest beforehand.
		expect(await weightsIdentity(someBase().base.weights, 'vae', config, options)).toBe(identity);
	});

	it('is read no further when the run is stopped', async () => {
		const { base, reads } = someBase();
		const stop = new AbortController();
		// The 64 bytes of the UNet, then the first piece of the VAE.
		const onProgress = (done: number): void => {
			if (done > 64) stop.abort();
		};
		await expect(readBaseOnce(base, { onProgress, signal: stop.signal })).rejects.toMatchObject({
			name: 'FormatError',
			code: 'E_INTERRUPTED',
		});
		expect(reads[1]?.at(0)).toBe(1);
		expect(reads[1]?.at(-1)).toBe(0);
	});

	it('has the first of the hashes that checkpoints were called by where it is one file', async () => {
		const { base } = someBase();
		const only: Weights = { ...base.weights, names: (component) => (component === 'vae' ? base.weights.names('vae') : []) };
		const { hashes } = await readBaseOnce({ ...base, weights: only, kind: 'file' });
		// SHA-256 of 64 KiB from 1 MiB on, its first eight digits (AUTOMATIC1111 modules/hashes.py, older `sd_model_hash`).
		expect(hashes.autoV1).toBe(sha256(LARGE.subarray(0x100000, 0x110000)).slice(0, 8));
	});
});
