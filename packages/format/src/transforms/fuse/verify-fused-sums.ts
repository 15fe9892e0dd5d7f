import type { WritableFloat } from '../../half.js';
import { cosineOf, type DeltaProducts, gainOf } from '../gain-cosine.js';

/** Bits of precision and exponent of the smallest normal number. */
const TYPES: ReadonlyMap<WritableFloat, readonly [bits: number, least: number]> = new Map([
	['F16', [11, -14]],
	['BF16', [8, -126]],
	['F32', [24, -126]],
	['F64', [53, -1022]],
]);
const EXPONENTS = 2048;
const BIAS = 1023;

const spacings = new Map<WritableFloat, Float64Array>();

/** Spacing of the numbers of a type by the exponent field of a double. */
function spacingTable(dtype: WritableFloat): Float64Array {
	let table = spacings.get(dtype);
	if (table === undefined) {
		const [bits, least] = TYPES.get(dtype) ?? [53, -1022];
		table = Float64Array.from({ length: EXPONENTS }, (_, e) => 2 ** (Math.max(e - BIAS, least) - bits + 1));
		spacings.set(dtype, table);
	}
	return table;
}

const scratch = new Float64Array(1);
const words = new Uint32Array(scratch.buffer);
const HIGH = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 1 : 0;

/** Index into a spacing table. */
function exponentOf(x: number): number {
	scratch[0] = x;
	return ((words[HIGH] ?? 0) >>> 20) & 0x7ff;
}

/** Running sums over one tensor; nothing of its size is kept. */
export class FuseSums implements DeltaProducts {
	/** Products of the expected delta and of fused - base, where FUSED is finite. */
	ee = 0;
	aa = 0;
	ae = 0;
	/** Sum of squared steps: what rounding alone may add, times 12. */
	squaredSteps = 0;
	count = 0;
	/** Largest |fused - (base + delta)|, as it is, in steps at the result, and in steps at the largest of base, delta and result. */
	error = 0;
	steps = 0;
	looseSteps = 0;
	/** Largest error in steps of the base's type, where FUSED is stored in another. */
	baseSteps: number = Number.POSITIVE_INFINITY;
	/** Elements more than one step off. */
	off = 0;
	/** Elements of FUSED that are NaN or Inf although base + delta is finite. */
	nonFinite = 0;

	/** @param base, delta, fused the same elements; `dtype` is that of FUSED, `baseType` that of the base */
	add(dtype: WritableFloat, base: Float64Array, delta: Float64Array, fused: Float64Array, baseType: WritableFloat = dtype): void {
		const table = spacingTable(dtype);
		const baseTable = baseType === dtype ? undefined : spacingTable(baseType);
		if (baseTable !== undefined && this.count === 0) this.baseSteps = 0;
		let [ee, aa, ae, squares, off] = [0, 0, 0, 0, 0];
		for (let i = 0; i < delta.length; i++) {
			const w = base[i] as number;
			const e = delta[i] as number;
			const f = fused[i] as number;
			const exact = w + e;
			if (f - f !== 0) {
				// Inf or NaN where the base had it is no fault of the fuse.
				if (exact - exact === 0) this.nonFinite++;
				continue;
			}
			const a = f - w;
			ee += e * e;
			aa += a * a;
			ae += a * e;
			const step = table[exponentOf(exact)] as number;
			squares += step * step;
			const error = Math.abs(f - exact);
			if (error === 0) continue;
			if (error > this.error) this.error = error;
			const steps = error / step;
			if (steps > 1) off++;
			if (baseTable !== undefined) this.baseSteps = Math.max(this.baseSteps, error / (baseTable[exponentOf(exact)] as number));
			if (steps > this.steps) this.steps = steps;
			if (steps > this.looseSteps) {
				const loose = error / (table[exponentOf(Math.max(Math.abs(w), Math.abs(e), Math.abs(exact)))] as number);
				if (loose > this.looseSteps) this.looseSteps = loose;
			}
		}
		this.ee += ee;
		this.aa += aa;
		this.ae += ae;
		this.squaredSteps += squares;
		this.off += off;
		this.count += delta.length;
	}

	/** Of fused - base to the expected delta. */
	get gain(): number {
		return gainOf(this);
	}

	get cosine(): number {
		return cosineOf(this);
	}

	/** Standard deviation that rounding gives to the gain. */
	get gainNoise(): number {
		return this.ee === 0 || this.count === 0 ? 0 : Math.sqrt(this.squaredSteps / 12 / this.count / this.ee);
	}

	/** The cosine that rounding leaves of a delta of this gain. */
	roundedCosine(gain: number): number {
		const signal = gain * gain * this.ee;
		return signal === 0 ? 0 : Math.sqrt(signal / (signal + this.squaredSteps / 12));
	}
}
