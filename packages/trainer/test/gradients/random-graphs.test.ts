import { createFloat64Engine, type HostTensor } from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import type { GradientEngine, Gradients, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { OP_ARBITRARIES } from './op-arbitraries.js';
import { RANDOM_GRAPHS, type RandomGraph } from './random-graphs.js';
import { apart, differences, generator, largest, memoryWeights } from './support.js';

const RUNS = 60;

/** Of the largest entry of all gradients (or of 0.1): up to sixteen operations on one another in single precision. */
const SINGLE = 2e-5;

/** The float64 engine and central differences of it: what the fifth derivative of sixteen functions leaves. */
const DIFFERENCES = 1e-7;

const float64 = createFloat64Engine();
const exact = engineGradients(float64);

describe('random graphs', () => {
	it('have the gradients of central differences', { timeout: 300_000 }, async () => {
		await fc.assert(
			// Differences see through `stopGradient`.
			fc.asyncProperty(
				RANDOM_GRAPHS.filter(({ ops }) => !ops.includes('stopGradient')),
				fc.nat(),
				async (random, seed) => {
					const { gradients } = await run(exact, random, 'fast');
					const lean = await run(exact, random, 'lean');
					const session = await float64.load(random.graph, memoryWeights(random.weights));
					const next = generator(seed);
					const most = Math.max(0.1, largestOf(gradients));
					for (const name of random.wrt) {
						const mine = gradients[name]?.data ?? [];
						// Computed again is computed the same.
						expect(lean.gradients[name]).toEqual(gradients[name]);
						if (random.blocked.includes(name)) {
							expect(largest(mine)).toBe(0);
							continue;
						}
						const entries = [0, 1].map(() => Math.floor(next() * mine.length));
						const want = await differences(session, random.feeds, name, entries);
						expect(
							apart(
								entries.map((i) => Number(mine[i])),
								want,
							),
							name,
						).toBeLessThanOrEqual(DIFFERENCES * most);
					}
				},
			),
			{ numRuns: RUNS },
		);
	});

	it.each<readonly [string, TrainingMemory, () => Promise<GradientEngine>]>([
		['onnx', 'fast', async () => engineGradients(await createOnnxEngine())],
		['onnx', 'lean', async () => engineGradients(await createOnnxEngine())],
		['tfjs cpu', 'fast', () => createTfjsGradientEngine({ backend: 'cpu' })],
		['tfjs cpu', 'lean', () => createTfjsGradientEngine({ backend: 'cpu' })],
		['tfjs wasm', 'fast', () => createTfjsGradientEngine({ backend: 'wasm' })],
		['tfjs wasm', 'lean', () => createTfjsGradientEngine({ backend: 'wasm' })],
	])('have the same gradients by %s, %s', { timeout: 300_000 }, async (_, memory, create) => {
		const engine = await create();
		await fc.assert(
			fc.asyncProperty(RANDOM_GRAPHS, async (random) => {
				const [want, got] = [await run(exact, random, 'fast'), await run(engine, random, memory)];
				const most = Math.max(0.1, largestOf(want.gradients));
				expect(Object.keys(got.gradients).sort()).toEqual([...random.wrt].sort());
				for (const name of random.wrt) {
					expect(got.gradients[name]?.shape).toEqual(want.gradients[name]?.shape);
					expect(apart(got.gradients[name]?.data, want.gradients[name]?.data), name).toBeLessThanOrEqual(SINGLE * most);
					if (random.blocked.includes(name)) expect(largest(got.gradients[name]?.data ?? [Number.NaN])).toBe(0);
				}
				for (const [name, { data }] of Object.entries(want.outputs)) {
					expect(apart(got.outputs[name]?.data, data), name).toBeLessThanOrEqual(SINGLE * Math.max(1, largest(data)));
				}
			}),
			{ numRuns: RUNS },
		);
	});

	it('have every operation among them', () => {
		const seen = new Set(fc.sample(RANDOM_GRAPHS, { numRuns: 300, seed: 1 }).flatMap(({ ops }) => ops));
		expect([...seen].sort()).toEqual(Object.keys(OP_ARBITRARIES).sort());
	});
});

async function run(engine: GradientEngine, { graph, feeds, wrt, weights }: RandomGraph, memory: TrainingMemory): Promise<Gradients> {
	const session = await engine.load(graph, { loss: 'loss', wrt, memory }, memoryWeights(weights));
	try {
		return await session.run(feeds);
	} finally {
		await session.close();
	}
}

function largestOf(gradients: Readonly<Record<string, HostTensor>>): number {
	return largest(...Object.values(gradients).map(({ data }) => data));
}
