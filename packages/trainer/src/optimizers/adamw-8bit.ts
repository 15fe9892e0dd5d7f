import type { TrainableTensor } from '../model/trainable-tensor.js';
import { BLOCK_SIZE, BlockQuantizer, blocksOf } from './block-quantizer.js';
import { dynamicMap } from './dynamic-map.js';
import type { Optimizer } from './optimizer.js';
import type { AdamW8bitOptions } from './optimizer-options.js';
import { f32Entry, i32Entry, type OptimizerState, StateReader, u8Entry } from './optimizer-state.js';
import { checkStepInput, checkTensors, type GroupRates } from './step-input.js';

const { fround, sqrt } = Math;

/** A tensor with too few values for 8 bits to save anything. */
interface WideSlot {
	readonly tensor: TrainableTensor;
	readonly first: Float32Array;
	readonly second: Float32Array;
	steps: number;
}

/** A tensor whose moments are kept as codes. */
interface CodedSlot {
	readonly tensor: TrainableTensor;
	readonly first: Uint8Array;
	readonly second: Uint8Array;
	/** By block. */
	readonly absmax1: Float32Array;
	readonly absmax2: Float32Array;
	steps: number;
}

/** What a step multiplies with, in float32. */
interface Factors {
	/** 1 - rate * weight decay. */
	readonly keep: number;
	readonly beta1: number;
	readonly weight1: number;
	readonly beta2: number;
	readonly weight2: number;
	readonly correction1: number;
	readonly correction2: number;
	readonly rate: number;
	readonly eps: number;
}

/**
 * AdamW that keeps its moments in 8 bits: a quarter of the memory. Rule and operations are those of bitsandbytes' CPU backend
 * (bitsandbytes-foundation/bitsandbytes optim/optimizer.py, backends/cpu/ops.py), so it matches `AdamW8bit` there; codes
 * and absmax bit for bit. bitsandbytes' CUDA kernel differs from its own CPU code: it shrinks the values after the update
 * instead of before, keeps the sign of a first moment that rounds to 0 from below, leaves entries out whose gradient is
 * not finite, and divides and raises to powers with less precision.
 */
export class AdamW8bit implements Optimizer {
	readonly kind = 'adamw8bit';
	readonly #options: AdamW8bitOptions;
	readonly #tensors: readonly TrainableTensor[];
	readonly #slots: readonly (WideSlot | CodedSlot)[];
	readonly #signed: BlockQuantizer = new BlockQuantizer(dynamicMap(true));
	readonly #unsigned: BlockQuantizer = new BlockQuantizer(dynamicMap(false));

	/** @throws {FormatError} `E_USAGE`: as `checkTensors` */
	constructor(options: AdamW8bitOptions, tensors: readonly TrainableTensor[]) {
		checkTensors(tensors);
		this.#options = options;
		this.#tensors = tensors;
		this.#slots = tensors.map((tensor) => {
			const count = tensor.values.length;
			if (count < options.min_8bit_size) return { tensor, first: new Float32Array(count), second: new Float32Array(count), steps: 0 };
			return {
				tensor,
				first: new Uint8Array(count),
				second: new Uint8Array(count),
				absmax1: new Float32Array(blocksOf(count)),
				absmax2: new Float32Array(blocksOf(count)),
				steps: 0,
			};
		});
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
			const factors: Factors = {
				keep: fround(weight_decay === 0 ? 1 : 1 - rate * weight_decay),
				beta1: fround(betas[0]),
				weight1: fround(1 - betas[0]),
				beta2: fround(betas[1]),
				weight2: fround(1 - betas[1]),
				correction1: 1 - betas[0] ** slot.steps,
				correction2: sqrt(1 - betas[1] ** slot.steps),
				rate,
				eps,
			};
			if ('absmax1' in slot) this.#stepCoded(slot, gradient, factors);
			else stepWide(slot, gradient, factors);
		}
	}

	/**
	 * `state1/NAME` and `state2/NAME`, the first and second moment (codes in the tensor's shape, float32 for a small tensor),
	 * `absmax1/NAME` and `absmax2/NAME` (float32, one for each block of 256 values; not for a small tensor), `step/NAME`
	 * (int32, 1). Copies.
	 */
	state(): OptimizerState {
		const state = new Map();
		for (const slot of this.#slots) {
			const { name, shape } = slot.tensor;
			state.set(`step/${name}`, i32Entry(slot.steps));
			if ('absmax1' in slot) {
				state.set(`state1/${name}`, u8Entry(shape, slot.first));
				state.set(`state2/${name}`, u8Entry(shape, slot.second));
				state.set(`absmax1/${name}`, f32Entry([slot.absmax1.length], slot.absmax1));
				state.set(`absmax2/${name}`, f32Entry([slot.absmax2.length], slot.absmax2));
			} else {
				state.set(`state1/${name}`, f32Entry(shape, slot.first));
				state.set(`state2/${name}`, f32Entry(shape, slot.second));
			}
		}
		return state;
	}

	/** @throws {FormatError} `E_CONFIG`: not the state of this optimizer over these tensors; nothing has changed then */
	restore(state: OptimizerState): void {
		const reader = new StateReader(state, this.kind);
		const writes = this.#slots.map((slot) => readSlot(reader, slot));
		reader.finish();
		for (const write of writes) write();
	}

	#stepCoded(slot: CodedSlot, gradient: Float32Array, factors: Factors): void {
		const count = slot.tensor.values.length;
		for (let block = 0, at = 0; at < count; block++, at += BLOCK_SIZE) {
			const length = Math.min(BLOCK_SIZE, count - at);
			updateBlock(slot, gradient, at, length, block, this.#signed, this.#unsigned, factors);
			slot.absmax1[block] = this.#signed.quantize(length, slot.first, at);
			slot.absmax2[block] = this.#unsigned.quantize(length, slot.second, at);
		}
	}
}

