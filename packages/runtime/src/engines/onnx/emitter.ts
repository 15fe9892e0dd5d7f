import type { Dim, Graph, Shape } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import type { OnnxAttribute, OnnxDType, OnnxNode, OnnxTensor } from './onnx-model.js';
import type { FloatDType } from './precision.js';

/** A value in the ONNX model that is being made. */
export interface Operand {
	readonly name: string;
	readonly shape: Shape;
}

/** What is known of a node's result. */
export interface KnownResult {
	readonly dtype: FloatDType;
	readonly shape: Shape;
}

export type OnnxAttributes = Readonly<Record<string, OnnxAttribute>>;

/** Collects the nodes and tables of an ONNX model. */
export interface Emitter {
	readonly nodes: readonly OnnxNode[];
	readonly initializers: readonly OnnxTensor[];
	/** Results that were told of (`shaped`), by name. */
	readonly known: ReadonlyMap<string, KnownResult>;
	/** Nodes made from now on bear this scope in their names, and their results are of this type. */
	scope(name: string, dtype: FloatDType): void;
	/** Adds an operation; gives the name of its output. */
	node(opType: string, inputs: readonly string[], attributes?: OnnxAttributes, domain?: string): string;
	/** Tells the shape of a result, of floats; gives its name. */
	shaped(name: string, shape: Shape, dtype?: FloatDType): string;
	/** Adds a table that the model holds; equal small ones are one. */
	table(dtype: OnnxDType, dims: readonly number[], raw: Uint8Array): string;
	/** int64 (n), what ONNX takes for shapes, axes and indices */
	ints(...values: readonly number[]): string;
	floats(dims: readonly number[], values: readonly number[]): string;
	/** float32 of one value, filled */
	filled(dims: readonly number[], value: number): string;
	/** int64 (n) of sizes, with those that have names taken from the graph's inputs at each run */
	dims(shape: Shape): string;
	/** int64 (1): the shape of anything as one axis, -1, which ONNX Runtime does not know before it runs; undefined without an input that has an axis. */
	flat(): string | undefined;
	reshape(name: string, shape: Shape): string;
	/** As a matrix: all axes but the last are rows. Asked for twice it is the same value. */
	rows(x: Operand): string;
	/** The value of `shape` that has the elements of `matrix`, which `rows` will give back for it. */
	fromRows(matrix: string, shape: Shape): string;
}

export function createEmitter(graph: Graph, inputName: (name: string) => string): Emitter {
	const nodes: OnnxNode[] = [];
	const initializers: OnnxTensor[] = [];
	const known = new Map<string, KnownResult>();
	const tables = new Map<string, string>();
	const sizes = new Map<string, string>();
	const matrices = new Map<string, string>();
	let scope = '';
	let dtype: FloatDType = 'float32';
	let flat: string | undefined;

	const emitter: Emitter = {
		nodes,
		initializers,
		known,
		scope(name, type) {
			scope = name;
			dtype = type;
		},
		node(opType, inputs, attributes = {}, domain = '') {
			const output = `t${nodes.length}`;
			nodes.push({ name: `${scope}#${nodes.length}`, opType, domain, inputs, output, attributes });
			return output;
		},
		shaped(name, shape, type = dtype) {
			known.set(name, { dtype: type, shape });
			return name;
		},
		table(dtype, dims, raw) {
			const key = raw.byteLength <= 64 ? `${dtype} ${dims.join()} ${raw.join()}` : undefined;
			const known = key === undefined ? undefined : tables.get(key);
			if (known !== undefined) return known;
			const name = `c${initializers.length}`;
			initializers.push({ name, dtype, dims, data: { raw } });
			if (key !== undefined) tables.set(key, name);
			return name;
		},
		ints(...values) {
			return emitter.table('int64', [values.length], bytesOf(BigInt64Array.from(values, BigInt)));
		},
		floats(dims, values) {
			return emitter.table('float32', dims, bytesOf(Float32Array.from(values)));
		},
		filled(dims, value) {
			return emitter.floats(dims, new Array<number>(countOf(dims)).fill(value));
		},
		dims(shape) {
			if (shape.every((d) => typeof d === 'number')) return emitter.ints(...shape);
			return emitter.node(
				'Concat',
				shape.map((d) => (typeof d === 'number' ? emitter.ints(d) : sizeNamed(d))),
				{ axis: { int: 0 } },
			);
		},
		flat() {
			if (flat !== undefined) return flat;
			// The first size of an input is not told: see `lowerToOnnx`.
			const input = graph.inputs.find(({ value }) => (graph.values[value]?.shape.length ?? 0) > 0);
			if (input === undefined) return undefined;
			const size = emitter.node('Shape', [inputName(input.name)], { end: { int: 1 } });
			flat = emitter.node('Sub', [emitter.node('Mul', [size, emitter.ints(0)]), emitter.ints(1)]);
			return flat;
		},
		reshape(name, shape) {
			const [, ...rest] = shape;
			// The first size is counted when it is run, so that it stays unknown where it was: see `lowerToOnnx`.
			const counted = shape.length > 0 && rest.every((d) => typeof d === 'number' && d > 0);
			// allowzero: a size of 0 means 0, as in rank 0, and not "as the operand's".
			return emitter.node('Reshape', [name, emitter.dims(counted ? [-1, ...rest] : shape)], { allowzero: { int: 1 } });
		},
		rows(x) {
			if (x.shape.length === 2) return x.name;
			const known = matrices.get(x.name);
			if (known !== undefined) return known;
			const shape = matrixShape(x.shape);
			const matrix = emitter.shaped(emitter.reshape(x.name, shape), shape);
			matrices.set(x.name, matrix);
			return matrix;
		},
		fromRows(matrix, shape) {
			if (shape.length === 2) return matrix;
			const name = emitter.reshape(emitter.shaped(matrix, matrixShape(shape)), shape);
			matrices.set(name, matrix);
			return name;
		},
	};

	/** int64 (1): the size that has a name, from an input that has an axis of that name. */
	function sizeNamed(name: string): string {
		const known = sizes.get(name);
		if (known !== undefined) return known;
		for (const input of graph.inputs) {
			const axis = graph.values[input.value]?.shape.indexOf(name) ?? -1;
			if (axis < 0) continue;
			const size = emitter.node('Shape', [inputName(input.name)], { start: { int: axis }, end: { int: axis + 1 } });
			sizes.set(name, size);
			return size;
		}
		throw new TypeError(`no input has a size ${name}`);
	}

	return emitter;
}

/** All axes but the last as rows; where a size has only a name, -1 of them: ONNX counts them then, which it can because a column is not empty. */
export function matrixShape(shape: Shape): readonly [Dim, Dim] {
	const rows = shape.slice(0, -1).reduce<number>((product, d) => (typeof d === 'number' && product >= 0 ? product * d : -1), 1);
	return [rows, shape.at(-1) ?? 1];
}

/** The memory of numbers, as bytes. */
export function bytesOf(numbers: Float32Array | Int32Array | BigInt64Array): Uint8Array {
	return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}
