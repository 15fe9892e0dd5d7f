import { FormatError } from '@lorakit/format';
import {
	addNoise,
	countOf,
	f32Tensor,
	type HostTensor,
	type NoiseSchedule,
	type PredictionType,
	parameterSource,
	snr,
	TEXT_INPUTS,
	type TextEncoderConfig,
	textFeeds,
	timestepFeatures,
	UNET_INPUTS,
	type UnetConfig,
	velocity,
	type Weights,
} from '@lorakit/runtime';
import type { GradientEngine, GradientSession, TrainingMemory } from '../gradients/gradient-engine.js';
import { parameterBytes } from '../gradients/live-bytes.js';
import { OBJECTIVE_INPUTS, OBJECTIVE_OUTPUTS, objectiveGraph, SECOND_PREFIX } from './objective-graph.js';
import { moduleForms, type TargetModule } from './target-modules.js';
import type { TrainableTensor } from './trainable-tensor.js';
import { TOKEN_ROWS, TOKEN_ROWS_2 } from './trainable-tensors.js';
import type { BatchText, TrainingBatch } from './training-batch.js';
import type { Loss, LossAndGradients, TrainingModel } from './training-model.js';

/** Own memory of all sessions together that are kept for other shapes of batches. */
const KEPT_BYTES = 1024 * 1024 * 1024;

