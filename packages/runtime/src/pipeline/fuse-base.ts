import {
	type AdapterUse,
	computedTensor,
	decodeFloats,
	type Embedding,
	FormatError,
	planFuse,
	quote,
	type Tensor,
	type TouchedTensor,
	type Warning,
} from '@lorakit/format';
import type { Base } from '../base/base.js';
import type { WeightPlace } from '../base/weights.js';
import type { AdapterOptions } from './stable-diffusion.js';

/** A base whose weights have adapters in them. */
export interface FusedBase {
	/** Its weights are computed when they are read; everything else is the base's. Closing it is the base's affair. */
	readonly base: Base;
	/** Tokens that the adapters carry: for `setEmbeddings`. */
	readonly embeddings: readonly Embedding[];
	readonly warnings: readonly Warning[];
}

/**
 * Adapters fused on demand: base + delta in float64, rounded once to float32, which is what engines compute with, and
 * never to the type that the base is stored in. The base and its files are not changed.
 * @throws {FormatError} those of `planFuse`; reading the weights throws `E_NONFINITE` for sums that are no numbers.
 */
export async function fuseBase(base: Base, uses: readonly AdapterUse[], { doraStrength }: AdapterOptions = {}): Promise<FusedBase> {
	const embeddings = uses.flatMap(({ adapter }) => adapter.embeddings);
	const withModules = uses.filter(({ adapter }) => adapter.modules.length > 0);
	if (withModules.length === 0) return { base, embeddings, warnings: [] };
	const plan = await planFuse(base.model, withModules, { doraStrength });
	const fused = new Map<Tensor, Tensor>(plan.touched.map((touched) => [touched.tensor, fusedFloats(touched)]));
	const { weights } = base;
	const replaced = (place: WeightPlace | undefined): WeightPlace | undefined => {
		const tensor = place === undefined ? undefined : fused.get(place.tensor);
		return place === undefined || tensor === undefined ? place : { ...place, tensor };
	};
	// Adapters over the fused base find its weights: those that need the weight as it is read the sum.
	const files = base.model.files.map((file) => ({
		...file,
		state: { ...file.state, tensors: new Map(Array.from(file.state.tensors, ([name, tensor]) => [name, fused.get(tensor) ?? tensor])) },
	}));
	return {
		base: {
			...base,
			model: { ...base.model, files },
			weights: { ...weights, locate: (component, name) => replaced(weights.locate(component, name)) },
		},
		embeddings,
		warnings: plan.warnings.filter(({ code }) => code !== 'W_EMBEDDING_BESIDE'),
	};
}

function fusedFloats(touched: TouchedTensor): Tensor {
	const { tensor, blockRows } = touched;
	const derivation = { from: [tensor], how: `fused with ${touched.modules.join(', ')}`, errorBound: undefined };
	return computedTensor('F32', tensor.shape, derivation, async () => {
		const bytes = await tensor.read();
		const rows = tensor.shape[0] ?? 1;
		const rowBytes = rows === 0 ? 0 : bytes.byteLength / rows;
		const out = new Float32Array(tensor.shape.reduce((product, d) => product * d, 1));
		let at = 0;
		for (let from = 0; from < rows; from += blockRows) {
			const to = Math.min(rows, from + blockRows);
			const before = decodeFloats(tensor.dtype, bytes.subarray(from * rowBytes, to * rowBytes));
			const delta = await touched.delta(from, to, touched.needsBase ? bytes : undefined);
			for (let i = 0; i < before.length; i++) {
				const x = Math.fround((before[i] ?? 0) + (delta[i] ?? 0));
				if (!Number.isFinite(x)) throw noNumber(touched, x);
				out[at++] = x;
			}
		}
		return new Uint8Array(out.buffer);
	});
}

function noNumber({ name, modules }: TouchedTensor, x: number): FormatError {
	return new FormatError(
		'E_NONFINITE',
		`${quote(name)} with ${modules.length} module(s) fused into it has ${x} in it; look for NaN or Inf with "lora validate", or use a smaller scale.`,
		{ at: name },
	);
}
