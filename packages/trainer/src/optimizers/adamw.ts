import type { TrainableTensor } from '../model/trainable-tensor.js';
import type { Optimizer } from './optimizer.js';
import type { AdamWOptions } from './optimizer-options.js';
import { f32Entry, i32Entry, type OptimizerState, StateReader } from './optimizer-state.js';
import { checkStepInput, checkTensors, type GroupRates } from './step-input.js';

const { fround, sqrt } = Math;

/** A tensor and what is remembered of its gradients. */
interface Slot {
	readonly tensor: TrainableTensor;
	/** Running mean of the gradient. */
	readonly first: Float32Array;
	/** Running mean of its square. */
	readonly second: Float32Array;
	/** Steps that this tensor took. */
	steps: number;
}

/**
 * AdamW with decoupled weight decay, operation for operation as torch's CPU loop over one tensor
 * (pytorch/pytorch torch/optim/adam.py `_single_tensor_adam`): numbers in front of tensors are computed in float64 and
 * then rounded to float32, each operation over a tensor rounds to float32, and where torch's kernels have a fused
 * multiply-add (`lerp_`, `addcmul_`), so does this. The moments are torch's bit for bit; values may differ in the last
 * bits, since torch takes square roots from MKL, of which about one in six is not the nearest float32.
 */
export class AdamW implements Optimizer {
	readonly kind = 'adamw';
	readonly #options: AdamWOptions;
	readonly #slots: readonly Slot[];
	readonly #tensors: readonly TrainableTensor[];

	/** @throws {FormatError} `E_USAGE`: as `checkTensors` */
	constructor(options: AdamWOptions, tensors: readonly TrainableTensor[]) {
		checkTensors(tensors);
		this.#options = options;
		this.#tensors = tensors;
		this.#slots = tensors.map((tensor) => ({
			tensor,
			first: new Float32Array(tensor.values.length),
			second: new Float32Array(tensor.values.length),
			steps: 0,
		}));
	}

	/** @throws {FormatError} `E_USAGE`: as `checkStepInput` */
	step(gradients: ReadonlyMap<string, Float32Array>, rates: GroupRates): void {
		checkStepInput(this.#tensors, gradients, rates);
		const { betas, eps, weight_decay } = this.#options;
		for (const slot of this.#slots) {
			const gradient = gradients.get(slot.tensor.name);
			const rate = rates[slot.tensor.group];
			if (gradient === undefined || rate === undefined) continue;
			slot.steps++;
			update(
				slot.tensor.values,
				gradient,
				slot.first,
				slot.second,
				fround(weight_decay === 0 ? 1 : 1 - rate * weight_decay),
				fround(1 - betas[0]),
				fround(betas[1]),
				fround(1 - betas[1]),
				fround(Math.sqrt(1 - betas[1] ** slot.steps)),
				fround(eps),
				fround(-(rate / (1 - betas[0] ** slot.steps))),
			);
		}
	}

	/** `exp_avg/NAME` and `exp_avg_sq/NAME` (float32, the tensor's shape), `step/NAME` (int32, 1). Copies. */
	state(): OptimizerState {
		const state = new Map();
		for (const { tensor, first, second, steps } of this.#slots) {
			state.set(`step/${tensor.name}`, i32Entry(steps));
			state.set(`exp_avg/${tensor.name}`, f32Entry(tensor.shape, first));
			state.set(`exp_avg_sq/${tensor.name}`, f32Entry(tensor.shape, second));
		}
		return state;
	}

	/** @throws {FormatError} `E_CONFIG`: not the state of this optimizer over these tensors; nothing has changed then */
	restore(state: OptimizerState): void {
		const reader = new StateReader(state, this.kind);
		const read = this.#slots.map((slot) => ({
			slot,
			steps: reader.count(`step/${slot.tensor.name}`),
			first: reader.f32(`exp_avg/${slot.tensor.name}`, slot.tensor.shape),
			second: reader.f32(`exp_avg_sq/${slot.tensor.name}`, slot.tensor.shape),
		}));
		reader.finish();
		for (const { slot, steps, first, second } of read) {
			slot.steps = steps;
			slot.first.set(first);
			slot.second.set(second);
		}
	}
}

/**
 * One tensor. A product of two float32 is exact in float64, so `fround(a * b + c)` there is a fused multiply-add (but for
 * a sum that float64 must round right onto the middle between two float32).
 */
function update(
	values: Float32Array,
	gradient: Float32Array,
	firsts: Float32Array,
	seconds: Float32Array,
	keep: number,
	weight1: number,
	beta2: number,
	weight2: number,
	correction2: number,
	eps: number,
	minusStep: number,
): void {
	// torch's lerp starts from the nearer end
	const near = weight1 < 0.5;
	const weight = near ? weight1 : fround(weight1 - 1);
	for (let i = 0; i < values.length; i++) {
		const g = gradient[i] as number;
		const before = firsts[i] as number;
		const first = fround(weight * fround(g - before) + (near ? before : g));
		const second = fround(fround(weight2 * g) * g + fround((seconds[i] as number) * beta2));
		firsts[i] = first;
		seconds[i] = second;
		const denominator = fround(fround(fround(sqrt(second)) / correction2) + eps);
		const kept = fround((values[i] as number) * keep);
		values[i] = fround(kept + fround(fround(minusStep * first) / denominator));
	}
}
