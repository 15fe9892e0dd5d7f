import { FormatError } from '@lorakit/format';
import type { HostTensor, LatentDistribution } from '@lorakit/runtime';
import { asFloats, type CachedTensors, createCachedSource, isFloats, type TensorCache } from './cache-tensors.js';
import { stacked } from './stacked.js';

/** A picture whose latents are wanted. */
export interface LatentRequest {
	/** `latentKey` of the picture as it is cut. */
	readonly key: string;
	/** (1, 3, h, w) in [-1, 1]. Asked for only when the latents are not in the cache: nothing is decoded otherwise. */
	readonly pixels: () => Promise<HostTensor> | HostTensor;
}

/** Gives the distribution of pictures in latent space: mean and log-variance, so that every epoch can draw anew. */
export interface LatentSource {
	/**
	 * @param requests pictures of one size
	 * @returns (b, latent, h / 8, w / 8) each
	 * @throws {FormatError} `E_USAGE` for pixels of another shape or pictures of different sizes; those of encoding and of the cache
	 */
	latents(requests: readonly LatentRequest[]): Promise<LatentDistribution>;
}

/**
 * Latents through a cache. Pictures are encoded one by one, so that what stands in the cache, and what is computed without one,
 * never depends on which pictures were in a batch: with and without cache the run is the same bit for bit.
 *
 * @param encode (1, 3, h, w) -> mean and log-variance: `StableDiffusion.encode`, or `encodePixels` over a VAE
 */
export function createLatentSource(options: {
	readonly cache?: TensorCache | undefined;
	readonly encode: (pixels: HostTensor) => Promise<LatentDistribution>;
}): LatentSource {
	const source = createCachedSource(options.cache);

	async function one({ key, pixels }: LatentRequest): Promise<LatentDistribution> {
		const found = await source.get(key, isSound, async () => {
			const input = await pixels();
			const [batch, channels] = input.shape;
			if (!isFloats(input, 4) || batch !== 1 || channels !== 3) {
				throw new FormatError(
					'E_USAGE',
					`A picture to encode is float32 of (1, 3, h, w), not ${input.dtype} of (${input.shape.join(', ')}).`,
				);
			}
			const { mean, logvar } = await options.encode(input);
			return { mean: asFloats(mean), logvar: asFloats(logvar) };
		});
		return distributionOf(found);
	}

	return {
		async latents(requests) {
			const all: LatentDistribution[] = [];
			for (const request of requests) all.push(await one(request));
			return {
				mean: stacked(
					all.map(({ mean }) => mean),
					'latents',
				),
				logvar: stacked(
					all.map(({ logvar }) => logvar),
					'latents',
				),
			};
		},
	};
}

/** Log-variances are clamped to [-30, 20] by the encoder; anything else was not put there by us. */
function isSound({ mean, logvar }: CachedTensors): boolean {
	if (!isFloats(mean, 4) || !isFloats(logvar, 4)) return false;
	return mean.shape[0] === 1 && mean.shape.every((d, i) => d === logvar.shape[i]) && logvar.data.every((x) => x >= -30 && x <= 20);
}

function distributionOf({ mean, logvar }: CachedTensors): LatentDistribution {
	if (mean === undefined || logvar === undefined) throw new TypeError('latents without mean or log-variance');
	return { mean, logvar };
}
