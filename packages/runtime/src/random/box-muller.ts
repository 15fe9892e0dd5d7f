import { log32, sinCos32 } from './float32-math.js';

/** Torch transforms uniforms into normals in blocks of this many: as many radii as angles. */
export const NORMAL_BLOCK: number = 16;
const HALF_BLOCK = NORMAL_BLOCK / 2;

const f = Math.fround;
const TWO_PI_32 = f(2 * Math.PI);
const pair = new Float64Array(2);

/**
 * 16 uniforms of [0, 1) at `at` become 16 normals in place, in float32 by torch's vectorised kernel
 * (pytorch aten/src/ATen/native/cpu/DistributionTemplates.h, normal_fill_16_AVX2): bit for bit.
 */
export function normalBlock32(data: Float32Array, at: number): void {
	for (let i = at; i < at + HALF_BLOCK; i++) {
		const radius = f(Math.sqrt(f(-2 * log32(f(1 - (data[i] ?? 0))))));
		sinCos32(f(TWO_PI_32 * (data[i + HALF_BLOCK] ?? 0)), pair);
		// The kernel multiplies by a deviation of 1 and adds a mean of 0, which turns -0 into 0.
		data[i] = f(radius * (pair[1] ?? 0)) + 0;
		data[i + HALF_BLOCK] = f(radius * (pair[0] ?? 0)) + 0;
	}
}

/** The same in float64 (normal_fill_16<double>): the last bits are those of the machine's logarithm, sine and cosine. */
export function normalBlock64(data: Float64Array, at: number): void {
	for (let i = at; i < at + HALF_BLOCK; i++) {
		const radius = Math.sqrt(-2 * Math.log(1 - (data[i] ?? 0)));
		const angle = 2 * Math.PI * (data[i + HALF_BLOCK] ?? 0);
		data[i] = radius * Math.cos(angle);
		data[i + HALF_BLOCK] = radius * Math.sin(angle);
	}
}

/** Two normals from two uniforms of [0, 1) (pytorch aten/src/ATen/core/DistributionsHelper.h, normal_distribution<double>). */
export function normalPair(u1: number, u2: number): readonly [number, number] {
	const radius = Math.sqrt(-2 * Math.log1p(-u2));
	const angle = 2 * Math.PI * u1;
	return [radius * Math.cos(angle), radius * Math.sin(angle)];
}
