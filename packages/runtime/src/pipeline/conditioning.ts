import { FormatError } from '@lorakit/format';
import type { UnetConfig } from '../base/unet-config.js';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { timestepFeatures } from '../models/timestep-features.js';

/** What the UNet is told beside the latents, for a batch. */
export interface Conditioning {
	/** (batch, tokens, width); with guidance (2 batch, tokens, width), the unconditional half first. */
	states(guided: boolean): HostTensor;
	/** SDXL: (batch or 2 batch, projection_class_embeddings_input_dim) */
	added?(guided: boolean): HostTensor;
	/**
	 * Several texts a picture (AND), each with its weight: `states` has the rows of the first text for all pictures, then of
	 * the next; guided, the unconditional rows first. Absent: one text of weight 1.
	 */
	readonly weights?: readonly number[] | undefined;
	/** Another conditioning for a call of the model, counted from 0 where the run begins. Absent: always this. */
	at?(call: number): Conditioning;
}

/** SDXL's pooled states and the sizes it is told: (original h, w, crop top, left, target h, w). */
export interface AddedConditions {
	/** (batch, d) */
	readonly pooled: HostTensor;
	readonly negativePooled: HostTensor | undefined;
	readonly timeIds: readonly number[];
	readonly negativeTimeIds?: readonly number[] | undefined;
}

/**
 * From encoded texts, one row for each picture.
 * @throws {FormatError} `E_USAGE` when guidance needs a negative that is not there or has another length.
 */
export function conditioningOf(
	config: UnetConfig,
	text: HostTensor,
	negative: HostTensor | undefined,
	conditions?: AddedConditions,
): Conditioning {
	const both = (a: HostTensor | undefined, b: HostTensor): HostTensor => {
		if (a === undefined || a.shape[1] !== b.shape[1]) {
			throw new FormatError('E_USAGE', 'Guidance above 1 needs a negative text of as many tokens as the prompt.');
		}
		return joined(a, b);
	};
	const states = (guided: boolean): HostTensor => (guided ? both(negative, text) : text);
	if (config.additionEmbedType === undefined) return { states };
	if (conditions === undefined) throw new FormatError('E_USAGE', 'This base needs pooled text states and time ids (SDXL).');
	const { pooled, negativePooled, timeIds, negativeTimeIds = timeIds } = conditions;
	return {
		states,
		added(guided) {
			const own = addedFeatures(config, pooled, timeIds);
			return guided && negativePooled !== undefined ? joined(addedFeatures(config, negativePooled, negativeTimeIds), own) : own;
		},
	};
}

/** Pooled states and the sinusoidal features of the time ids, side by side. */
function addedFeatures(config: UnetConfig, pooled: HostTensor, timeIds: readonly number[]): HostTensor {
	const [batch = 1, d = 0] = pooled.shape;
	const dim = config.additionTimeEmbedDim ?? 0;
	const features = timestepFeatures(timeIds, dim, config);
	const width = d + features.length;
	if (width !== config.projectionClassEmbeddingsInputDim) {
		throw new FormatError(
			'E_CONFIG',
			`The UNet expects added features of width ${config.projectionClassEmbeddingsInputDim}, but ${d} pooled states and ${timeIds.length} time ids make ${width}; text encoders and UNet belong to different models.`,
		);
	}
	const out = new Float32Array(batch * width);
	for (let row = 0; row < batch; row++) {
		out.set(pooled.data.subarray(row * d, (row + 1) * d), row * width);
		out.set(features, row * width + d);
	}
	return f32Tensor([batch, width], out);
}

/** Along the first axis. */
export function joined(a: HostTensor, b: HostTensor): HostTensor {
	const out = new Float32Array(a.data.length + b.data.length);
	out.set(a.data);
	out.set(b.data, a.data.length);
	return f32Tensor([(a.shape[0] ?? 0) + (b.shape[0] ?? 0), ...a.shape.slice(1)], out);
}

/** The same row for each of `count` pictures. */
export function repeated(row: HostTensor, count: number): HostTensor {
	const out = new Float32Array(row.data.length * count);
	for (let i = 0; i < count; i++) out.set(row.data, i * row.data.length);
	return f32Tensor([(row.shape[0] ?? 1) * count, ...row.shape.slice(1)], out);
}

/** Along the last axis: SDXL's two text encoders. */
export function besides(a: HostTensor, b: HostTensor): HostTensor {
	const [wa, wb] = [a.shape.at(-1) ?? 0, b.shape.at(-1) ?? 0];
	const rows = a.data.length / wa;
	const out = new Float32Array(rows * (wa + wb));
	for (let r = 0; r < rows; r++) {
		out.set(a.data.subarray(r * wa, (r + 1) * wa), r * (wa + wb));
		out.set(b.data.subarray(r * wb, (r + 1) * wb), r * (wa + wb) + wa);
	}
	return f32Tensor([...a.shape.slice(0, -1), wa + wb], out);
}
