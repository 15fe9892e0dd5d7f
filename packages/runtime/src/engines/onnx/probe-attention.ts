import { type CompositeName, createGraphBuilder, type Graph } from '../../graph/index.js';
import { f32Tensor, type HostTensor } from '../../host-tensor.js';
import type { ParameterSource, Session } from '../engine.js';
import { createFloat64Engine } from '../float64/index.js';
import { ONNX_KERNELS } from './lower-to-onnx.js';
import type { Precision } from './precision.js';

/** Of the largest element. In single precision it is some 1e-6, in half some 1e-3; a kernel that is wrong is wrong by a quarter. */
const TOLERANCE: Readonly<Record<Precision, number>> = { fp32: 1e-3, fp16: 1e-2 };

/**
 * The kernels that are right on a device: without `attention` where ONNX Runtime's MultiHeadAttention gives other numbers
 * than plain JavaScript, as it does on WebGPU in software (SwiftShader, onnxruntime-web 1.30: sums of more than 64 keys are
 * off by a quarter). Attention is then written out, which is right and takes more memory.
 * @throws {FormatError} those of loading and computing.
 */
export async function kernelsThatWork(
	load: (graph: Graph, parameters: ParameterSource) => Promise<Session>,
	precision: Precision,
): Promise<ReadonlySet<CompositeName>> {
	for (const [queries, keys, width, heads, causal] of [
		[70, 77, 40, 1, false],
		[77, 77, 64, 4, true],
	] as const) {
		const b = createGraphBuilder();
		const [q, k, v] = [b.input('q', [1, queries, width]), b.input('k', [1, keys, width]), b.input('v', [1, keys, width])];
		b.output('y', b.apply('attention', [q, k, v], { heads, scale: 0.2, causal, slices: 1 }));
		const graph = b.graph();
		const feeds = { q: waves(queries, width, 1), k: waves(keys, width, 2), v: waves(keys, width, 3) };
		const [got, want] = [
			await runOnce(await load(graph, NO_WEIGHTS), feeds),
			await runOnce(await createFloat64Engine().load(graph, NO_WEIGHTS), feeds),
		];
		const most = want.reduce<number>((a, x) => Math.max(a, Math.abs(x)), 0);
		// Also for NaN.
		if (!want.every((x, i) => Math.abs(x - (got[i] ?? Number.NaN)) <= TOLERANCE[precision] * most)) {
			return new Set([...ONNX_KERNELS].filter((name) => name !== 'attention'));
		}
	}
	return ONNX_KERNELS;
}

async function runOnce(session: Session, feeds: Readonly<Record<string, HostTensor>>): Promise<readonly number[]> {
	try {
		return [...((await session.run(feeds))['y']?.data ?? [])];
	} finally {
		await session.close();
	}
}

function waves(rows: number, width: number, seed: number): HostTensor {
	return f32Tensor(
		[1, rows, width],
		Float32Array.from({ length: rows * width }, (_, i) => 2 * Math.sin(seed * (i + 1) * (i + 2))),
	);
}

const NO_WEIGHTS: ParameterSource = {
	read: (name) => Promise.reject(new TypeError(`no weight ${name}`)),
	stored: () => undefined,
};
