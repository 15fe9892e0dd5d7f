import { FormatError } from '@lorakit/format';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';
import {
	OPTIMIZER_KINDS,
	type OptimizerKind,
	type OptimizerOptionsInput,
	parseOptimizerOptions,
} from '../../src/optimizers/optimizer-options.js';
import { numbers } from './fixture.js';

const RATES = { unet: 0.5, text_encoder: 0.5, tokens: 0.5 };

function made(seed: number, sizes: readonly number[]): readonly TrainableTensor[] {
	return sizes.map((size, i) => ({ name: `unet.${i}:down`, group: 'unet', shape: [size], values: numbers(seed + i, size, 0.5, false) }));
}

function gradients(seed: number, step: number, sizes: readonly number[], scale: number): ReadonlyMap<string, Float32Array> {
	const entries = sizes.map((size, i): [string, Float32Array] => [
		`unet.${i}:down`,
		numbers(seed * 31 + step * 1009 + i, size, scale, true),
	]);
	// now and then a tensor has none
	return new Map(entries.filter((_, i) => (step + i) % 4 !== 3));
}

/** All kinds of numbers that options can have, 8-bit state for small tensors too. */
const options: fc.Arbitrary<OptimizerOptionsInput> = fc
	.record({ kind: fc.constantFrom(...OPTIMIZER_KINDS), plain: fc.boolean() })
	.map(({ kind, plain }) => {
		if (plain) return { kind } as OptimizerOptionsInput;
		if (kind === 'adamw8bit') return { kind, min_8bit_size: 100, weight_decay: 0 };
		if (kind === 'prodigy') return { kind, betas: [0, 0.9], decouple: false, d0: 1e-3, growth_rate: 1.5, safeguard_warmup: false };
		return { kind, betas: [0.4, 0.9], eps: 1e-6 };
	});

describe('stop and resume', () => {
	it('is the same to the bit as never having stopped, for every kind', () => {
		fc.assert(
			fc.property(
				options,
				fc.integer({ min: 0, max: 2 ** 31 }),
				fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 4 }),
				fc.constantFrom(1e-9, 0.01, 1, 1e4),
				fc.integer({ min: 0, max: 6 }),
				fc.integer({ min: 1, max: 6 }),
				(what, seed, sizes, scale, before, after) => {
					const straight = made(seed, sizes);
					const whole = createOptimizer(what, straight);
					const stopped = made(seed, sizes);
					const first = createOptimizer(what, stopped);
					for (let step = 0; step < before; step++) {
						whole.step(gradients(seed, step, sizes, scale), RATES);
						first.step(gradients(seed, step, sizes, scale), RATES);
					}
					const state = first.state();
					const resumed = stopped.map((tensor) => ({ ...tensor, values: tensor.values.slice() }));
					const second = createOptimizer(what, resumed);
					second.restore(state);
					// the stopped one going on must not reach into the state that was taken
					first.step(gradients(seed, 99, sizes, 1), RATES);
					for (let step = before; step < before + after; step++) {
						whole.step(gradients(seed, step, sizes, scale), RATES);
						second.step(gradients(seed, step, sizes, scale), RATES);
					}
					expect(resumed.map(({ values }) => bits(values))).toEqual(straight.map(({ values }) => bits(values)));
					expect(second.state()).toEqual(whole.state());
				},
			),
			{ numRuns: 60 },
		);
	});

	it('refuses a state that does not fit, and leaves everything as it was', () => {
		for (const kind of OPTIMIZER_KINDS) {
			const tensors = made(1, [5000, 7]);
			const optimizer = createOptimizer({ kind }, tensors);
			optimizer.step(gradients(1, 0, [5000, 7], 1), RATES);
			const good = optimizer.state();
			const wrong: [string, (state: Map<string, unknown>) => void][] = [
				['one entry less', (state) => state.delete([...state.keys()].at(-1) as string)],
				['one entry more', (state) => state.set('exp_avg/unet.9:down', good.values().next().value)],
				['another shape', (state) => state.set('__', 0) && rename(state, (entry) => ({ ...entry, shape: [1, ...entry.shape] }))],
				['another dtype', (state) => rename(state, (entry) => ({ ...entry, dtype: entry.dtype === 'f32' ? 'i32' : 'f32' }))],
				['fewer values than its shape says', (state) => rename(state, (entry) => ({ ...entry, data: entry.data.slice(1) }))],
			];
			for (const [what, spoil] of wrong) {
				const state = new Map<string, unknown>(good);
				spoil(state);
				state.delete('__');
				expect(
					codeOf(() => optimizer.restore(state as typeof good)),
					`${kind}: ${what}`,
				).toBe('E_CONFIG');
				expect(optimizer.state(), `${kind}: ${what}`).toEqual(good);
			}
			for (const other of OPTIMIZER_KINDS) {
				if (other !== kind)
					expect(
						codeOf(() => createOptimizer({ kind: other }, made(1, [5000, 7])).restore(good)),
						`${kind} as ${other}`,
					).toBe('E_CONFIG');
			}
		}
	});
});

