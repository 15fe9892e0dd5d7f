import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { FormatError } from '@lorakit/format';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTorchGenerator, MAX_DRAW, type TorchGenerator } from '../../src/random/index.js';

interface KeptState {
	sha256: string;
	normal: number;
}
interface Row {
	seed: string;
	initial: string;
	fresh_state: KeptState;
	rand: string;
	rand64: string;
	randn: Record<string, string>;
	randn_sha256: Record<string, string>;
	randn64: Record<string, number[]>;
	randn_f16: Record<string, number[]>;
	randn_bf16: Record<string, number[]>;
	randint: { low: string; high: string; values: string[] }[];
	randperm: Record<string, number[]>;
	after_randn3: KeptState;
	mixed: { randn3: string; randn64: string; randn2: string; randint3: number[]; state: KeptState };
}
interface Recorded {
	seeds: Row[];
	saved: { seed: string; state: string; then_randn5: string; then_randn20: string };
}

/** Drawn by torch: fixtures/runtime/make_rng.py. */
const recorded: Recorded = JSON.parse(readFileSync(new URL('../../../../fixtures/runtime/rng.json', import.meta.url), 'utf8'));

function hex(data: Float32Array | Float64Array | Uint8Array): string {
	return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
}

function sha256(data: Float32Array | Uint8Array): string {
	return createHash('sha256')
		.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
		.digest('hex');
}

/** float64 normals pass through the machine's log, sin and cos: some units in the last place of numbers below 8. */
function expectClose(got: ArrayLike<number>, expected: readonly number[]): void {
	expect(got.length).toBe(expected.length);
	expected.forEach((value, i) => {
		expect(Math.abs((got[i] ?? Number.NaN) - value)).toBeLessThanOrEqual(8e-15);
	});
}

/** Every byte is torch's, but for the cached normal (f64 at 5024), which is float64 arithmetic. */
function expectState(state: Uint8Array, expected: KeptState): void {
	const view = new DataView(state.buffer);
	expectClose([view.getFloat64(5024, true)], [expected.normal]);
	view.setFloat64(5024, 0);
	expect(sha256(state)).toBe(expected.sha256);
}

function codeOf(run: () => unknown): string | undefined {
	try {
		run();
	} catch (error) {
		return error instanceof FormatError ? error.code : String(error);
	}
	return undefined;
}

describe.each(recorded.seeds)("torch's generator of seed $seed", (row) => {
	const fresh = (): TorchGenerator => createTorchGenerator(BigInt(row.seed));

	it('keeps the seed and the fresh state as torch does', () => {
		expect(fresh().seed).toBe(BigInt(row.initial));
		expectState(fresh().state(), row.fresh_state);
	});

	it('draws uniforms to the last bit', () => {
		expect(hex(fresh().rand(5))).toBe(row.rand);
		expect(hex(fresh().rand64(3))).toBe(row.rand64);
	});

	it('draws float32 normals to the last bit, by both rules', () => {
		for (const [count, bytes] of Object.entries(row.randn)) expect(hex(fresh().randn(Number(count))), count).toBe(bytes);
		for (const [count, hash] of Object.entries(row.randn_sha256)) expect(sha256(fresh().randn(Number(count))), count).toBe(hash);
	});

	it('draws float64 normals', () => {
		for (const [count, values] of Object.entries(row.randn64)) expectClose(fresh().randn64(Number(count)), values);
	});

	it('draws float16 and bfloat16 normals', () => {
		for (const [count, values] of Object.entries(row.randn_f16)) expect([...fresh().randnF16(Number(count))], count).toEqual(values);
		for (const [count, values] of Object.entries(row.randn_bf16)) expect([...fresh().randnBf16(Number(count))], count).toEqual(values);
	});

	it('draws integers, with 64 bits a number from a range of 2^28 on', () => {
		for (const { low, high, values } of row.randint) {
			const wide = fresh().randint64(BigInt(low), BigInt(high), values.length);
			expect(Array.from(wide, String)).toEqual(values);
			if (Math.abs(Number(low)) > 2 ** 31 || Number(high) > 2 ** 31) continue;
			expect(Array.from(fresh().randint(Number(low), Number(high), values.length), String)).toEqual(values);
		}
	});

	it('draws permutations', () => {
		for (const [n, values] of Object.entries(row.randperm)) expect([...fresh().randperm(Number(n))]).toEqual(values);
	});

	it('keeps the cached normal through other draws, and in its state', () => {
		const generator = fresh();
		expect(hex(generator.randn(3))).toBe(row.mixed.randn3);
		expectState(generator.state(), row.after_randn3);
		expect(hex(generator.randn(64))).toBe(row.mixed.randn64);
		expect(hex(generator.randn(2))).toBe(row.mixed.randn2);
		expect([...generator.randint(0, 1000, 3)]).toEqual(row.mixed.randint3);
		generator.rand(700);
		expectState(generator.state(), row.mixed.state);
	});
});

