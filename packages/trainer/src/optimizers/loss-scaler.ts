import { FormatError } from '@lorakit/format';

const { fround } = Math;

export interface LossScalerOptions {
	/** First scale; 65536 when left out. */
	readonly init_scale?: number | undefined;
	/** The scale grows by this; 2 when left out. */
	readonly growth_factor?: number | undefined;
	/** The scale shrinks by this; 0.5 when left out. */
	readonly backoff_factor?: number | undefined;
	/** Steps without overflow before it grows; 2000 when left out. */
	readonly growth_interval?: number | undefined;
}

/** What decides later scales; plain JSON. */
export interface LossScalerState {
	readonly scale: number;
	readonly growth_tracker: number;
}

/**
 * Multiplies the loss of a float16 graph so that small gradients survive, and finds a factor that does not overflow
 * (pytorch/pytorch torch/amp/grad_scaler.py): halved when a gradient is not finite, whose step is left out, doubled after
 * 2000 steps that went well. One step: loss x `scale`, gradients through `unscale`; the optimizer only when that says so; `update`.
 */
export class LossScaler {
	readonly #growth: number;
	readonly #backoff: number;
	readonly #interval: number;
	#scale: number;
	#tracker = 0;

	/** @throws {FormatError} `E_CONFIG`: numbers with which it could not work */
	constructor(options: LossScalerOptions = {}) {
		const { init_scale = 65536, growth_factor = 2, backoff_factor = 0.5, growth_interval = 2000 } = options;
		checkNumber('init_scale', init_scale, isScale(init_scale), 'a float32 above 0');
		checkNumber('growth_factor', growth_factor, Number.isFinite(growth_factor) && growth_factor > 1, 'a number above 1');
		checkNumber('backoff_factor', backoff_factor, backoff_factor > 0 && backoff_factor < 1, 'a number between 0 and 1');
		checkNumber('growth_interval', growth_interval, Number.isSafeInteger(growth_interval) && growth_interval > 0, 'a whole number above 0');
		this.#growth = growth_factor;
		this.#backoff = backoff_factor;
		this.#interval = growth_interval;
		this.#scale = fround(init_scale);
	}

	/** What the loss is multiplied with at this step. */
	get scale(): number {
		return this.#scale;
	}

	/** Divides gradients of a scaled loss in place. @returns whether all were finite: whether the optimizer may step */
	unscale(gradients: ReadonlyMap<string, Float32Array>): boolean {
		const inverse = fround(1 / this.#scale);
		let finite = true;
		for (const gradient of gradients.values()) finite = multiply(gradient, inverse) && finite;
		return finite;
	}

	/** Sets the scale of the next step. @param finite what `unscale` said */
	update(finite: boolean): void {
		if (!finite) {
			this.#scale = fround(this.#scale * this.#backoff);
			this.#tracker = 0;
			return;
		}
		this.#tracker++;
		if (this.#tracker < this.#interval) return;
		const grown = fround(this.#scale * this.#growth);
		if (Number.isFinite(grown)) this.#scale = grown;
		this.#tracker = 0;
	}

	state(): LossScalerState {
		return { scale: this.#scale, growth_tracker: this.#tracker };
	}

	/** @throws {FormatError} `E_CONFIG`: not such a state; nothing has changed then */
	restore({ scale, growth_tracker }: LossScalerState): void {
		checkNumber('scale', scale, isScale(scale) && fround(scale) === scale, 'a float32 above 0');
		const fits = Number.isSafeInteger(growth_tracker) && growth_tracker >= 0 && growth_tracker < this.#interval;
		checkNumber('growth_tracker', growth_tracker, fits, `a whole number below ${this.#interval}`);
		this.#scale = scale;
		this.#tracker = growth_tracker;
	}
}

/** @returns whether all values were finite before */
function multiply(values: Float32Array, factor: number): boolean {
	// 0 x an infinity or NaN is NaN, so the sum tells
	let probe = 0;
	for (let i = 0; i < values.length; i++) {
		const value = values[i] as number;
		probe += value * 0;
		values[i] = fround(value * factor);
	}
	return probe === 0;
}

function isScale(value: number): boolean {
	return Number.isFinite(fround(value)) && fround(value) > 0;
}

function checkNumber(key: string, value: unknown, fits: boolean, expected: string): void {
	if (!fits) throw new FormatError('E_CONFIG', `The loss scaler got ${String(value)} for ${key}; expected ${expected}.`, { at: key });
}
