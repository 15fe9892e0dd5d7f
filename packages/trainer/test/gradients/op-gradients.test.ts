import { createFloat64Engine, type HostTensor, type OpName } from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import type { GradientEngine, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { OP_ARBITRARIES } from './op-arbitraries.js';
import { apart, differences, largest, NO_WEIGHTS, type OpCase, type Recorded, recordOp } from './support.js';

/** Random cases of each operation. A failure prints the seed and the smallest case that fails. */
const RUNS = 20;

/**
 * Central differences against the differentiated graph, both in double precision, relative to the largest entry of the
 * gradient where that is above 1: Richardson's rule is right to about 1e-10, and operands near each other in `div`, `log`
 * and norms make it ten times worse.
 */
const DIFFERENCES = 5e-9;

/** Single precision against double: sums of at most a few hundred products. */
const SINGLE = 1e-5;

/** What these give does not change by a little, or must not be seen to. */
const FLAT: ReadonlySet<OpName> = new Set<OpName>(['sign', 'greater', 'stopGradient', 'oneHot']);

const OPS = Object.keys(OP_ARBITRARIES) as OpName[];
const float64 = createFloat64Engine();
const exact = engineGradients(float64);

describe.each(OPS)('gradient of %s', (op) => {
	it('is that of central differences', { timeout: 300_000 }, async () => {
		await check(op, async (c) => {
			const recorded = recordOp(c);
			const got = await gradientsOf(exact, recorded);
			const session = await float64.load(recorded.graph, NO_WEIGHTS);
			for (const name of recorded.wrt) {
				const mine = got[name];
				expect(mine?.shape).toEqual(recorded.feeds[name]?.shape);
				if (FLAT.has(op)) expect(largest(mine?.data ?? [Number.NaN])).toBe(0);
				if (op === 'stopGradient') continue;
				const want = await differences(session, recorded.feeds, name);
				expect(apart(mine?.data, want), name).toBeLessThanOrEqual(DIFFERENCES * Math.max(1, largest(want)));
			}
		});
	});
});

const ENGINES: readonly (readonly [string, TrainingMemory, () => Promise<GradientEngine>])[] = [
	['onnx', 'fast', async () => engineGradients(await createOnnxEngine())],
	['tfjs cpu', 'fast', () => createTfjsGradientEngine({ backend: 'cpu' })],
	['tfjs cpu', 'lean', () => createTfjsGradientEngine({ backend: 'cpu' })],
	['tfjs wasm', 'fast', () => createTfjsGradientEngine({ backend: 'wasm' })],
];

describe.each(ENGINES)('%s, %s', (_, memory, create) => {
	let engine: GradientEngine;
	beforeAll(async () => {
		engine = await create();
	});

	it.each(OPS)('has the gradient of %s in double precision', { timeout: 300_000 }, async (op) => {
		await check(op, async (c) => {
			const recorded = recordOp(c);
			const want = await gradientsOf(exact, recorded);
			const got = await gradientsOf(engine, recorded, memory);
			const most = Math.max(1, ...Object.values(want).map(({ data }) => largest(data)));
			for (const name of recorded.wrt) {
				expect(got[name]?.shape).toEqual(recorded.feeds[name]?.shape);
				if (FLAT.has(op)) expect(largest(got[name]?.data ?? [Number.NaN])).toBe(0);
				expect(apart(got[name]?.data, want[name]?.data), name).toBeLessThanOrEqual(SINGLE * most);
			}
		});
	});
});

async function check(op: OpName, property: (c: OpCase) => Promise<void>): Promise<void> {
	await fc.assert(fc.asyncProperty(OP_ARBITRARIES[op] as fc.Arbitrary<OpCase>, property), { numRuns: RUNS });
}

async function gradientsOf(
	engine: GradientEngine,
	{ graph, feeds, wrt }: Recorded,
	memory: TrainingMemory = 'fast',
): Promise<Readonly<Record<string, HostTensor>>> {
	const session = await engine.load(graph, { loss: 'loss', wrt, memory }, NO_WEIGHTS);
	try {
		return (await session.run(feeds)).gradients;
	} finally {
		await session.close();
	}
}
