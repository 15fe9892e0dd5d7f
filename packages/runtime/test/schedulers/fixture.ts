import { readFileSync } from 'node:fs';
import { bytesSource, openStateDict } from '@lorakit/format';
import { parsePythonJson, type SchedulerConfig } from '../../src/schedulers/index.js';

const HOME = new URL('../../../../fixtures/runtime/', import.meta.url);

/** One run of diffusers; see fixtures/runtime/make_schedulers.py. */
export interface Trace {
	readonly class_name: string;
	readonly config: SchedulerConfig;
	readonly steps: number;
	readonly init_noise_sigma: number;
	readonly eta?: number;
	readonly begin?: number;
	readonly strength?: number;
	readonly noise_draws?: number;
	readonly wide?: boolean;
}

export interface Fixture {
	readonly traces: Readonly<Record<string, Trace>>;
	readonly schedules: Readonly<Record<string, SchedulerConfig>>;
	readonly quantiles: Readonly<Record<string, readonly number[]>>;
	readonly bases: Readonly<Record<string, SchedulerConfig>>;
	readonly defaults: Readonly<Record<string, SchedulerConfig>>;
	readonly carried: Readonly<Record<string, SchedulerConfig>>;
	/** A tensor as float32; undefined when it was not recorded. */
	find(name: string): Float32Array | undefined;
	/** A tensor that must be there. */
	tensor(name: string): Float32Array;
}

export async function loadFixture(): Promise<Fixture> {
	const json = parsePythonJson(readFileSync(new URL('schedulers.json', HOME), 'utf8')) as Omit<Fixture, 'find' | 'tensor'>;
	const state = await openStateDict(bytesSource(readFileSync(new URL('schedulers.safetensors', HOME)), 'schedulers.safetensors'));
	const arrays = new Map<string, Float32Array>();
	for (const [name, tensor] of state.tensors) {
		const bytes = await tensor.read();
		arrays.set(name, new Float32Array(Uint8Array.from(bytes).buffer));
	}
	const find = (name: string) => arrays.get(name);
	return {
		...json,
		find,
		tensor(name) {
			const found = find(name);
			if (found === undefined) throw new Error(`the fixture has no ${name}`);
			return found;
		},
	};
}

/** Largest difference over the largest magnitude, at least 1. Infinite where lengths differ or something is not finite. */
export function relativeError(expected: ArrayLike<number>, got: ArrayLike<number>): number {
	if (expected.length !== got.length) return Number.POSITIVE_INFINITY;
	let [worst, largest] = [0, 1];
	for (let i = 0; i < expected.length; i++) {
		const difference = Math.abs((expected[i] as number) - (got[i] as number));
		if (!(difference < Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY;
		worst = Math.max(worst, difference);
		largest = Math.max(largest, Math.abs(expected[i] as number));
	}
	return worst / largest;
}
