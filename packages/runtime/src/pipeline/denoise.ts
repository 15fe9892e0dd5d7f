import { FormatError } from '@lorakit/format';
import type { UnetConfig } from '../base/unet-config.js';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import type { AttentionProcessor } from '../models/attention.js';
import { timestepFeatures } from '../models/timestep-features.js';
import { UNET_INPUTS, unetGraph } from '../models/unet.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import type { Component } from './component-sessions.js';
import type { Conditioning } from './conditioning.js';
import { guide, guideComposed, rescaleGuided } from './guidance.js';

/** An attention processor with its life over the steps. */
export interface AttentionControl {
	/** Two controls with the same key record the same graph. */
	readonly key: string;
	readonly processor: AttentionProcessor;
	/** Values of the inputs that the processor made, for one call of the model. */
	feeds?(call: number, calls: number): Readonly<Record<string, HostTensor>>;
	/** Names of taps that are wanted after each call. */
	readonly taps?: readonly string[] | undefined;
	/** Told what the taps gave. */
	seen?(call: number, taps: Readonly<Record<string, HostTensor>>): void;
	/** The latents to go on with after the scheduler's step; (batch, channels, height, width), not to be written into. */
	blend?(call: number, calls: number, latents: Float32Array, shape: readonly [number, number, number, number]): Float32Array;
}

