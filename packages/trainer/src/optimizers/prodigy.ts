import { FormatError } from '@lorakit/format';
import type { TrainableTensor } from '../model/trainable-tensor.js';
import type { Optimizer } from './optimizer.js';
import type { ProdigyOptions } from './optimizer-options.js';
import { f32Entry, f64Entry, i32Entry, type OptimizerState, StateReader } from './optimizer-state.js';
import { checkStepInput, checkTensors, type GroupRates } from './step-input.js';

const { fround, sqrt, abs } = Math;

/** A tensor and what is remembered of it. */
interface Slot {
	readonly tensor: TrainableTensor;
	/** Running sum of the gradient, weighted by the step sizes. */
	readonly s: Float32Array;
	/** Values before the first step that had a gradient; meaningful once `started`. */
	readonly start: Float32Array;
	/** Left out when beta1 is 0: it would be the gradient. */
	readonly first: Float32Array | undefined;
	readonly second: Float32Array;
	started: boolean;
}

/**
 * Prodigy: Adam that finds its own step size `d` (konstmish/prodigy prodigyopt/prodigy.py, the 2025 version, without
 * `slice_p` and sharded parameters). The learning rate is a factor, 1 as a rule. Sums over a tensor are taken in float64 and rounded to
 * float32, where torch sums in float32 in an order of its own, so `d` agrees to float32's precision and not to the bit.
 *
 * Groups may differ only in that some have the rate 0, and such a group still takes the step with the moments it has: that
 * is the public rule.
 */
export class Prodigy implements Optimizer {
	readonly kind = 'prodigy';
	readonly #options: ProdigyOptions;
	readonly #tensors: readonly TrainableTensor[];
	readonly #slots: readonly Slot[];
	#d: number;
	#dMax: number;
	#numerator = 0;
	/** Steps that made progress. */
	#k = 0;

