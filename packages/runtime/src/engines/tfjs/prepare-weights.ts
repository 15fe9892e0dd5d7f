import { FormatError, quote } from '@lorakit/format';
import type { Tensor } from '@tensorflow/tfjs';
import type { Graph } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import { checkAbort } from '../check-abort.js';
import type { LoadOptions, ParameterSource } from '../engine.js';
import { toHwio } from './convolution-kernels.js';
import type { TfjsContext } from './kernel.js';
import { createMemoryGuard } from './memory-guard.js';

/** Weights and constants of a graph as tensors, by value. */
export interface PreparedWeights {
	readonly tensors: ReadonlyMap<number, Tensor>;
	/** Those that are laid out for the one operation that takes them (`weightsToPrepare`). */
	readonly prepared: ReadonlySet<number>;
	/** Give their memory back. */
	dispose(): void;
}

/**
 * Weights that are nothing but a `linear`'s matrix or a `conv2d`'s filter. They are turned round once, not at each run.
 */
export function weightsToPrepare(graph: Graph): ReadonlyMap<number, 'linear' | 'conv2d'> {
	const uses = new Map<number, 'linear' | 'conv2d' | 'other'>();
	const add = (id: number, use: 'linear' | 'conv2d' | 'other'): void => {
		uses.set(id, (uses.get(id) ?? use) === use ? use : 'other');
	};
	for (const node of graph.nodes) {
		for (const [i, id] of node.inputs.entries()) add(id, i === 1 && (node.op === 'linear' || node.op === 'conv2d') ? node.op : 'other');
	}
	for (const { value } of graph.outputs) add(value, 'other');
	const found = new Map<number, 'linear' | 'conv2d'>();
	for (const { value } of graph.parameters) {
		const use = uses.get(value);
		if (use === 'linear' || use === 'conv2d') found.set(value, use);
	}
	return found;
}

/**
 * Read the weights of a lowered graph, one copy as float32.
 * @throws {FormatError} those of reading; `E_SHAPE` when a weight has another number of elements than the model;
 * `E_LIMIT` when together they are more than `memoryLimit` bytes.
 */
export async function prepareWeights(
	context: TfjsContext,
	graph: Graph,
	parameters: ParameterSource,
	{ onProgress, signal }: LoadOptions,
	memoryLimit: number,
): Promise<PreparedWeights> {
	const { tf } = context;
	const guard = createMemoryGuard(context, memoryLimit);
	const layouts = weightsToPrepare(graph);
	const tensors = new Map<number, Tensor>();
	const dispose = (): void => {
		for (const tensor of tensors.values()) tensor.dispose();
		tensors.clear();
	};
	const shapeOf = (value: number): number[] => (graph.values[value]?.shape ?? []).map(Number);
	const total = graph.parameters.reduce((sum, { value }) => sum + 4 * countOf(shapeOf(value)), 0);
	// WebAssembly's products keep a second copy of each weight, in the order they read it.
	guard(context.backend === 'wasm' ? 2 * total : total, 'Loading the weights of the model');
	try {
		for (const { value, tensor } of graph.constants) {
			const { dtype, shape, data } = tensor;
			tensors.set(
				value,
				dtype === 'i32' ? tf.tensor(Int32Array.from(data), [...shape], 'int32') : tf.tensor(Float32Array.from(data), [...shape], 'float32'),
			);
		}
		let done = 0;
		onProgress?.(done, total);
		for (const { name, value } of graph.parameters) {
			checkAbort(signal);
			const shape = shapeOf(value);
			const data = await parameters.read(name);
			checkCount(name, data.length, countOf(shape));
			tensors.set(
				value,
				tf.tidy(() => prepareWeight(context, tf.tensor(data, shape, 'float32'), layouts.get(value))),
			);
			done += data.byteLength;
			onProgress?.(done, total);
		}
	} catch (error) {
		dispose();
		throw error;
	}
	return { tensors, prepared: new Set(layouts.keys()), dispose };
}

/** A weight as the operation that takes it wants it: (in, out) for `linear`, (kh, kw, in, out) for `conv2d`. */
export function prepareWeight(context: TfjsContext, tensor: Tensor, use: 'linear' | 'conv2d' | undefined): Tensor {
	if (use === 'linear') return context.tf.transpose(tensor, [1, 0]);
	if (use === 'conv2d') return toHwio(context, tensor);
	return tensor;
}

function checkCount(name: string, got: number, expected: number): void {
	if (got === expected) return;
	throw new FormatError(
		'E_SHAPE',
		`Weight ${quote(name)} has ${got} elements; the model's configuration needs ${expected}. The base's configuration and weights disagree.`,
		{ at: name },
	);
}