export interface DenoiseRequest {
	readonly config: UnetConfig;
	readonly scheduler: Scheduler;
	/** (batch, channels, height, width): noise times `initNoiseSigma`, or a noised picture. */
	readonly latents: Float32Array;
	readonly shape: readonly [number, number, number, number];
	readonly conditioning: Conditioning;
	/** 1 or less: only the text half is run. So it is for a UNet that is told the guidance (LCM's `time_cond_proj_dim`). */
	readonly guidance: number;
	readonly guidanceRescale?: number | undefined;
	/** First call of the model: not 0 only when starting from a picture. */
	readonly begin?: number | undefined;
	/** For schedulers that draw at every step. */
	readonly noise?: (() => Float32Array) | undefined;
	readonly control?: AttentionControl | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** After one call of the model. */
export interface DenoiseStep {
	readonly call: number;
	readonly calls: number;
	readonly timestep: number;
	/** (batch, channels, height, width); a new array each time. */
	readonly latents: Float32Array;
	/** What the model now takes the finished latents to be, for previews; computed when it is asked for. */
	predicted(): Float32Array;
}

/**
 * The loop: scale, UNet, guidance, scheduler step. Yields after every call of the model; adapters may be changed between
 * two steps.
 * @throws {FormatError} `E_NONFINITE` naming the step when the model gives NaN or Inf, `E_INTERRUPTED`, `E_USAGE` for texts with
 * weights where they cannot be weighed, those of the engine.
 */
export async function* denoise(unet: Component, request: DenoiseRequest): AsyncGenerator<DenoiseStep, Float32Array> {
	const { config, scheduler, shape, conditioning, guidance, control, signal } = request;
	const [batch, channels, height, width] = shape;
	const inputsOf = textInputs(request);
	const [first = 0] = config.blockOutChannels;
	let latents = request.latents;
	const calls = scheduler.timesteps.length;
	const begin = request.begin ?? 0;
	for (let call = begin; call < calls; call++) {
		if (signal?.aborted === true) throw new FormatError('E_INTERRUPTED', `Stopped before step ${call + 1} of ${calls}.`);
		const timestep = scheduler.timesteps[call] ?? 0;
		const { rows, guided, states, added, weights } = inputsOf(conditioning.at?.(call - begin) ?? conditioning);
		const tokens = states.shape[1] ?? 0;
		const key = [`${rows}x${height}x${width}x${tokens}`, control?.key ?? ''].join(' ');
		const record = (forms: Parameters<Parameters<Component['run']>[1]>[0]) =>
			unetGraph(config, { batch: rows, height, width, tokens }, { forms, processor: control?.processor });
		const sample = times(scheduler.scaleInput(latents, call), rows / batch);
		const result = await unet.run(
			key,
			record,
			{
				[UNET_INPUTS.sample]: f32Tensor([rows, channels, height, width], sample),
				[UNET_INPUTS.time]: f32Tensor([rows, first], timestepFeatures(new Float64Array(rows).fill(timestep), first, config)),
				[UNET_INPUTS.states]: states,
				...(added === undefined ? {} : { [UNET_INPUTS.added]: added }),
				...(config.timeCondProjDim === undefined
					? {}
					: { [UNET_INPUTS.condition]: guidanceCondition(rows, config.timeCondProjDim, guidance) }),
				...control?.feeds?.(call, calls),
			},
			control?.taps,
		);
		const output = result['sample']?.data;
		if (output === undefined) throw new TypeError('a UNet without output');
		if (control?.seen !== undefined) control.seen(call, result);
		let prediction = predictionOf(output, guided, guidance, weights);
		if (guided && (request.guidanceRescale ?? 0) > 0) prediction = rescaleGuided(prediction, output, batch, request.guidanceRescale ?? 0);
		const [guess, before] = [prediction, latents];
		latents = scheduler.step(prediction, call, latents, request.noise);
		if (control?.blend !== undefined) latents = control.blend(call, calls, latents, shape);
		checkFinite(latents, call, calls);
		yield { call, calls, timestep, latents, predicted: () => scheduler.predictOriginal(guess, call, before) };
	}
	return latents;
}

interface TextInputs {
	/** Of the UNet's batch: pictures, times the texts of each, and the unconditional ones where it is guided. */
	readonly rows: number;
	readonly guided: boolean;
	readonly states: HostTensor;
	readonly added: HostTensor | undefined;
	/** Of several texts a picture. */
	readonly weights: readonly number[] | undefined;
}

/** What the UNet is told of the texts; made once for each conditioning. */
function textInputs({ config, shape, guidance, guidanceRescale }: DenoiseRequest): (conditioning: Conditioning) => TextInputs {
	const known = new Map<Conditioning, TextInputs>();
	const told = config.timeCondProjDim !== undefined;
	return (conditioning) => {
		const found = known.get(conditioning);
		if (found !== undefined) return found;
		const { weights } = conditioning;
		if (weights !== undefined && (told || (guidanceRescale ?? 0) > 0)) {
			throw new FormatError(
				'E_USAGE',
				told
					? 'This base takes the guidance as a number (LCM), so texts that are weighed against an unconditional one (AND, or a weight of the whole prompt) cannot be drawn with it.'
					: 'Guidance rescale is for one text of weight 1; leave it out, or the texts joined by AND.',
			);
		}
		// As the pipelines' do_classifier_free_guidance (diffusers pipelines/stable_diffusion/pipeline_stable_diffusion.py);
		// texts with weights are always weighed against the unconditional one.
		const guided = weights !== undefined || (guidance > 1 && !told);
		const made: TextInputs = {
			rows: shape[0] * ((weights?.length ?? 1) + (guided ? 1 : 0)),
			guided,
			states: conditioning.states(guided),
			added: conditioning.added?.(guided),
			weights,
		};
		known.set(conditioning, made);
		return made;
	};
}

function predictionOf(output: ArrayLike<number>, guided: boolean, guidance: number, weights: readonly number[] | undefined): Float32Array {
	if (weights !== undefined) return guideComposed(output, weights, guidance);
	return guided ? guide(output, guidance) : Float32Array.from(output);
}

/** The same again, so often. */
function times(values: Float32Array, count: number): Float32Array {
	if (count === 1) return values;
	const out = new Float32Array(count * values.length);
	for (let i = 0; i < count; i++) out.set(values, i * values.length);
	return out;
}

function checkFinite(latents: Float32Array, call: number, calls: number): void {
	const bad = latents.findIndex((x) => !Number.isFinite(x));
	if (bad < 0) return;
	throw new FormatError(
		'E_NONFINITE',
		`Step ${call + 1} of ${calls} gave ${latents[bad]} in the latents; look for NaN or Inf in the base and the adapters with "lora validate", use a smaller scale, or compute in float32 where it was float16.`,
	);
}

/** LCM's guidance embedding of (guidance - 1) * 1000 (diffusers' `get_guidance_scale_embedding`). */
function guidanceCondition(rows: number, dim: number, guidance: number): HostTensor {
	const half = Math.floor(dim / 2);
	const out = new Float32Array(rows * dim);
	const w = Math.fround((guidance - 1) * 1000);
	for (let i = 0; i < half; i++) {
		const angle = Math.fround(w * Math.fround(Math.exp(Math.fround(i * Math.fround(-Math.log(10_000) / (half - 1))))));
		for (let row = 0; row < rows; row++) {
			out[row * dim + i] = Math.sin(angle);
			out[row * dim + half + i] = Math.cos(angle);
		}
	}
	return f32Tensor([rows, dim], out);
}