describe('what cannot be', () => {
	it.each<[unknown, RegExp]>([
		[{ kind: 'sgd' }, /"kind" has "sgd"; expected one of adamw, adamw8bit, prodigy/],
		[{}, /"kind" has undefined/],
		[null, /"kind" has null/],
		[{ kind: 'adamw', betas: [0.9] }, /"betas.1"/],
		[{ kind: 'adamw', betas: [0.9, 1] }, /"betas.1" has 1; expected <1/],
		[{ kind: 'adamw', eps: 0 }, /"eps" has 0; expected >0/],
		[{ kind: 'adamw', weight_decay: Number.NaN }, /"weight_decay" has NaN/],
		[{ kind: 'adamw', weightdecay: 1 }, /"weightdecay".*expected no such key/],
		[{ kind: 'adamw', d0: 1 }, /"d0"/],
		[{ kind: 'adamw8bit', min_8bit_size: 1.5 }, /"min_8bit_size"/],
		[{ kind: 'prodigy', growth_rate: 0.5 }, /"growth_rate"/],
		[{ kind: 'prodigy', d0: 0 }, /"d0"/],
	])('options %j', (input, message) => {
		expect(codeOf(() => parseOptimizerOptions(input))).toBe('E_CONFIG');
		expect(() => parseOptimizerOptions(input)).toThrow(message);
	});

	it.each<OptimizerKind>([...OPTIMIZER_KINDS])('tensors and gradients of %s', (kind) => {
		const [tensor] = made(1, [4]);
		if (tensor === undefined) throw new Error('no tensor');
		expect(codeOf(() => createOptimizer({ kind }, [tensor, tensor]))).toBe('E_USAGE');
		expect(codeOf(() => createOptimizer({ kind }, [{ ...tensor, shape: [5] }]))).toBe('E_USAGE');
		const optimizer = createOptimizer({ kind }, [tensor]);
		const before = tensor.values.slice();
		const right = new Map([[tensor.name, new Float32Array(4).fill(1)]]);
		expect(codeOf(() => optimizer.step(new Map([[tensor.name, new Float32Array(3)]]), RATES))).toBe('E_USAGE');
		expect(codeOf(() => optimizer.step(new Map([...right, ['unet.7:down', new Float32Array(4)]]), RATES))).toBe('E_USAGE');
		expect(codeOf(() => optimizer.step(right, {}))).toBe('E_USAGE');
		expect(codeOf(() => optimizer.step(right, { unet: Number.NaN }))).toBe('E_USAGE');
		expect(codeOf(() => optimizer.step(right, { unet: -1 }))).toBe('E_USAGE');
		expect(tensor.values).toEqual(before);
		optimizer.step(right, { unet: 0.1 });
		expect(tensor.values).not.toEqual(before);
	});
});

type Entry = { readonly dtype: string; readonly shape: readonly number[]; readonly data: { slice(from: number): unknown } };

/** Spoils the last entry. */
function rename(state: Map<string, unknown>, change: (entry: Entry) => unknown): void {
	const name = [...state.keys()].filter((key) => key !== '__').at(-1) as string;
	state.set(name, change(state.get(name) as Entry));
}

function bits(values: Float32Array): readonly number[] {
	return [...new Uint32Array(values.buffer, values.byteOffset, values.length)];
}

function codeOf(run: () => unknown): string | undefined {
	try {
		run();
	} catch (error) {
		return error instanceof FormatError ? error.code : String(error);
	}
	return undefined;
}