describe('the state of a generator', () => {
	it("goes on from torch's bytes", () => {
		const generator = createTorchGenerator(0);
		generator.restore(Buffer.from(recorded.saved.state, 'hex'));
		expect(generator.seed).toBe(BigInt(recorded.saved.seed));
		expect(hex(generator.randn(5))).toBe(recorded.saved.then_randn5);
		expect(hex(generator.randn(20))).toBe(recorded.saved.then_randn20);
	});

	it('restores and clones the same stream, whatever was drawn before', () => {
		const draw = fc.oneof(
			fc.integer({ min: 0, max: 700 }).map((n) => (g: TorchGenerator) => hex(g.randn(n))),
			fc.integer({ min: 0, max: 700 }).map((n) => (g: TorchGenerator) => hex(g.rand64(n))),
			fc.integer({ min: 0, max: 40 }).map((n) => (g: TorchGenerator) => String(g.randint(-3, 9, n))),
			fc.integer({ min: 0, max: 40 }).map((n) => (g: TorchGenerator) => String(g.randperm(n))),
		);
		fc.assert(
			fc.property(
				fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n),
				fc.array(draw, { maxLength: 5 }),
				fc.array(draw, { minLength: 1, maxLength: 5 }),
				(seed, before, after) => {
					const generator = createTorchGenerator(seed);
					for (const run of before) run(generator);
					const saved = generator.state();
					const twin = generator.clone();
					const restored = createTorchGenerator(1);
					restored.restore(saved);
					const streams = [generator, twin, restored].map((g) => after.map((run) => run(g)));
					expect(streams[1]).toEqual(streams[0]);
					expect(streams[2]).toEqual(streams[0]);
					expect(hex(restored.state())).toBe(hex(generator.state()));
					// Drawing must not have reached into the saved bytes.
					restored.restore(saved);
					expect(after.map((run) => run(restored))).toEqual(streams[0]);
				},
			),
			{ numRuns: 60 },
		);
	});

	it('refuses bytes that are no state', () => {
		const good = createTorchGenerator(3);
		good.randn(1);
		const change = (at: number, byte: number): Uint8Array => {
			const bytes = good.state();
			bytes[at] = byte;
			return bytes;
		};
		const bad = [
			new Uint8Array(0),
			good.state().slice(1),
			new Uint8Array(5056),
			change(8, 0),
			change(12, 0),
			change(16, 7),
			change(17, 9),
			change(5040, 2),
		];
		for (const bytes of bad) expect(codeOf(() => createTorchGenerator(0).restore(bytes))).toBe('E_FORMAT');
		const nan = good.state();
		new DataView(nan.buffer).setFloat64(5024, Number.NaN, true);
		expect(codeOf(() => createTorchGenerator(0).restore(nan))).toBe('E_FORMAT');
	});
});

describe('what a generator refuses', () => {
	it('seeds outside of -2^63 to 2^64 - 1, and numbers that are no safe integers', () => {
		for (const seed of [2n ** 64n, -(2n ** 63n) - 1n, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
			expect(codeOf(() => createTorchGenerator(seed))).toBe('E_USAGE');
		}
	});

	it('counts and ranges that are none', () => {
		const generator = createTorchGenerator(0);
		for (const count of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) expect(codeOf(() => generator.randn(count))).toBe('E_USAGE');
		expect(codeOf(() => generator.randn(MAX_DRAW + 1))).toBe('E_LIMIT');
		expect(codeOf(() => generator.randperm(MAX_DRAW + 1))).toBe('E_LIMIT');
		expect(codeOf(() => generator.randint(5, 5, 1))).toBe('E_USAGE');
		expect(codeOf(() => generator.randint(0, 2 ** 31 + 1, 1))).toBe('E_USAGE');
		expect(codeOf(() => generator.randint64(1n, 0n, 1))).toBe('E_USAGE');
		expect(codeOf(() => generator.randint64(0n, 2n ** 63n, 1))).toBe('E_USAGE');
		expect(hex(generator.state())).toBe(hex(createTorchGenerator(0).state()));
	});

	it('draws nothing for a count of 0', () => {
		const generator = createTorchGenerator(5);
		expect(generator.randn(0)).toEqual(new Float32Array(0));
		expect(hex(generator.state())).toBe(hex(createTorchGenerator(5).state()));
	});
});
