import { FormatError } from '@lorakit/format';
import type { UnetConfig } from '../base/unet-config.js';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import type { AttentionProcessor } from '../models/attention.js';
import { timestepFeatures } from '../models/timestep-features.js';
import { UNET_INPUTS, unetGraph } from '../models/unet.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import type { Component } from './component-sessions.js';
import type { Conditioning } from './conditioning.js';
import { guide, rescaleGuided } from './guidance.js';

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
}

/**
 * The loop: scale, UNet, guidance, scheduler step. Yields after every call of the model; adapters may be changed between
 * two steps.
 * @throws {FormatError} `E_NONFINITE` naming the step when the model gives NaN or Inf, `E_INTERRUPTED`, those of the engine.
 */
export async function* denoise(unet: Component, request: DenoiseRequest): AsyncGenerator<DenoiseStep, Float32Array> {
	const { config, scheduler, shape, conditioning, guidance, control, signal } = request;
	const [batch, channels, height, width] = shape;
	// As the pipelines' do_classifier_free_guidance (diffusers pipelines/stable_diffusion/pipeline_stable_diffusion.py).
	const guided = guidance > 1 && config.timeCondProjDim === undefined;
	const rows = guided ? 2 * batch : batch;
	const states = conditioning.states(guided);
	const added = conditioning.added?.(guided);
	const tokens = states.shape[1] ?? 0;
	const key = [`${rows}x${height}x${width}x${tokens}`, control?.key ?? ''].join(' ');
	const record = (forms: Parameters<Parameters<Component['run']>[1]>[0]) =>
		unetGraph(config, { batch: rows, height, width, tokens }, { forms, processor: control?.processor });
	const [first = 0] = config.blockOutChannels;
	let latents = request.latents;
	const calls = scheduler.timesteps.length;
	for (let call = request.begin ?? 0; call < calls; call++) {
		if (signal?.aborted === true) throw new FormatError('E_INTERRUPTED', `Stopped before step ${call + 1} of ${calls}.`);
		const timestep = scheduler.timesteps[call] ?? 0;
		const scaled = scheduler.scaleInput(latents, call);
		const sample = guided ? twice(scaled) : scaled;
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
		let prediction = guided ? guide(output, guidance) : Float32Array.from(output);
		if (guided && (request.guidanceRescale ?? 0) > 0) prediction = rescaleGuided(prediction, output, batch, request.guidanceRescale ?? 0);
		latents = scheduler.step(prediction, call, latents, request.noise);
		checkFinite(latents, call, calls);
		yield { call, calls, timestep, latents };
	}
	return latents;
}

function twice(values: Float32Array): Float32Array {
	const out = new Float32Array(2 * values.length);
	out.set(values);
	out.set(values, values.length);
	return out;
}

function checkFinite(latents: Float32Array, call: number, calls: number): void {
	const bad = latents.findIndex((x) => !Number.isFinite(x));
	if (bad < 0) return;
	throw new FormatError(
		'E_NONFINITE',
		`Step ${call + 1} of ${calls} gave ${latents[bad]} in the latents; look for NaN or Inf in the base and the adapters with "lora validate", or use a smaller scale.`,
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
