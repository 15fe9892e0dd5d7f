import { FormatError } from '@lorakit/format';
import {
	createFloat64Engine,
	createGraphBuilder,
	type Engine,
	f32Tensor,
	type Graph,
	type HostTensor,
	type ParameterSource,
} from '@lorakit/runtime';

/** Single precision: sums of 36 products. Devices that are wrong are wrong by far more. */
const TOLERANCE = 1e-4;

/**
 * Compute a convolution with an adapter of rank 0 and one of rank 2 over it, and compare with plain JavaScript: sizes of 0
 * are what a device most likely stumbles over.
 * @throws {FormatError} `E_INTERNAL` when the numbers are others, and what the engine throws.
 */
export async function tryEngine(engine: Engine): Promise<void> {
	const graph = probe();
	for (const rank of [0, 2]) {
		const feeds = feedsOf(graph, rank);
		const [got, expected] = [await run(engine, graph, feeds), await run(createFloat64Engine(), graph, feeds)];
		const worst = expected.reduce<number>((most, x, i) => Math.max(most, Math.abs(x - (got[i] ?? Number.NaN))), 0);
		// Also for NaN.
		if (!(worst <= TOLERANCE)) throw new FormatError('E_INTERNAL', `it computes a convolution wrongly, by ${worst}`);
	}
}

function probe(): Graph {
	const b = createGraphBuilder();
	const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
	const x = b.input('x', [2, 4, 6, 6]);
	const base = b.apply('conv2d', [x, b.input('weight', [8, 4, 3, 3])], window);
	b.output('y', b.apply('lowRankConv', [base, x, b.input('down', ['r', 4, 3, 3]), b.input('up', [8, 'r', 1, 1])], window));
	return b.graph();
}

function feedsOf({ inputs, values }: Graph, rank: number): Readonly<Record<string, HostTensor>> {
	return Object.fromEntries(
		inputs.map(({ name, value }, n) => {
			const shape = (values[value]?.shape ?? []).map((d) => (typeof d === 'number' ? d : rank));
			const count = shape.reduce((product, d) => product * d, 1);
			return [
				name,
				f32Tensor(
					shape,
					Float32Array.from({ length: count }, (_, i) => Math.sin(i + n)),
				),
			];
		}),
	);
}

async function run(engine: Engine, graph: Graph, feeds: Readonly<Record<string, HostTensor>>): Promise<readonly number[]> {
	const session = await engine.load(graph, NO_WEIGHTS);
	try {
		const { y } = await session.run(feeds);
		return [...(y?.data ?? [])];
	} finally {
		await session.close();
	}
}

const NO_WEIGHTS: ParameterSource = {
	read: (name) => Promise.reject(new TypeError(`no weight ${name}`)),
	stored: () => undefined,
};
