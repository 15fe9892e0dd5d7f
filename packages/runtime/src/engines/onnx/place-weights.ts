import { FormatError, isFloat, quote, type Tensor } from '@lorakit/format';
import type { Graph } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import { checkAbort } from '../check-abort.js';
import type { LoadOptions, ParameterSource } from '../engine.js';
import { bytesOf } from './emitter.js';
import type { PlacedWeight } from './lower-to-onnx.js';
import type { ExternalRange } from './onnx-model.js';

/** Bytes that ONNX Runtime takes under a name, as if they were a file. */
export interface MemoryFile {
	readonly path: string;
	readonly data: Uint8Array;
}

export interface PlacedWeights {
	readonly place: (name: string) => PlacedWeight;
	/** What was read. */
	readonly memory: readonly MemoryFile[];
	/** Bytes of weights as they are stored. */
	readonly total: number;
	/** Some are stored in half precision. */
	readonly half: boolean;
	/** Bytes, as float32, of all, and of those that ONNX Runtime uses in the memory of their file where it rearranges nothing. */
	readonly bytes: { readonly all: number; readonly mapped: number };
}

/** A weight that ONNX Runtime cannot fetch itself. */
interface WeightToRead {
	readonly name: string;
	/** undefined: computed as float32. */
	readonly stored: Tensor | undefined;
	readonly count: number;
}

/** Most bytes of weights inside the model: a model of 2 GiB cannot be read. */
const MAX_MODEL_BYTES = 1024 * 1024 * 1024;

/** Element types that the model converts itself, so that a weight can stay as it is stored. */
const STORED_DTYPES: ReadonlyMap<string, PlacedWeight['dtype']> = new Map([
	['F32', 'float32'],
	['F16', 'float16'],
	['BF16', 'bfloat16'],
] as const);

/**
 * Decide where ONNX Runtime gets each weight from: a range of a file it reads itself (`locate`), else memory, in the
 * stored type where the model can convert it.
 *
 * @throws {FormatError} those of reading; `E_SHAPE` when a weight has another number of elements than the model.
 */
export async function placeWeights(
	graph: Graph,
	parameters: ParameterSource,
	locate: (tensor: Tensor) => ExternalRange | undefined,
	{ onProgress, signal }: LoadOptions = {},
): Promise<PlacedWeights> {
	const placed = new Map<string, PlacedWeight>();
	const toRead: WeightToRead[] = [];
	const inFiles: WeightToRead[] = [];
	let total = 0;
	for (const { name, value } of graph.parameters) {
		const count = countOf((graph.values[value]?.shape ?? []).map(Number));
		const stored = parameters.stored(name);
		if (stored !== undefined) checkCount(name, stored, count);
		const dtype = STORED_DTYPES.get(stored?.dtype ?? '');
		const range = stored === undefined || dtype === undefined ? undefined : locate(stored);
		const weight = { name, stored: dtype === undefined ? undefined : stored, count };
		if (range !== undefined && dtype !== undefined) {
			placed.set(name, { dtype, data: { external: range } });
			inFiles.push(weight);
		} else toRead.push(weight);
		total += stored?.nbytes ?? 4 * count;
	}
	// ONNX Runtime looks for every external tensor among those given from memory as soon as one is, so the two do not mix:
	// beside files, what is read becomes a part of the model, or, where that would be too large, files are read too.
	const inModel = inFiles.length > 0 && toRead.reduce((sum, weight) => sum + bytesFor(weight), 0) <= MAX_MODEL_BYTES;
	if (!inModel && toRead.length > 0) toRead.push(...inFiles);

	const memory: MemoryFile[] = [];
	let done = 0;
	onProgress?.(done, total);
	for (const { name, stored, count } of toRead) {
		checkAbort(signal);
		const data = stored === undefined ? bytesOf(await readValues(parameters, name, count)) : await stored.read();
		const dtype = STORED_DTYPES.get(stored?.dtype ?? 'F32') ?? 'float32';
		if (inModel) placed.set(name, { dtype, data: { raw: data } });
		else {
			const path = `memory/${memory.length}`;
			memory.push({ path, data });
			placed.set(name, { dtype, data: { external: { location: path, offset: 0, length: data.byteLength } } });
		}
		done += data.byteLength;
		onProgress?.(done, total);
	}

	return {
		memory,
		total,
		bytes: {
			all: bytesOfAll([...inFiles, ...toRead]),
			mapped: bytesOfAll(inFiles.filter((weight) => !toRead.includes(weight) && weight.stored?.dtype === 'F32')),
		},
		half: [...placed.values()].some(({ dtype }) => dtype !== 'float32'),
		place(name) {
			const found = placed.get(name);
			if (found === undefined) throw new TypeError(`no weight ${name}`);
			return found;
		},
	};
}

async function readValues(parameters: ParameterSource, name: string, count: number): Promise<Float32Array> {
	const values = await parameters.read(name);
	if (values.length !== count) throw wrongCount(name, values.length, count);
	return values;
}

function checkCount(name: string, stored: Tensor, count: number): void {
	const got = countOf(stored.shape);
	if (got !== count) throw wrongCount(name, got, count);
	if (!isFloat(stored.dtype)) {
		throw new FormatError(
			'E_DTYPE',
			`Weight ${quote(name)} is ${stored.dtype}; expected floating point. The base is not one this runtime can run.`,
			{
				at: name,
			},
		);
	}
}

function wrongCount(name: string, got: number, expected: number): FormatError {
	return new FormatError(
		'E_SHAPE',
		`Weight ${quote(name)} has ${got} elements; the model's configuration needs ${expected}. The base's configuration and weights disagree.`,
		{ at: name },
	);
}

function bytesOfAll(weights: Iterable<WeightToRead>): number {
	return 4 * [...new Set(weights)].reduce((sum, { count }) => sum + count, 0);
}

function bytesFor({ stored, count }: WeightToRead): number {
	return stored?.nbytes ?? 4 * count;
}
