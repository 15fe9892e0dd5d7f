import { FormatError } from '@lorakit/format';
import { createGraphBuilder, type Graph, type HostTensor } from '@lorakit/runtime';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import type { GradientSession, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { memoryWeights, NO_WEIGHTS, random } from './support.js';
import { recordStep } from './tiny-shapes-run.js';

const WIDTH = 64;
const ROWS = 32;

/** Layers one after the other with activations that are large beside the weights, as a model's are. */
function tower(layers: number): { readonly graph: Graph; readonly feeds: Readonly<Record<string, HostTensor>> } {
	const b = createGraphBuilder();
	const feeds: Record<string, HostTensor> = { x: random([ROWS, WIDTH], 1), scale: random([WIDTH], 2, 0.5, 1) };
	let y = b.apply('mul', [b.input('x', [ROWS, WIDTH]), b.input('scale', [WIDTH])], {});
	for (let i = 0; i < layers; i++) {
		y = b.apply('gelu', [b.apply('linear', [y, b.parameter(`w${i}`, [WIDTH, WIDTH])], {})], {});
	}
	b.output('loss', b.apply('sum', [b.apply('mul', [y, y], {})], { axes: [0, 1] }));
	b.output('y', y);
	return { graph: b.graph(), feeds };
}

const towerWeights = (layers: number) =>
	memoryWeights(Object.fromEntries(Array.from({ length: layers }, (_, i) => [`w${i}`, random([WIDTH, WIDTH], 50 + i, -0.2, 0.2)])));

/** Most bytes of tensors while a run is under way, less those before it. */
async function peakOf(session: GradientSession, feeds: Readonly<Record<string, HostTensor>>): Promise<number> {
	const engine = tf.engine();
	const before = tf.memory().numBytes;
	const { runKernel } = engine;
	let peak = 0;
	const watch = (): void => {
		peak = Math.max(peak, tf.memory().numBytes - before);
	};
	engine.runKernel = function watched(this: typeof engine, ...call: Parameters<typeof runKernel>) {
		const result = runKernel.apply(this, call);
		watch();
		return result;
	} as typeof runKernel;
	try {
		await session.run(feeds);
	} finally {
		engine.runKernel = runKernel;
	}
	return peak;
}

describe.each<TrainingMemory>(['fast', 'lean'])('a session of TensorFlow.js that is %s', (memory) => {
	it('leaves nothing behind, run after run, and gives everything back', async () => {
		const engine = await createTfjsGradientEngine({ backend: 'cpu' });
		const start = tf.memory();
		const { graph, feeds } = tower(12);
		const session = await engine.load(graph, { loss: 'loss', wrt: ['scale'], memory }, towerWeights(12));
		const loaded = tf.memory();
		const first = await session.run(feeds);
		for (let i = 0; i < 3; i++) {
			expect(await session.run(feeds)).toEqual(first);
			expect(tf.memory().numTensors).toBe(loaded.numTensors);
			expect(tf.memory().numBytes).toBe(loaded.numBytes);
			expect(tf.memory().numDataBuffers).toBe(loaded.numDataBuffers);
		}
		await session.close();
		expect(tf.memory().numTensors).toBe(start.numTensors);
		await expect(session.run(feeds)).rejects.toMatchObject({ code: 'E_USAGE' });
		await session.close();
	});

	it('leaves nothing behind where memory does not suffice, and runs when it does', async () => {
		const { graph, feeds } = tower(12);
		const before = tf.memory();
		const weights = 12 * WIDTH * WIDTH * 4;
		const engine = await createTfjsGradientEngine({ backend: 'cpu', memoryLimit: before.numBytes + weights + 40_000 });
		const session = await engine.load(graph, { loss: 'loss', wrt: ['scale'], memory }, towerWeights(12));
		const loaded = tf.memory();
		await expect(session.run(feeds)).rejects.toMatchObject({ name: 'FormatError', code: 'E_LIMIT' });
		expect(tf.memory().numTensors).toBe(loaded.numTensors);
		expect(tf.memory().numBytes).toBe(loaded.numBytes);
		await session.close();
		// Nothing of what was given up is in the way of what comes next.
		const enough = await createTfjsGradientEngine({ backend: 'cpu', memoryLimit: before.numBytes + 2 ** 28 });
		const other = await enough.load(graph, { loss: 'loss', wrt: ['scale'], memory }, towerWeights(12));
		expect((await other.run(feeds)).gradients['scale']?.data.some((x) => x !== 0)).toBe(true);
		await other.close();
	});

	it('takes runs that are asked for at once one after the other', async () => {
		const engine = await createTfjsGradientEngine({ backend: 'cpu' });
		const { graph, feeds } = tower(3);
		const session = await engine.load(graph, { loss: 'loss', wrt: ['scale', 'x'], memory }, towerWeights(3));
		const [a, b] = await Promise.all([session.run(feeds), session.run({ ...feeds, x: random([ROWS, WIDTH], 77) })]);
		expect(await session.run(feeds)).toEqual(a);
		expect(b.outputs['loss']).not.toEqual(a.outputs['loss']);
		await session.close();
	});
});

describe('lean', () => {
	it('holds less: of forty equal layers less than a third, at the same gradients', async () => {
		const engine = await createTfjsGradientEngine({ backend: 'cpu' });
		const { graph, feeds } = tower(40);
		const peaks: number[] = [];
		const results: unknown[] = [];
		for (const memory of ['fast', 'lean'] as const) {
			const session = await engine.load(graph, { loss: 'loss', wrt: ['scale'], memory }, towerWeights(40));
			results.push(await session.run(feeds));
			peaks.push(await peakOf(session, feeds));
			await session.close();
		}
		const [fast = 0, lean = 0] = peaks;
		expect(lean).toBeGreaterThan(0);
		expect(lean).toBeLessThan(fast / 3);
		// Computed again is computed the same; the seeds of pieces are factors of one.
		expect(results[1]).toEqual(results[0]);
	});

	it('never holds a full map of attention for all rows', async () => {
		const engine = await createTfjsGradientEngine({ backend: 'wasm' });
		const [rows, heads, width] = [2048, 4, 4];
		const b = createGraphBuilder();
		const x = b.input('x', [1, rows, heads * width]);
		const y = b.apply('attention', [x, x, x], { heads, scale: 0.5, causal: false, slices: 1 });
		b.output('loss', b.apply('reshape', [b.apply('sum', [b.apply('mul', [y, y], {})], { axes: [0, 1, 2] })], { shape: [] }));
		const session = await engine.load(b.graph(), { loss: 'loss', wrt: ['x'], memory: 'lean' }, NO_WEIGHTS);
		const peak = await peakOf(session, { x: random([1, rows, heads * width], 1) });
		await session.close();
		// The map has 64 MiB. One tape holds probabilities, their gradient and that of the scores at least: three of it.
		expect(peak).toBeLessThan(2 * 4 * heads * rows * rows);
	});

	it('holds less of a step of tiny-shapes', async () => {
		const step = await recordStep({ targets: { rank: 4, unet: 'attention' }, size: [8, 8] });
		const engine = await createTfjsGradientEngine({ backend: 'wasm' });
		const peaks: number[] = [];
		for (const memory of ['fast', 'lean'] as const) {
			const session = await engine.load(step.graph, { loss: 'loss', wrt: step.wrt, memory }, step.parameters);
			await session.run(step.feeds);
			peaks.push(await peakOf(session, step.feeds));
			await session.close();
		}
		const [fast = 0, lean = 0] = peaks;
		// 92 MB and 9 MB.
		expect(lean).toBeLessThan(fast / 5);
	});
});

describe('a request', () => {
	const { graph, feeds } = tower(2);
	const load = async (loss: string, wrt: readonly string[], of: Graph = graph): Promise<GradientSession> =>
		await (await createTfjsGradientEngine({ backend: 'cpu' })).load(of, { loss, wrt, memory: 'fast' }, towerWeights(2));

	it.each([
		['a loss that is no output', 'nothing', ['scale'], /"nothing" is no output of the graph; it has loss, y/],
		['a loss of several elements', 'y', ['scale'], /"y" is \(32, 64\); a loss is one element/],
		['an input that is none', 'loss', ['w0'], /"w0" was asked for, which is no input/],
	])('for %s is refused', async (_, loss, wrt, sentence) => {
		const error = await load(loss, wrt).catch((e: unknown) => e);
		expect(error).toBeInstanceOf(FormatError);
		expect(error).toMatchObject({ code: 'E_USAGE', message: expect.stringMatching(sentence) });
	});

	it('for the gradient by whole numbers is refused', async () => {
		const b = createGraphBuilder();
		const ids = b.input('ids', [2], 'i32');
		b.output('loss', b.apply('sum', [b.apply('gather', [b.parameter('w0', [3, 1]), ids], {})], { axes: [0, 1] }));
		await expect(load('loss', ['ids'], b.graph())).rejects.toMatchObject({ code: 'E_USAGE' });
	});

	it('with a feed that does not fit is refused at the run', async () => {
		const session = await load('loss', ['scale']);
		await expect(session.run({ ...feeds, scale: random([3], 1) })).rejects.toMatchObject({ code: 'E_USAGE' });
		await expect(session.run({ x: random([ROWS, WIDTH], 1) })).rejects.toMatchObject({ code: 'E_USAGE' });
		await session.close();
	});

	it('that is stopped before it begins is an interruption, which a run is saved after', async () => {
		const engine = await createTfjsGradientEngine({ backend: 'cpu' });
		const b = createGraphBuilder();
		b.output('loss', b.input('a', [1]));
		const loading = engine.load(b.graph(), { loss: 'loss', wrt: ['a'], memory: 'fast' }, NO_WEIGHTS, { signal: AbortSignal.abort() });
		await expect(loading).rejects.toMatchObject({ code: 'E_INTERRUPTED' });
	});

	it('for a loss that is the input itself, or depends on nothing, has gradients of one and of zero', async () => {
		const b = createGraphBuilder();
		b.output('loss', b.input('a', [1]));
		b.output('twice', b.apply('add', [b.input('b', [2]), b.input('c', [2])], {}));
		const engine = await createTfjsGradientEngine({ backend: 'cpu' });
		for (const memory of ['fast', 'lean'] as const) {
			const session = await engine.load(b.graph(), { loss: 'loss', wrt: ['a', 'b'], memory }, NO_WEIGHTS);
			const { outputs, gradients } = await session.run({ a: random([1], 1), b: random([2], 2), c: random([2], 2) });
			expect(gradients).toEqual({
				a: { dtype: 'f32', shape: [1], data: Float32Array.of(1) },
				b: { dtype: 'f32', shape: [2], data: new Float32Array(2) },
			});
			expect(outputs['twice']?.data).toEqual(random([2], 2).data.map((x) => 2 * x));
			await session.close();
		}
	});
});
