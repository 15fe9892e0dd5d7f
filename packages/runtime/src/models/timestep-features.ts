/**
 * The sinusoidal features of timesteps, (count, dim) row by row: cosines first where `flipSinToCos`.
 *
 * Made here and fed, not part of the graph: torch rounds `t * frequency` (up to 999) to float32 before the sine, and
 * that rounding is as large as the tolerance of a whole UNet. Each step below rounds where torch does
 * (`get_timestep_embedding`, diffusers' models/embeddings.py).
 */
export function timestepFeatures(
	timesteps: ArrayLike<number>,
	dim: number,
	{ flipSinToCos, freqShift }: { readonly flipSinToCos: boolean; readonly freqShift: number },
): Float32Array {
	const half = Math.floor(dim / 2);
	const out = new Float32Array(timesteps.length * dim);
	const frequencies = Float32Array.from({ length: half }, (_, i) =>
		Math.exp(Math.fround(Math.fround(Math.fround(-Math.log(10_000)) * i) / Math.fround(half - freqShift))),
	);
	for (let row = 0; row < timesteps.length; row++) {
		const t = Math.fround(timesteps[row] ?? 0);
		for (let i = 0; i < half; i++) {
			const angle = Math.fround(t * (frequencies[i] ?? 0));
			out[row * dim + i] = flipSinToCos ? Math.cos(angle) : Math.sin(angle);
			out[row * dim + half + i] = flipSinToCos ? Math.sin(angle) : Math.cos(angle);
		}
	}
	return out;
}
