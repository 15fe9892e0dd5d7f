import { bytesSource, FormatError, openStateDict } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import {
	type AdapterFeeds,
	createComponent,
	createFloat64Engine,
	createGraphBuilder,
	createNet,
	type Engine,
	type FormOf,
	f32Tensor,
	type Graph,
	type Weights,
} from '../../src/index.js';

/** One linear layer without bias: y = x W^T, W = [[1, 2], [3, 4]]. */
const WEIGHT = Float32Array.of(1, 2, 3, 4);

async function weights(): Promise<Weights> {
	const header = Buffer.from(JSON.stringify({ 'a.weight': { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] } }).padEnd(80));
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(header.length));
	const { tensors } = await openStateDict(bytesSource(Buffer.concat([length, header, Buffer.from(WEIGHT.buffer)])));
	const tensor = tensors.get('a.weight');
	if (tensor === undefined) throw new Error('no weight');
	const place = { file: 'x', name: 'a.weight', tensor, shape: [2, 2] };
	return {
		shape: (_, name) => (name === 'a.weight' ? [2, 2] : undefined),
		names: () => ['a.weight'],
		locate: (_, name) => (name === 'a.weight' ? place : undefined),
	};
}

function record(rows: number): (forms: FormOf) => Graph {
	return (forms) => {
		const ops = createGraphBuilder();
		const net = createNet(ops, 'c', forms);
		ops.output('y', net.linear('a', ops.input('x', [rows, 2]), 2, { bias: false }));
		return ops.graph();
	};
}

/** The float64 engine with a pause in everything, counting sessions; closing one in the middle of a run is an error. */
function slowEngine(failing: { next: boolean } = { next: false }) {
	const state = { open: 0, most: 0, loads: 0 };
	const inner = createFloat64Engine();
	const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
	const engine: Engine = {
		id: 'slow',
		device: 'cpu',
		async load(graph, parameters, options) {
			await pause();
			if (failing.next) {
				failing.next = false;
				throw new FormatError('E_LIMIT', 'no room');
			}
			const session = await inner.load(graph, parameters, options);
			state.loads++;
			state.most = Math.max(state.most, ++state.open);
			let running = 0;
			return {
				graph: session.graph,
				async run(feeds) {
					running++;
					await pause();
					const result = await session.run(feeds);
					await pause();
					running--;
					return result;
				},
				async close() {
					if (running > 0) throw new Error('closed while it runs');
					state.open--;
					await session.close();
				},
			};
		},
	};
	return { engine, state };
}

const x = (rows: number) => ({ x: f32Tensor([rows, 2], new Float32Array(2 * rows).fill(1)) });
/** Rank 1 of down (1, 1), up (10, 20): y grows by (20, 40) for x of ones. */
const LORA: AdapterFeeds = {
	forms: new Map(),
	feeds: new Map([
		['c.a:down', f32Tensor([1, 2], Float32Array.of(1, 1))],
		['c.a:up', f32Tensor([2, 1], Float32Array.of(10, 20))],
	]),
};
/** The weight replaced by ones. */
const DENSE: AdapterFeeds = {
	forms: new Map([['c a', 'dense']]),
	feeds: new Map([['c.a:weight', f32Tensor([2, 2], new Float32Array(4).fill(1))]]),
};

describe('a component', () => {
	it('takes runs of several sizes at once: one session at a time, none closed in the middle of a run, none left', async () => {
		const { engine, state } = slowEngine();
		const component = createComponent('c', engine, await weights());
		const results = await Promise.all([1, 2, 1, 3].map((rows) => component.run(String(rows), record(rows), x(rows))));
		for (const [i, rows] of [1, 2, 1, 3].entries()) {
			expect([...(results[i]?.['y']?.data ?? [])]).toEqual(Array.from({ length: rows }, () => [3, 7]).flat());
		}
		expect(state.most).toBe(1);
		await component.release();
		expect(state.open).toBe(0);
	});

	it('releases after the run that is under way', async () => {
		const { engine, state } = slowEngine();
		const component = createComponent('c', engine, await weights());
		const run = component.run('1', record(1), x(1));
		await component.release();
		expect([...((await run)['y']?.data ?? [])]).toEqual([3, 7]);
		expect(state.open).toBe(0);
	});

	it('computes a run with the adapters that were there when it was asked for', async () => {
		const { engine, state } = slowEngine();
		const component = createComponent('c', engine, await weights());
		const plain = component.run('1', record(1), x(1));
		component.adapt(LORA);
		const lora = component.run('1', record(1), x(1));
		component.adapt(DENSE);
		const dense = component.run('1', record(1), x(1));
		component.adapt({ forms: new Map(), feeds: new Map() });
		const again = component.run('1', record(1), x(1));
		const got = await Promise.all([plain, lora, dense, again].map(async (run) => [...((await run)['y']?.data ?? [])]));
		expect(got).toEqual([
			[3, 7],
			[23, 47],
			[2, 2],
			[3, 7],
		]);
		// The low rank shares the session; the dense weight has one of its own, and so has what comes after it.
		expect(state.loads).toBe(3);
		expect(state.most).toBe(1);
	});

	it('asks a session that gives more than is wanted, and loads one for what it does not give', async () => {
		const tapped = (forms: FormOf): Graph => {
			const ops = createGraphBuilder();
			const net = createNet(ops, 'c', forms);
			const x = ops.input('x', [1, 2]);
			ops.tap('twice', ops.apply('add', [x, x], {}));
			ops.output('y', net.linear('a', x, 2, { bias: false }));
			return ops.graph();
		};
		const { engine, state } = slowEngine();
		const component = createComponent('c', engine, await weights());
		const run = async (...taps: string[]) => Object.keys(await component.run('1', tapped, x(1), taps));
		expect(await run('twice')).toContain('twice');
		await run();
		expect(state.loads).toBe(1);
		await component.release();
		expect(await run()).toEqual(['y']);
		expect(await run('twice')).toContain('twice');
		expect(state.loads).toBe(3);
		await component.release();
	});

	it('goes on after a load that failed', async () => {
		const failing = { next: true };
		const { engine, state } = slowEngine(failing);
		const component = createComponent('c', engine, await weights());
		const [first, second] = await Promise.allSettled([component.run('1', record(1), x(1)), component.run('1', record(1), x(1))]);
		expect(first).toMatchObject({ status: 'rejected', reason: { code: 'E_LIMIT' } });
		expect(second).toMatchObject({ status: 'fulfilled' });
		await component.release();
		expect(state.open).toBe(0);
	});
});
