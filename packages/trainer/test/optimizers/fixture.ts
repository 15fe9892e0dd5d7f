import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bytesSource, readSafetensors, tensorChunks } from '@lorakit/format';
import { countOf } from '@lorakit/runtime';
import type { ParameterGroup, TrainableTensor } from '../../src/model/trainable-tensor.js';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';
import type { Optimizer } from '../../src/optimizers/optimizer.js';
import type { OptimizerOptions } from '../../src/optimizers/optimizer-options.js';

/** What torch and others made: scripts/reference/make-optimizer-references.py. */
const FOLDER = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures/training/optimizers');

const { fround } = Math;

interface CaseTensor {
	readonly name: string;
	readonly group: ParameterGroup;
	readonly shape: readonly number[];
	readonly initial: number;
	readonly scales: readonly number[];
	readonly missing?: readonly number[];
	readonly target?: number;
	readonly drift?: number;
}

export interface Case {
	readonly name: string;
	readonly seed: number;
	readonly steps: number;
	readonly record: readonly number[];
	readonly options: OptimizerOptions;
	readonly rates: Readonly<Record<ParameterGroup, readonly number[]>>;
	readonly tensors: readonly CaseTensor[];
	/** By step count: for each tensor, the largest distance of torch's float32 from its float64. */
	readonly f32_vs_f64: Readonly<Record<string, readonly number[]>>;
	readonly d?: readonly number[];
	readonly d_f64?: readonly number[];
	readonly k?: number;
}

export interface Fixture {
	readonly cases: readonly Case[];
	readonly clipping: readonly {
		readonly name: string;
		readonly shapes: readonly (readonly number[])[];
		readonly scales: readonly number[];
		readonly max_norm: number;
		readonly norm: number;
		readonly norm_f64: number;
	}[];
	readonly accumulation: {
		readonly seeds: readonly number[];
		readonly count: number;
		readonly losses: readonly number[];
		readonly mean: number;
	};
	readonly scaler: {
		readonly options: { readonly init_scale: number; readonly growth_interval: number };
		readonly steps: readonly {
			readonly scale: number;
			readonly gradient: readonly string[];
			readonly unscaled: readonly string[];
			readonly stepped: boolean;
			readonly next: number;
			readonly growth_tracker: number;
		}[];
	};
	readonly ema: readonly {
		readonly name: string;
		readonly options: Readonly<Record<string, number | boolean>>;
		readonly decays: readonly number[];
		readonly count: number;
		readonly seed: number;
	}[];
	readonly schedules: readonly {
		readonly kind: string;
		readonly warmup: number;
		readonly total: number;
		readonly cycles: number;
		readonly power: number;
		readonly rate: number;
		readonly rates: readonly number[];
	}[];
}

export const fixture = JSON.parse(readFileSync(path.join(FOLDER, 'cases.json'), 'utf8')) as Fixture;

export async function recorded(): Promise<ReadonlyMap<string, Float32Array | Uint8Array>> {
	const state = await readSafetensors(bytesSource(new Uint8Array(readFileSync(path.join(FOLDER, 'optimizers.safetensors')))));
	const found = new Map<string, Float32Array | Uint8Array>();
	for (const [name, tensor] of state.tensors) {
		const chunks: Uint8Array[] = [];
		for await (const chunk of tensorChunks(tensor)) chunks.push(chunk);
		const bytes = new Uint8Array(Buffer.concat(chunks));
		found.set(name, tensor.dtype === 'U8' ? bytes : new Float32Array(bytes.buffer));
	}
	return found;
}

/** The rule of the generator: a 32-bit LCG's upper 24 bits as a fraction, optionally cubed; all float32. */
export function numbers(seed: number, count: number, scale: number, cube: boolean): Float32Array {
	let state = seed % 2 ** 32;
	return Float32Array.from({ length: count }, () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		const u = (state >>> 8) / 2 ** 23 - 1;
		return fround((cube ? fround(fround(u * u) * u) : u) * fround(scale));
	});
}

export function tensorsOf({ seed, tensors }: Case): readonly TrainableTensor[] {
	return tensors.map(({ name, group, shape, initial }, i) => ({
		name,
		group,
		shape,
		values: numbers(seed * 7919 + i, countOf(shape), initial, false),
	}));
}

export function gradientsAt({ seed, tensors }: Case, held: readonly TrainableTensor[], step: number): ReadonlyMap<string, Float32Array> {
	const gradients = new Map<string, Float32Array>();
	for (const [i, { name, shape, scales, missing, target, drift }] of tensors.entries()) {
		if (missing?.includes(step) === true) continue;
		const scale = scales[step % scales.length] as number;
		const count = countOf(shape);
		if (target !== undefined) {
			const to = numbers(seed * 104729 + i, count, target, false);
			const from = (held[i] as TrainableTensor).values;
			gradients.set(
				name,
				Float32Array.from(from, (value, j) => fround(fround(value - (to[j] as number)) * fround(scale))),
			);
			continue;
		}
		const raw = numbers(seed * 1000003 + step * 1009 + i, count, scale, true);
		const same = drift === undefined ? undefined : numbers(seed * 104729 + i, count, drift, false);
		gradients.set(name, same === undefined ? raw : raw.map((value, j) => value + (same[j] as number)));
	}
	return gradients;
}

export function ratesAt({ rates }: Case, step: number): Record<ParameterGroup, number> {
	const entries = Object.entries(rates).map(([group, list]) => [group, list[step % list.length]]);
	return Object.fromEntries(entries) as Record<ParameterGroup, number>;
}

/** One optimizer over a case's tensors, stepped as recorded. */
export function runCase(
	one: Case,
	after: (done: number, held: readonly TrainableTensor[], optimizer: Optimizer) => void,
): { readonly held: readonly TrainableTensor[]; readonly optimizer: Optimizer } {
	const held = tensorsOf(one);
	const optimizer = createOptimizer(one.options, held);
	for (let step = 0; step < one.steps; step++) {
		optimizer.step(gradientsAt(one, held, step), ratesAt(one, step));
		after(step + 1, held, optimizer);
	}
	return { held, optimizer };
}

export function largestDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let worst = 0;
	for (let i = 0; i < a.length; i++) {
		const distance = Math.abs((a[i] as number) - (b[i] as number));
		if (!(distance <= worst)) worst = distance;
	}
	return worst;
}

export function casesOf(kind: string): readonly Case[] {
	return fixture.cases.filter((one) => one.options.kind === kind);
}