export interface TrainingModelOptions {
	readonly unet: UnetConfig;
	readonly weights: Weights;
	/** Where batches have token ids instead of text states. */
	readonly textEncoder?: TextEncoderConfig | undefined;
	/** SDXL's second one; batches then have ids for both, and time ids. */
	readonly textEncoder2?: TextEncoderConfig | undefined;
	readonly clipSkip?: number | undefined;
	readonly engine: GradientEngine;
	readonly modules: readonly TargetModule[];
	/** Factors of the modules, and learned tokens' rows. */
	readonly tensors: readonly TrainableTensor[];
	/** Tensors that have no gradient for now: fed as they are (pivotal tuning's first phase). By name. */
	readonly frozen?: ReadonlySet<string> | undefined;
	readonly prediction: PredictionType;
	readonly schedule: NoiseSchedule;
	/** min-SNR weighting (Hang et al., arXiv 2303.09556); left out: none. */
	readonly snrGamma?: number | undefined;
	readonly memory: TrainingMemory;
	/**
	 * Smaller batches are filled up to so many samples, whose errors count nothing: the rest of an epoch needs no graph of its own.
	 * Left out: every size has one.
	 */
	readonly batchSize?: number | undefined;
	/** Batches without a mask count whole, with the same graph as those that have one. */
	readonly masked?: boolean | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** Can it be trained over? @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for a UNet whose input is more than latents (inpainting) */
export function checkTrainable({ inChannels, outChannels }: Pick<UnetConfig, 'inChannels' | 'outChannels'>): void {
	if (inChannels === outChannels) return;
	throw new FormatError(
		'E_UNSUPPORTED_ADAPTER',
		`The UNet takes ${inChannels} channels and gives ${outChannels}; training supports bases whose input is the noisy latents alone, not inpainting ones.`,
	);
}

/**
 * A base with trainable tensors over it. The graph of a batch's shape is loaded when the first such batch comes. Graphs of
 * other shapes are kept while what they hold for themselves is small (`KEPT_BYTES`). Sessions that read their weights in the memory of one
 * file (`lean`, float32) hold values of a step each; of a large base in other forms one is held at a time.
 *
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` for a UNet whose input is more than latents (inpainting)
 */
export function createTrainingModel(options: TrainingModelOptions): TrainingModel {
	const { unet, weights, textEncoder, textEncoder2, engine, modules, tensors, frozen, memory } = options;
	checkTrainable(unet);
	const { forms, ranks } = moduleForms(modules);
	const scalings = new Map(modules.map((m) => [`${m.component}.${m.path}:up`, m.scaling]));
	const rows = tensors.find(({ name }) => name === TOKEN_ROWS);
	const rows2 = tensors.find(({ name }) => name === TOKEN_ROWS_2);
	if (textEncoder2 !== undefined && rows?.shape[0] !== rows2?.shape[0]) throw new TypeError('a token has rows in both text encoders');
	const trained = tensors.filter(({ name }) => frozen?.has(name) !== true);
	/** By shape; the last is the latest used. */
	const sessions = new Map<string, { readonly session: GradientSession; readonly bytes: number }>();

	async function sessionFor(batch: TrainingBatch): Promise<GradientSession> {
		const shape = shapeOf(batch);
		const masked = batch.mask !== undefined;
		const key = [...Object.values(shape), masked, 'ids' in batch.text].join();
		const known = sessions.get(key);
		if (known !== undefined) {
			sessions.delete(key);
			sessions.set(key, known);
			return known.session;
		}
		const graph = objectiveGraph({
			unet,
			textEncoder: 'ids' in batch.text ? textEncoder : undefined,
			textEncoder2: 'ids' in batch.text ? textEncoder2 : undefined,
			clipSkip: options.clipSkip,
			tokens: rows?.shape[0],
			shape,
			masked,
			forms,
			ranks,
		});
		// What it will hold is known when it is loaded; the others are of the same base.
		await makeRoom(Math.max(0, ...[...sessions.values()].map((kept) => kept.bytes)));
		const { signal, onProgress } = options;
		const wrt = trained.map(({ name }) => name);
		const request = { loss: OBJECTIVE_OUTPUTS.loss, wrt, memory };
		const session = await engine.load(graph, request, parameterSource(graph, weights), { signal, onProgress });
		const bytes = session.ownBytes ?? parameterBytes(graph);
		// Known before room is made, so that it is closed with the others whatever happens there.
		sessions.set(key, { session, bytes });
		await makeRoom(0, key);
		return session;
	}

	/** Closes what was used longest ago, until there is room for so many bytes more. @param but the one that stays */
	async function makeRoom(bytes: number, but?: string): Promise<void> {
		for (const [old, { session }] of sessions) {
			if (bytes + [...sessions.values()].reduce((sum, kept) => sum + kept.bytes, 0) <= KEPT_BYTES) return;
			if (old === but) continue;
			sessions.delete(old);
			await session.close();
		}
	}

	async function close(): Promise<void> {
		const closing = [...sessions.values()];
		sessions.clear();
		for (const { session } of closing) await session.close();
	}

	function tensorFeeds(): Record<string, HostTensor> {
		const feeds: Record<string, HostTensor> = {};
		for (const { name, shape, values } of tensors) {
			const scaling = scalings.get(name) ?? 1;
			feeds[name] = f32Tensor(shape, scaling === 1 ? values : values.map((x) => x * scaling));
		}
		return feeds;
	}

	async function gradients(given: TrainingBatch): Promise<LossAndGradients> {
		checkBatch(given, options);
		const batch = filledUp(given, options);
		const session = await sessionFor(batch);
		const { outputs, gradients } = await session.run({ ...tensorFeeds(), ...batchFeeds(batch, options, [rows, rows2]) });
		const byTensor = trained.map(({ name }): [string, Float32Array] => {
			const data = gradients[name]?.data ?? [];
			const scaling = scalings.get(name) ?? 1;
			// The factor was fed times its scaling.
			return [name, Float32Array.from(data, scaling === 1 ? undefined : (x) => x * scaling)];
		});
		return { ...lossOf(outputs, given.weights.length), gradients: new Map(byTensor) };
	}

	return {
		tensors,
		gradients,
		async loss(batch) {
			const { loss, errors } = await gradients(batch);
			return { loss, errors };
		},
		close,
	};
}

function lossOf(outputs: Readonly<Record<string, HostTensor>>, count: number): Loss {
	const [loss, errors] = [outputs[OBJECTIVE_OUTPUTS.loss]?.data[0], outputs[OBJECTIVE_OUTPUTS.errors]];
	if (loss === undefined || errors === undefined) throw new TypeError('an objective without loss');
	return { loss, errors: Float32Array.from(errors.data.subarray(0, count)) };
}

/** A batch as large as the others, its first sample again and again with weight 0; and with a mask where the others have one. */
function filledUp(batch: TrainingBatch, { batchSize = 0, masked = false }: TrainingModelOptions): TrainingBatch {
	const count = batch.weights.length;
	const more = Math.max(0, batchSize - count);
	const [, , height = 0, width = 0] = batch.latents.shape;
	const mask = batch.mask ?? (masked ? f32Tensor([count, 1, height, width], new Float32Array(count * height * width).fill(1)) : undefined);
	if (more === 0) return mask === batch.mask ? batch : { ...batch, mask };
	const rows = <T>(list: readonly T[], filler: T): readonly T[] => [...list, ...new Array<T>(more).fill(filler)];
	const tensor = (x: HostTensor): HostTensor => {
		const size = x.data.length / count;
		const data = new Float32Array((count + more) * size);
		data.set(x.data);
		for (let i = 0; i < more; i++) data.set(x.data.subarray(0, size), (count + i) * size);
		return f32Tensor([count + more, ...x.shape.slice(1)], data);
	};
	const { text } = batch;
	return {
		latents: tensor(batch.latents),
		noise: tensor(batch.noise),
		timesteps: rows(batch.timesteps, batch.timesteps[0] ?? 0),
		text:
			'ids' in text
				? {
						ids: rows(text.ids, text.ids[0] ?? []),
						ids2: text.ids2 === undefined ? undefined : rows(text.ids2, text.ids2[0] ?? []),
						timeIds: text.timeIds === undefined ? undefined : rows(text.timeIds, text.timeIds[0] ?? []),
					}
				: { states: tensor(text.states), added: text.added === undefined ? undefined : tensor(text.added) },
		weights: rows(batch.weights, 0),
		mask: mask === undefined ? undefined : tensor(mask),
	};
}

interface BatchShape {
	readonly batch: number;
	readonly height: number;
	readonly width: number;
	readonly tokens: number;
}

function shapeOf({ latents, text }: TrainingBatch): BatchShape {
	const [batch = 0, , height = 0, width = 0] = latents.shape;
	const tokens = 'ids' in text ? (text.ids[0]?.length ?? 0) : (text.states.shape[1] ?? 0);
	return { batch, height, width, tokens };
}

/** @throws {FormatError} `E_USAGE` */
function checkBatch(given: TrainingBatch, options: TrainingModelOptions): void {
	const problem = problemOf(given, options);
	if (problem !== undefined) throw new FormatError('E_USAGE', `The batch has ${problem}.`);
}

function problemOf(
	{ latents, noise, timesteps, text, weights, mask }: TrainingBatch,
	{ unet, textEncoder, textEncoder2 }: TrainingModelOptions,
): string | undefined {
	const [batch = 0, channels = 0, height = 0, width = 0] = latents.shape;
	if (latents.shape.length !== 4 || batch < 1 || channels !== unet.inChannels || countOf(latents.shape) !== latents.data.length) {
		return `latents of shape (${latents.shape.join(', ')}) with ${latents.data.length} elements; expected (batch, ${unet.inChannels}, height, width)`;
	}
	if (noise.shape.join() !== latents.shape.join()) {
		return `noise of shape (${noise.shape.join(', ')}); expected that of the latents, (${latents.shape.join(', ')})`;
	}
	if (timesteps.length !== batch || weights.length !== batch) {
		return `${timesteps.length} timesteps and ${weights.length} weights; expected ${batch} of each`;
	}
	if (mask !== undefined && mask.shape.join() !== [batch, 1, height, width].join()) {
		return `a mask of shape (${mask.shape.join(', ')}); expected (${batch}, 1, ${height}, ${width})`;
	}
	if ('ids' in text && textEncoder === undefined) return 'token ids; expected text states, because no text encoder is trained';
	const samples = 'ids' in text ? text.ids.length : text.states.shape[0];
	if (samples !== batch) return `text of ${samples} samples; expected ${batch}`;
	if (!('ids' in text)) return undefined;
	if (text.ids.some((row) => row.length !== text.ids[0]?.length)) {
		return `rows of ${text.ids.map((row) => row.length).join(', ')} token ids; expected rows of one length`;
	}
	return textEncoder2 === undefined ? undefined : problemOfSecond(text, batch);
}

/** SDXL's text encoders both have ids, and every sample its sizes. */
function problemOfSecond({ ids, ids2, timeIds }: Extract<BatchText, { ids: unknown }>, batch: number): string | undefined {
	const length = ids[0]?.length ?? 0;
	if (ids2?.length !== batch || ids2.some((row) => row.length !== length)) {
		return `${ids2?.length ?? 0} rows of ids for the second text encoder; expected ${batch} of ${length}, as for the first`;
	}
	if (timeIds?.length === batch && timeIds.every((row) => row.length === TIME_IDS)) return undefined;
	return `${timeIds?.length ?? 0} rows of time ids; expected ${batch} of ${TIME_IDS} numbers`;
}

/** Original height and width, top and left of the cut, target height and width. */
const TIME_IDS = 6;

function batchFeeds(
	batch: TrainingBatch,
	{ unet, textEncoder, textEncoder2, prediction, schedule, snrGamma }: TrainingModelOptions,
	rows: readonly [TrainableTensor | undefined, TrainableTensor | undefined],
): Record<string, HostTensor> {
	const { latents, noise, timesteps, text, weights, mask } = batch;
	const { shape } = latents;
	const [count = 0] = shape;
	const size = countOf(shape.slice(1));
	const noisy = new Float32Array(count * size);
	const target = new Float32Array(count * size);
	for (const [i, timestep] of timesteps.entries()) {
		const part = (x: HostTensor): Float32Array => Float32Array.from(x.data.subarray(i * size, (i + 1) * size));
		const [clean, added] = [part(latents), part(noise)];
		noisy.set(addNoise(schedule, clean, added, timestep), i * size);
		target.set(prediction === 'epsilon' ? added : prediction === 'sample' ? clean : velocity(schedule, clean, added, timestep), i * size);
	}
	const factors = weights.map((w, i) => (snrGamma === undefined ? w : w * snrWeight(schedule, timesteps[i] ?? 0, snrGamma, prediction)));
	const [width = 0] = unet.blockOutChannels;
	const feeds: Record<string, HostTensor> = {
		[UNET_INPUTS.sample]: f32Tensor(shape, noisy),
		[UNET_INPUTS.time]: f32Tensor([count, width], timestepFeatures(timesteps, width, unet)),
		[OBJECTIVE_INPUTS.target]: f32Tensor(shape, target),
		[OBJECTIVE_INPUTS.weights]: f32Tensor([count], Float32Array.from(factors)),
	};
	if (mask !== undefined) feeds[OBJECTIVE_INPUTS.mask] = mask;
	if (!('ids' in text)) {
		feeds[UNET_INPUTS.states] = text.states;
		if (text.added !== undefined) feeds[UNET_INPUTS.added] = text.added;
		return feeds;
	}
	if (textEncoder === undefined) throw new TypeError('ids without a text encoder');
	Object.assign(feeds, encoderFeeds(textEncoder, text.ids, rows[0], ''));
	if (textEncoder2 === undefined) return feeds;
	Object.assign(feeds, encoderFeeds(textEncoder2, text.ids2 ?? [], rows[1], SECOND_PREFIX));
	const features = timestepFeatures((text.timeIds ?? []).flat(), unet.additionTimeEmbedDim ?? 0, unet);
	feeds[OBJECTIVE_INPUTS.timeIds] = f32Tensor([count, features.length / count], features);
	return feeds;
}

/** The inputs of one text encoder, but for rows that are fed with what is trained. */
function encoderFeeds(
	config: TextEncoderConfig,
	ids: readonly (readonly number[])[],
	rows: TrainableTensor | undefined,
	prefix: string,
): Record<string, HostTensor> {
	const added = { count: rows?.shape[0] ?? 0, rows: rows?.values ?? new Float32Array(0) };
	const feeds = textFeeds(config, Int32Array.from(ids.flat()), ids.length, added);
	const own = Object.entries(feeds).filter(([name]) => rows === undefined || name !== TEXT_INPUTS.addedRows);
	return Object.fromEntries(own.map(([name, tensor]) => [`${prefix}${name}`, tensor]));
}

/**
 * min(SNR, gamma) / SNR, by SNR + 1 where the velocity is predicted, and min(SNR, gamma) where the sample is. Without any
 * signal the first is what it is for all small ratios, 1.
 */
function snrWeight(schedule: NoiseSchedule, timestep: number, gamma: number, prediction: PredictionType): number {
	const ratio = snr(schedule, timestep);
	const least = Math.min(ratio, gamma);
	if (prediction === 'sample') return least;
	if (prediction === 'epsilon') return ratio === 0 ? 1 : least / ratio;
	return least / (ratio + 1);
}
