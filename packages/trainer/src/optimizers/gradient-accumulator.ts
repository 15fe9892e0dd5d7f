import { FormatError, quote } from '@lorakit/format';
import type { TrainableTensor } from '../model/trainable-tensor.js';

const { fround } = Math;

/**
 * Adds up the gradients of the micro-batches of one step, each divided by their number, as accelerate divides the loss
 * (huggingface/accelerate accelerator.py `backward`): the mean over micro-batches, even when the last group of an epoch is
 * short, which is then weighed less. Memory is allocated once; a tensor without a gradient in every micro-batch has none.
 */
export class GradientAccumulator {
	readonly #sums: ReadonlyMap<string, Float32Array>;
	readonly #steps: number;
	readonly #touched = new Set<string>();
	#loss = 0;
	#count = 0;

	/**
	 * @param steps micro-batches of one step of the optimizer
	 * @throws {FormatError} `E_USAGE`: not a whole number of at least 1
	 */
	constructor(tensors: readonly TrainableTensor[], steps: number) {
		if (!Number.isSafeInteger(steps) || steps < 1) {
			throw new FormatError(
				'E_USAGE',
				`Gradients cannot be accumulated over ${steps} micro-batches; expected a whole number of at least 1.`,
			);
		}
		this.#sums = new Map(tensors.map(({ name, values }) => [name, new Float32Array(values.length)]));
		this.#steps = steps;
	}

	/** Micro-batches taken since the last `take`. */
	get count(): number {
		return this.#count;
	}

	/** Whether a whole step is there. */
	get full(): boolean {
		return this.#count >= this.#steps;
	}

	/** @throws {FormatError} `E_USAGE`: a gradient of another size or of no tensor here */
	add(loss: number, gradients: ReadonlyMap<string, Float32Array>): void {
		for (const [name, gradient] of gradients) {
			if (this.#sums.get(name)?.length === gradient.length) continue;
			throw new FormatError('E_USAGE', `The gradient of ${quote(name)} (${gradient.length} values) fits no trained tensor.`, { at: name });
		}
		for (const [name, gradient] of gradients) {
			const sum = this.#sums.get(name);
			if (sum === undefined) continue;
			if (this.#touched.has(name)) addScaled(sum, gradient, fround(1 / this.#steps));
			else setScaled(sum, gradient, fround(1 / this.#steps));
			this.#touched.add(name);
		}
		this.#loss += loss / this.#steps;
		this.#count++;
	}

	/** The sums so far, and a new beginning. The arrays are this accumulator's: they change at the next `add`. */
	take(): { readonly loss: number; readonly gradients: ReadonlyMap<string, Float32Array> } {
		const gradients = new Map([...this.#sums].filter(([name]) => this.#touched.has(name)));
		const loss = this.#loss;
		this.#touched.clear();
		this.#loss = 0;
		this.#count = 0;
		return { loss, gradients };
	}
}

function setScaled(sum: Float32Array, gradient: Float32Array, factor: number): void {
	for (let i = 0; i < sum.length; i++) sum[i] = fround((gradient[i] as number) * factor);
}

function addScaled(sum: Float32Array, gradient: Float32Array, factor: number): void {
	for (let i = 0; i < sum.length; i++) sum[i] = fround((sum[i] as number) + fround((gradient[i] as number) * factor));
}
