import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { createTfjsEngine } from '../../src/engines/tfjs/index.js';
import { createGraphBuilder, type Graph } from '../../src/graph/index.js';
import { memoryWeights, random } from './engine-contract.js';

/** x (1, 4, 8, 8) through `depth` convolutions with SiLU; all share one filter. */
function chain(depth: number): Graph {
	const b = createGraphBuilder();
	let x = b.input('x', [1, 4, 8, 8]);
	const filter = b.parameter('w', [4, 4, 3, 3]);
	for (let i = 0; i < depth; i++) {
		const y = b.scope(`block.${i}`, () => b.apply('conv2d', [x, filter], { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] }));
		x = b.apply('silu', [y], {});
	}
	b.output('y', x);
	return b.graph();
}

const weights = memoryWeights({ w: random([4, 4, 3, 3], 3) });
const feeds = { x: random([1, 4, 8, 8], 1) };
const VALUE = 4 * 4 * 8 * 8;

describe('memory of a session', () => {
	it('has one copy of the weights while it is open, and none of anything after it is closed', async () => {
		const engine = await createTfjsEngine({ backend: 'cpu' });
		const before = tf.memory();
		const session = await engine.load(chain(3), weights);
		expect(tf.memory().numBytes - before.numBytes).toBe(4 * 4 * 4 * 9);
		await session.run(feeds);
		expect(tf.memory().numBytes - before.numBytes).toBe(4 * 4 * 4 * 9);
		await session.close();
		expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numBytes: before.numBytes });
	});

	it('does not grow with the depth of the model', async () => {
		const before = tf.memory().numBytes;
		const peak = async (depth: number): Promise<number> => {
			// The smallest limit under which it runs, to a value.
			for (let values = 1; ; values++) {
				const engine = await createTfjsEngine({ backend: 'cpu', memoryLimit: before + values * VALUE });
				try {
					const session = await engine.load(chain(depth), weights);
					await session.run(feeds).finally(() => session.close());
					return values;
				} catch (error) {
					expect(error).toMatchObject({ code: 'E_LIMIT' });
					expect(values).toBeLessThan(20);
				}
			}
		};
		expect(await peak(40)).toBe(await peak(4));
	});

	it('is refused beyond the limit, naming the place, and what was made is given back', async () => {
		const before = tf.memory();
		const engine = await createTfjsEngine({ backend: 'cpu', memoryLimit: before.numBytes + 2 * VALUE });
		const session = await engine.load(chain(3), weights);
		await expect(session.run(feeds)).rejects.toMatchObject({
			name: 'FormatError',
			code: 'E_LIMIT',
			message: expect.stringContaining('block.0'),
		});
		await session.close();
		expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numBytes: before.numBytes });
		const small = await createTfjsEngine({ backend: 'cpu', memoryLimit: before.numBytes + 10 });
		await expect(small.load(chain(1), weights)).rejects.toMatchObject({ code: 'E_LIMIT', message: expect.stringContaining('weights') });
	});
});

it('refuses a weight of another size, and keeps nothing', async () => {
	const engine = await createTfjsEngine({ backend: 'cpu' });
	const before = tf.memory().numTensors;
	await expect(engine.load(chain(1), memoryWeights({ w: random([4, 4, 3, 2], 1) }))).rejects.toMatchObject({ code: 'E_SHAPE' });
	expect(tf.memory().numTensors).toBe(before);
});

it('stops loading when it is told to', async () => {
	const engine = await createTfjsEngine({ backend: 'cpu' });
	const stop = new AbortController();
	const onProgress = (done: number): void => {
		if (done === 0) stop.abort();
	};
	await expect(engine.load(chain(1), weights, { signal: stop.signal, onProgress })).rejects.toMatchObject({ code: 'E_INTERRUPTED' });
});

it('says that a closed session is closed', async () => {
	const session = await (await createTfjsEngine({ backend: 'cpu' })).load(chain(1), weights);
	await session.close();
	await session.close();
	await expect(session.run(feeds)).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('closed') });
});

it('leaves feeds and weights alone when its results are changed', async () => {
	const b = createGraphBuilder();
	b.output('x', b.input('x', [2]));
	b.output('w', b.parameter('w', [2]));
	const session = await (await createTfjsEngine({ backend: 'cpu' })).load(b.graph(), memoryWeights({ w: random([2], 5) }));
	const fed = { x: random([2], 6) };
	const first = await session.run(fed);
	first['x']?.data.fill(7);
	first['w']?.data.fill(7);
	expect(fed.x.data).toEqual(random([2], 6).data);
	expect((await session.run(fed))['w']?.data).toEqual(random([2], 5).data);
	await session.close();
});

it('runs asked for at once give each its own', async () => {
	const session = await (await createTfjsEngine({ backend: 'cpu' })).load(chain(2), weights);
	const other = { x: random([1, 4, 8, 8], 2) };
	const [a, b] = await Promise.all([session.run(feeds), session.run(other)]);
	expect(a).toEqual(await session.run(feeds));
	expect(b).toEqual(await session.run(other));
	await session.close();
});

describe('choosing a backend', () => {
	it('takes one that works when none is asked for', async () => {
		const engine = await createTfjsEngine();
		expect(engine.id).toBe('tfjs');
		const session = await engine.load(chain(1), weights);
		expect((await session.run(feeds))['y']?.shape).toEqual([1, 4, 8, 8]);
		await session.close();
	});

	it('says why one does not work here and what to do', async () => {
		// Node has no WebGPU.
		await expect(createTfjsEngine({ backend: 'webgpu' })).rejects.toMatchObject({
			name: 'FormatError',
			code: 'E_DEVICE',
			message: expect.stringMatching(/webgpu does not work here: there is no navigator\.gpu\. .*docs\/engines\.md/),
		});
	});

	it('takes the instance of TensorFlow.js that it is given, and says when the backend is not in it', async () => {
		await expect(createTfjsEngine({ tf, backend: 'tensorflow' })).rejects.toMatchObject({
			code: 'E_DEVICE',
			message: expect.stringContaining('not registered'),
		});
		expect(await createTfjsEngine({ tf, backend: 'cpu' })).toMatchObject({ id: 'tfjs', device: 'cpu', backend: 'cpu' });
	});
});