/** Checks a slot's entries; what comes back puts them in. */
function readSlot(reader: StateReader, slot: WideSlot | CodedSlot): () => void {
	const { name, shape } = slot.tensor;
	const steps = reader.count(`step/${name}`);
	if ('absmax1' in slot) {
		const first = reader.u8(`state1/${name}`, shape);
		const second = reader.u8(`state2/${name}`, shape);
		const absmax1 = reader.f32(`absmax1/${name}`, [slot.absmax1.length]);
		const absmax2 = reader.f32(`absmax2/${name}`, [slot.absmax2.length]);
		return () => {
			slot.steps = steps;
			slot.first.set(first);
			slot.second.set(second);
			slot.absmax1.set(absmax1);
			slot.absmax2.set(absmax2);
		};
	}
	const first = reader.f32(`state1/${name}`, shape);
	const second = reader.f32(`state2/${name}`, shape);
	return () => {
		slot.steps = steps;
		slot.first.set(first);
		slot.second.set(second);
	};
}

/** Values of one block move; its new moments are left in the quantizers' blocks. See `update` of `adamw.ts` for the sums. */
function updateBlock(
	slot: CodedSlot,
	gradient: Float32Array,
	at: number,
	length: number,
	block: number,
	signed: BlockQuantizer,
	unsigned: BlockQuantizer,
	factors: Factors,
): void {
	const { values } = slot.tensor;
	const { first: codes1, second: codes2 } = slot;
	const { map: map1, block: block1 } = signed;
	const { map: map2, block: block2 } = unsigned;
	const absmax1 = slot.absmax1[block] as number;
	const absmax2 = slot.absmax2[block] as number;
	const { keep, beta1, weight1, beta2, weight2 } = factors;
	const correction2 = fround(factors.correction2);
	const eps = fround(factors.eps);
	const minusStep = fround(-factors.rate / factors.correction1);
	for (let j = 0; j < length; j++) {
		const i = at + j;
		const g = gradient[i] as number;
		const before1 = fround((map1[codes1[i] as number] as number) * absmax1);
		const before2 = fround((map2[codes2[i] as number] as number) * absmax2);
		const first = fround(weight1 * g + fround(before1 * beta1));
		const second = fround(fround(weight2 * g) * g + fround(before2 * beta2));
		block1[j] = first;
		block2[j] = second;
		const denominator = fround(fround(fround(sqrt(second)) / correction2) + eps);
		const kept = fround((values[i] as number) * keep);
		values[i] = fround(kept + fround(fround(minusStep * first) / denominator));
	}
}

/** bitsandbytes' 32-bit step: the same rule, with the corrections moved into the step size and eps. */
function stepWide(slot: WideSlot, gradient: Float32Array, factors: Factors): void {
	const { values } = slot.tensor;
	const { first: firsts, second: seconds } = slot;
	const { keep, beta1, weight1, beta2, weight2 } = factors;
	const eps = fround(factors.eps * factors.correction2);
	const step = fround((-factors.rate * factors.correction2) / factors.correction1);
	for (let i = 0; i < values.length; i++) {
		const g = gradient[i] as number;
		const first = fround(weight1 * g + fround((firsts[i] as number) * beta1));
		const second = fround(fround(weight2 * g) * g + fround((seconds[i] as number) * beta2));
		firsts[i] = first;
		seconds[i] = second;
		const kept = fround((values[i] as number) * keep);
		values[i] = fround(fround(first / fround(fround(sqrt(second)) + eps)) * step + kept);
	}
}