	/** @throws {FormatError} `E_USAGE`: as `checkTensors` */
	constructor(options: ProdigyOptions, tensors: readonly TrainableTensor[]) {
		checkTensors(tensors);
		this.#options = options;
		this.#tensors = tensors;
		this.#d = options.d0;
		this.#dMax = options.d0;
		this.#slots = tensors.map((tensor) => ({
			tensor,
			s: new Float32Array(tensor.values.length),
			start: new Float32Array(tensor.values.length),
			first: options.betas[0] > 0 ? new Float32Array(tensor.values.length) : undefined,
			second: new Float32Array(tensor.values.length),
			started: false,
		}));
	}

	/** The step size found so far; what moves the values is `d` times the learning rate (and the bias correction). */
	get d(): number {
		return this.#d;
	}

	/** @throws {FormatError} `E_USAGE`: as `checkStepInput`, and rates that differ in another way than being 0 */
	step(gradients: ReadonlyMap<string, Float32Array>, rates: GroupRates): void {
		checkStepInput(this.#tensors, gradients, rates);
		const rate = this.#commonRate(rates);
		const { betas, eps, weight_decay, decouple, use_bias_correction, d0, d_coef, growth_rate } = this.#options;
		const beta3 = this.#options.beta3 ?? sqrt(betas[1]);
		const k = this.#k + 1;
		const correction = use_bias_correction ? sqrt(1 - betas[1] ** k) / (1 - betas[0] ** k) : 1;
		const d = this.#d;
		const dRate = d * rate * correction;
		const coupled = decouple ? 0 : fround(weight_decay);
		const factors: Factors = {
			coupled,
			beta1: fround(betas[0]),
			weight1: fround(d * (1 - betas[0])),
			beta2: fround(betas[1]),
			weight2: fround(d * d * (1 - betas[1])),
			beta3: fround(beta3),
			weight3: fround((d / d0) * (this.#options.safeguard_warmup ? d : dRate)),
		};
		let [change, denominator] = [0, 0];
		for (const slot of this.#slots) {
			const gradient = gradients.get(slot.tensor.name);
			if (gradient === undefined) continue;
			if (!slot.started) {
				slot.start.set(slot.tensor.values);
				slot.started = true;
			}
			if (rates[slot.tensor.group] === 0) continue;
			change += (d / d0) * dRate * remember(slot, gradient, factors);
			denominator += absoluteSum(slot.s);
		}
		// no progress: all gradients were 0 so far, or the rate is
		if (denominator === 0) return;

		this.#numerator = this.#numerator * beta3 + change;
		const estimate = (d_coef * this.#numerator) / denominator;
		const grown = d === d0 ? Math.max(d, estimate) : d;
		this.#dMax = Math.max(this.#dMax, estimate);
		this.#d = Math.min(this.#dMax, grown * (growth_rate ?? Number.POSITIVE_INFINITY));
		this.#k = k;
		for (const slot of this.#slots) {
			const gradient = gradients.get(slot.tensor.name);
			if (gradient === undefined) continue;
			const shrink = decouple ? fround(-weight_decay * dRate) : 0;
			const minusStep = fround(slot.first === undefined ? -dRate * this.#d : -dRate);
			move(slot, gradient, shrink, minusStep, fround(this.#d * eps), coupled);
		}
	}

	/**
	 * `d`, `d_max`, `d_numerator` (float64, 1), `k` (int32, 1), and for each tensor `s/NAME`, `exp_avg/NAME` (unless beta1 is
	 * 0), `exp_avg_sq/NAME`, `p0/NAME` (float32, the tensor's shape) and `started/NAME` (int32, 1: it had a gradient, and `p0` is its value before). Copies.
	 */
	state(): OptimizerState {
		const state = new Map([
			['d', f64Entry(this.#d)],
			['d_max', f64Entry(this.#dMax)],
			['d_numerator', f64Entry(this.#numerator)],
			['k', i32Entry(this.#k)],
		]);
		for (const { tensor, s, start, first, second, started } of this.#slots) {
			state.set(`s/${tensor.name}`, f32Entry(tensor.shape, s));
			if (first !== undefined) state.set(`exp_avg/${tensor.name}`, f32Entry(tensor.shape, first));
			state.set(`exp_avg_sq/${tensor.name}`, f32Entry(tensor.shape, second));
			state.set(`started/${tensor.name}`, i32Entry(started ? 1 : 0));
			state.set(`p0/${tensor.name}`, f32Entry(tensor.shape, start));
		}
		return state;
	}

	/** @throws {FormatError} `E_CONFIG`: not the state of this optimizer over these tensors; nothing has changed then */
	restore(state: OptimizerState): void {
		const reader = new StateReader(state, this.kind);
		const d = reader.number('d', Number.MIN_VALUE);
		const dMax = reader.number('d_max', Number.MIN_VALUE);
		const numerator = reader.number('d_numerator');
		const k = reader.count('k');
		const read = this.#slots.map((slot) => {
			const { name, shape } = slot.tensor;
			return {
				slot,
				s: reader.f32(`s/${name}`, shape),
				first: slot.first === undefined ? undefined : reader.f32(`exp_avg/${name}`, shape),
				second: reader.f32(`exp_avg_sq/${name}`, shape),
				start: reader.f32(`p0/${name}`, shape),
				started: reader.count(`started/${name}`) > 0,
			};
		});
		reader.finish();
		[this.#d, this.#dMax, this.#numerator, this.#k] = [d, dMax, numerator, k];
		for (const { slot, s, first, second, start, started } of read) {
			slot.s.set(s);
			if (first !== undefined) slot.first?.set(first);
			slot.second.set(second);
			slot.started = started;
			slot.start.set(start);
		}
	}

	/** The rate of every group that has tensors; 0 where all have 0. */
	#commonRate(rates: GroupRates): number {
		let common = 0;
		for (const { group } of this.#tensors) common = Math.max(common, rates[group] ?? 0);
		for (const { group } of this.#tensors) {
			const rate = rates[group] ?? 0;
			if (rate === 0 || rate === common) continue;
			throw new FormatError(
				'E_USAGE',
				`Prodigy got the learning rates ${common} and, for ${group}, ${rate}; it finds one step size for all groups, so give them one rate (1 as a rule), or 0 to hold one still.`,
			);
		}
		return common;
	}
}

/** What a step multiplies with, in float32. */
interface Factors {
	/** Weight decay that is added to the gradient; 0 when it is decoupled. */
	readonly coupled: number;
	readonly beta1: number;
	readonly weight1: number;
	readonly beta2: number;
	readonly weight2: number;
	readonly beta3: number;
	readonly weight3: number;
}

/** Takes the gradient into the moments and `s`. @returns the gradient's product with the way from the start, as float32 */
function remember(slot: Slot, gradient: Float32Array, factors: Factors): number {
	const { values } = slot.tensor;
	const { s, start, first, second } = slot;
	const { coupled, beta1, weight1, beta2, weight2, beta3, weight3 } = factors;
	let dot = 0;
	for (let i = 0; i < values.length; i++) {
		const value = values[i] as number;
		const raw = gradient[i] as number;
		const g = coupled === 0 ? raw : fround(value * coupled + raw);
		dot += g * fround((start[i] as number) - value);
		if (first !== undefined) first[i] = fround(weight1 * g + fround((first[i] as number) * beta1));
		second[i] = fround(fround(weight2 * g) * g + fround((second[i] as number) * beta2));
		s[i] = fround(weight3 * g + fround((s[i] as number) * beta3));
	}
	return fround(dot);
}

function absoluteSum(values: Float32Array): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += abs(values[i] as number);
	return fround(sum);
}

/** @param shrink minus the decoupled decay of this step */
function move(slot: Slot, gradient: Float32Array, shrink: number, minusStep: number, eps: number, coupled: number): void {
	const { values } = slot.tensor;
	const { first, second } = slot;
	for (let i = 0; i < values.length; i++) {
		const value = values[i] as number;
		const denominator = fround(fround(sqrt(second[i] as number)) + eps);
		const raw = gradient[i] as number;
		const direction = first === undefined ? (coupled === 0 ? raw : fround(value * coupled + raw)) : (first[i] as number);
		const kept = shrink === 0 ? value : fround(value * shrink + value);
		values[i] = fround(kept + fround(fround(minusStep * direction) / denominator));
	}
}
