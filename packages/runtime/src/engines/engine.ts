import type { Tensor } from '@lorakit/format';
import type { Graph } from '../graph/index.js';
import type { HostTensor } from '../host-tensor.js';

/** Where the weights of a graph come from. Names are those of `Graph.parameters`. */
export interface ParameterSource {
	/** Values in the shape of the parameter, as float32, in memory that is the caller's. @throws {FormatError} those of reading. */
	read(name: string): Promise<Float32Array>;
	/**
	 * The stored tensor whose elements, in its order, are the parameter's, for engines that read files themselves;
	 * undefined where it has to be computed (rows of it, or transposed).
	 */
	stored(name: string): Tensor | undefined;
}

export interface LoadOptions {
	/** Names of taps that are given as outputs too. */
	readonly taps?: readonly string[] | undefined;
	/** Told now and then: bytes of weights read so far, and of all. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Hold the weights once, as they are stored, even where rearranged copies of them would be faster. */
	readonly compact?: boolean | undefined;
	/** Compute in float32 whatever precision the engine was made for: the model has numbers that float16 does not hold. */
	readonly upcast?: boolean | undefined;
}

/** Something that runs graphs. */
export interface Engine {
	/** `float64`, `onnx`, `onnx-web`, `tfjs`. */
	readonly id: string;
	/** Where it computes: `cpu`, `cuda`, `webgpu`, `wasm`. */
	readonly device: string;
	/** Make a graph ready to run. @throws {FormatError} those of reading the weights; `E_LIMIT` where it does not fit. */
	load(graph: Graph, parameters: ParameterSource, options?: LoadOptions): Promise<Session>;
}

/** A graph that is ready. */
export interface Session {
	readonly graph: Graph;
	/** Bytes of weights that it holds for itself alone; left out: unknown. Those that it reads in the memory of their file are any session's. */
	readonly weightBytes?: number | undefined;
	/**
	 * Compute all outputs. Every input must be fed; sizes that have names are taken from the feeds.
	 * @throws {FormatError} `E_USAGE` for a missing or misshapen feed.
	 */
	run(feeds: Readonly<Record<string, HostTensor>>): Promise<Readonly<Record<string, HostTensor>>>;
	/** Give the memory back. The session cannot run any more. */
	close(): Promise<void>;
}
