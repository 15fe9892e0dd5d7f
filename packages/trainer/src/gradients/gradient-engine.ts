import type { Graph, HostTensor, LoadOptions, ParameterSource } from '@lorakit/runtime';

/** What to differentiate. */
export interface GradientRequest {
	/** The output that is the loss: one element. */
	readonly loss: string;
	/** Inputs of the graph whose gradients are wanted. Everything else is frozen. */
	readonly wrt: readonly string[];
	/**
	 * What is kept from the forward pass: `fast` keeps what the backward pass reads, `lean` keeps the inputs of each
	 * block of the model and computes what is inside again.
	 */
	readonly memory: TrainingMemory;
}

export type TrainingMemory = 'fast' | 'lean';

/** Something that computes a graph's outputs and the gradients of its loss. */
export interface GradientEngine {
	/** `onnx`, `float64`, `tfjs`. */
	readonly id: string;
	/** As `Engine.device`. */
	readonly device: string;
	/** @throws {FormatError} those of `Engine.load` */
	load(graph: Graph, request: GradientRequest, parameters: ParameterSource, options?: LoadOptions): Promise<GradientSession>;
}

/** Outputs of a graph, and d loss / d input. */
export interface Gradients {
	readonly outputs: Readonly<Record<string, HostTensor>>;
	/** By input name, in the input's shape, float32 (float64 where the engine computes in it). */
	readonly gradients: Readonly<Record<string, HostTensor>>;
}

/** A graph that is ready to be differentiated. */
export interface GradientSession {
	/** Bytes that it holds for itself between runs: weights that no other session shares, and memory for values of a run. Left out: unknown. */
	readonly ownBytes?: number | undefined;
	/** @throws {FormatError} `E_USAGE` for a missing or misshapen feed. */
	run(feeds: Readonly<Record<string, HostTensor>>): Promise<Gradients>;
	close(): Promise<void>;
}
