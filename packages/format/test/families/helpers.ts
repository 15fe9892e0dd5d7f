import { readFileSync } from 'node:fs';
import type { Family, Role, TargetModule } from '../../src/adapter.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';

/** A tensor of doubles, as the golden files hold it. */
export interface Numbers {
	readonly shape: readonly number[];
	readonly data: readonly number[];
}

export function golden(file: string): unknown {
	return JSON.parse(readFileSync(new URL(`../../../../fixtures/golden/${file}`, import.meta.url), 'utf8'));
}

export function f64(shape: readonly number[], data: readonly number[], origin?: string): Tensor {
	return bytesTensor('F64', shape, new Uint8Array(Float64Array.from(data).buffer), origin);
}

export function f32(shape: readonly number[], data: readonly number[], origin?: string): Tensor {
	return bytesTensor('F32', shape, new Uint8Array(Float32Array.from(data).buffer), origin);
}

/** A module with everything a test does not care about filled in. */
export function moduleOf(family: Family, factors: Partial<Record<Role, Tensor>>, more: Partial<TargetModule> = {}): TargetModule {
	return {
		component: 'unet',
		path: 'x',
		resolved: true,
		family,
		factors,
		rank: undefined,
		alpha: null,
		alphaSource: 'none',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: 'one',
		scaling: 1,
		magnitudeAxis: undefined,
		...more,
	};
}

/** Largest |a - b| relative to max(1, |b|). */
export function relativeError(a: Float64Array | undefined, b: readonly number[]): number {
	if (a === undefined || a.length !== b.length) return Number.POSITIVE_INFINITY;
	let worst = 0;
	b.forEach((x, i) => {
		const e = Math.abs((a[i] ?? Number.NaN) - x) / Math.max(1, Math.abs(x));
		if (!(e <= worst)) worst = e;
	});
	return worst;
}
