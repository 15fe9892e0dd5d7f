import { FormatError } from '@lorakit/format';
import type { TrainableTensor } from '../model/trainable-tensor.js';
import { f32Entry, i32Entry, type OptimizerState, StateReader } from './optimizer-state.js';
import { checkTensors } from './step-input.js';

const { fround } = Math;

/** Keys as diffusers' EMAModel has them; what is left out has its defaults. */
export interface EmaOptions {
	/** The decay that is worked up to; 0.9999. */
	readonly decay?: number | undefined;
	/** Once it averages, the decay is at least this; 0. */
	readonly min_decay?: number | undefined;
	/** Steps before it averages at all; 0. */
	readonly update_after_step?: number | undefined;
	/** Work up by `1 - (1 + step / inv_gamma) ** -power` instead of `(1 + step) / (10 + step)`; false. */
	readonly use_ema_warmup?: boolean | undefined;
	/** 1. */
	readonly inv_gamma?: number | undefined;
	/** 2 / 3. */
	readonly power?: number | undefined;
}

/** An exponential moving average of trained tensors (huggingface/diffusers src/diffusers/training_utils.py `EMAModel`). */
export class EmaModel {
	readonly #options: Required<{ [K in keyof EmaOptions]: NonNullable<EmaOptions[K]> }>;
	readonly #slots: readonly { readonly tensor: TrainableTensor; readonly shadow: Float32Array }[];
	#step = 0;
	#applied = false;

	/**
	 * Starts from the tensors' values of now.
	 *
	 * @throws {FormatError} `E_CONFIG`: an option that cannot be; `E_USAGE`: as `checkTensors`
	 */
	constructor(options: EmaOptions, tensors: readonly TrainableTensor[]) {
		checkTensors(tensors);
		const { decay = 0.9999, min_decay = 0, update_after_step = 0, use_ema_warmup = false, inv_gamma = 1, power = 2 / 3 } = options;
		checkNumber('decay', decay, decay >= 0 && decay <= 1, 'a number from 0 to 1');
		checkNumber('min_decay', min_decay, min_decay >= 0 && min_decay <= 1, 'a number from 0 to 1');
		const steps = Number.isSafeInteger(update_after_step) && update_after_step >= 0;
		checkNumber('update_after_step', update_after_step, steps, 'a whole number of at least 0');
		checkNumber('inv_gamma', inv_gamma, Number.isFinite(inv_gamma) && inv_gamma > 0, 'a number above 0');
		checkNumber('power', power, Number.isFinite(power) && power > 0, 'a number above 0');
		this.#options = { decay, min_decay, update_after_step, use_ema_warmup, inv_gamma, power };
		this.#slots = tensors.map((tensor) => ({ tensor, shadow: tensor.values.slice() }));
	}

	/** The decay that the `n`th step (from 1) uses. */
	decayAt(n: number): number {
		const { decay, min_decay, update_after_step, use_ema_warmup, inv_gamma, power } = this.#options;
		const step = Math.max(0, n - update_after_step - 1);
		if (step === 0) return 0;
		const rising = use_ema_warmup ? 1 - (1 + step / inv_gamma) ** -power : (1 + step) / (10 + step);
		return Math.max(Math.min(rising, decay), min_decay);
	}

	/** Takes the tensors' values into the average; call after the optimizer's step. @throws {FormatError} `E_USAGE` inside `withAverage` */
	step(): void {
		if (this.#applied) throw new FormatError('E_USAGE', 'The tensors hold their average at the moment; step after withAverage has ended.');
		this.#step++;
		const weight = fround(1 - this.decayAt(this.#step));
		for (const { tensor, shadow } of this.#slots) average(shadow, tensor.values, weight);
	}

	/** The averages by tensor name, to be read only. */
	get values(): ReadonlyMap<string, Float32Array> {
		return new Map(this.#slots.map(({ tensor, shadow }) => [tensor.name, shadow]));
	}

	/**
	 * Runs something, validation or saving, with the averages as the tensors' values; whatever happens, the trained values are
	 * put back after it.
	 *
	 * @throws {FormatError} `E_USAGE` when it is running already; what `run` throws
	 */
	async withAverage<T>(run: () => Promise<T>): Promise<T> {
		if (this.#applied) throw new FormatError('E_USAGE', 'The tensors hold their average already; wait for the first withAverage to end.');
		const trained = this.#slots.map(({ tensor }) => tensor.values.slice());
		this.#applied = true;
		for (const { tensor, shadow } of this.#slots) tensor.values.set(shadow);
		try {
			return await run();
		} finally {
			for (const [i, { tensor }] of this.#slots.entries()) tensor.values.set(trained[i] ?? []);
			this.#applied = false;
		}
	}

	/** `shadow/NAME` (float32, the tensor's shape) and `optimization_step` (int32, 1). Copies. */
	state(): OptimizerState {
		const state = new Map([['optimization_step', i32Entry(this.#step)]]);
		for (const { tensor, shadow } of this.#slots) state.set(`shadow/${tensor.name}`, f32Entry(tensor.shape, shadow));
		return state;
	}

	/** @throws {FormatError} `E_CONFIG`: not the state of an average over these tensors; nothing has changed then */
	restore(state: OptimizerState): void {
		const reader = new StateReader(state, 'the moving average');
		const step = reader.count('optimization_step');
		const read = this.#slots.map(({ tensor, shadow }) => ({ shadow, from: reader.f32(`shadow/${tensor.name}`, tensor.shape) }));
		reader.finish();
		this.#step = step;
		for (const { shadow, from } of read) shadow.set(from);
	}
}

function average(shadow: Float32Array, values: Float32Array, weight: number): void {
	for (let i = 0; i < shadow.length; i++) {
		const before = shadow[i] as number;
		shadow[i] = fround(before - fround(weight * fround(before - (values[i] as number))));
	}
}

function checkNumber(key: string, value: number, fits: boolean, expected: string): void {
	if (!fits) throw new FormatError('E_CONFIG', `The moving average got ${value} for ${key}; expected ${expected}.`, { at: key });
}
