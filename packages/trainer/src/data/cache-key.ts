import { createSha256, type HasherFactory, type Tensor, tensorChunks } from '@lorakit/format';
import type { TextEncoderConfig, VaeConfig, WeightPlace, Weights } from '@lorakit/runtime';
import type { PicturePlan } from './plan-picture.js';

/** What else decides the last bit of what a model gives: another engine or device rounds differently. */
export interface ComputedBy {
	/** `Engine.id` and `Engine.device`. */
	readonly engine: string;
	/** Of the computation: `f32`, `f16`. */
	readonly dtype: string;
}

/** Everything that a picture's latents are made from. */
export interface LatentKeyParts extends ComputedBy {
	/** SHA-256 of the encoded picture. */
	readonly picture: string;
	/** How it is resized, cut and flipped. */
	readonly plan: PicturePlan;
	/** `weightsIdentity` of the VAE. */
	readonly vae: string;
}

/** Everything that a text's states are made from. */
export interface TextKeyParts extends ComputedBy {
	/** Token ids, begin, end and padding included; of SDXL's two text encoders one list each. */
	readonly ids: readonly (readonly number[])[];
	/** `weightsIdentity` of each text encoder. */
	readonly encoders: readonly string[];
	readonly clipSkip: number;
}

/** The name of a picture's latents in a cache: 64 hexadecimal digits that are the same for the same content only. */
export function latentKey({ picture, plan, vae, engine, dtype }: LatentKeyParts, createHasher?: HasherFactory): string {
	const { filter, resized, crop, flip } = plan;
	const parts = [picture, filter, resized.width, resized.height, crop.left, crop.top, crop.width, crop.height, flip, vae, engine, dtype];
	return keyOf(['lorakit.latents/1', ...parts], createHasher);
}

/** The name of a text's states in a cache. */
export function textKey({ ids, encoders, clipSkip, engine, dtype }: TextKeyParts, createHasher?: HasherFactory): string {
	return keyOf(['lorakit.text/1', ids, encoders, clipSkip, engine, dtype], createHasher);
}

/** JSON of a list, so that no two different lists spell the same bytes. */
function keyOf(parts: readonly unknown[], createHasher: HasherFactory = createSha256): string {
	const hash = createHasher();
	hash.update(new TextEncoder().encode(JSON.stringify(parts)));
	return hash.digestHex();
}

export interface WeightsIdentityOptions {
	/** Which weights count; default: all. Of a VAE that only encodes, those that encode. */
	readonly keep?: ((name: string) => boolean) | undefined;
	readonly createHasher?: HasherFactory | undefined;
	/** SHA-256 of the bytes of stored tensors, as far as they are known: the others are read. */
	readonly digests?: ReadonlyMap<Tensor, string> | undefined;
}

/**
 * SHA-256 of a component's configuration and of all of its weights as they are stored: names, dtypes, shapes, bytes (by their own
 * SHA-256, so that they can be hashed in any order, in one pass over a file with what else is asked of it). Reads what has no digest
 * yet once, 335 MB for the VAE of Stable Diffusion in float32, 168 MB in half.
 *
 * @param component `vae`, `text_encoder`, `text_encoder_2`
 * @throws {FormatError} what reading throws
 */
export async function weightsIdentity(
	weights: Weights,
	component: string,
	config: VaeConfig | TextEncoderConfig,
	{ keep, createHasher = createSha256, digests }: WeightsIdentityOptions = {},
): Promise<string> {
	// OpenCLIP's q, k and v are rows of one tensor: it is hashed once.
	const known = new Map(digests);
	const lines: unknown[] = [['lorakit.weights/2', Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))]];
	for (const [name, { tensor, shape, rows, transposed }] of placesOf(weights, component, keep)) {
		const digest = known.get(tensor) ?? (await digestOf(tensor, createHasher));
		known.set(tensor, digest);
		lines.push([name, tensor.dtype, tensor.shape, shape, rows ?? null, transposed ?? false, digest]);
	}
	return keyOf(lines, createHasher);
}

/** The stored tensors that `weightsIdentity` hashes, each once. */
export function identityTensors(weights: Weights, component: string, keep?: WeightsIdentityOptions['keep']): readonly Tensor[] {
	return [...new Set(placesOf(weights, component, keep).map(([, { tensor }]) => tensor))];
}

/** By name, in one order for every base. */
function placesOf(weights: Weights, component: string, keep: WeightsIdentityOptions['keep']): readonly (readonly [string, WeightPlace])[] {
	const names = [...weights.names(component)].filter(keep ?? (() => true)).sort();
	return names.flatMap((name) => {
		const place = weights.locate(component, name);
		return place === undefined ? [] : [[name, place] as const];
	});
}

async function digestOf(tensor: Tensor, createHasher: HasherFactory): Promise<string> {
	const hash = createHasher();
	for await (const bytes of tensorChunks(tensor)) hash.update(bytes);
	return hash.digestHex();
}

/** `keep` for `weightsIdentity`: the weights of a VAE that make latents of pixels. */
export function encodingWeights(name: string): boolean {
	return name.startsWith('encoder.') || name.startsWith('quant_conv.');
}
