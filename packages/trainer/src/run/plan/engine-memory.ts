import type { DType } from '@lorakit/format';
import { type Graph, lowerGraph } from '@lorakit/runtime';
import { differentiate } from '../../gradients/differentiate.js';
import { parameterBytes, peakLiveBytes } from '../../gradients/live-bytes.js';
import { OBJECTIVE_OUTPUTS } from '../../model/objective-graph.js';
import type { EngineConfig } from '../config/run-config.js';
import { onnxMemory } from './onnx-memory.js';

/** What an engine needs to differentiate a graph, in bytes. */
export interface EngineMemory {
	/** The weights, in every copy that the engine holds. */
	readonly weights: number;
	/** Values of a step: the most that are there at one time. */
	readonly activations: number;
	/** The process, its libraries and the loaded graph. */
	readonly process: number;
	/** How it was come by. */
	readonly rule: string;
}

export interface EngineMemoryRequest {
	/** The training graph of the largest batch (`objectiveGraph`). */
	readonly graph: Graph;
	/** Inputs of it that have gradients. */
	readonly wrt: readonly string[];
	readonly engine: Pick<EngineConfig, 'engine' | 'device' | 'memory' | 'mixed_precision'>;
	/** The type that a parameter is stored in; undefined where it is computed, as float32. */
	readonly storedAs: (name: string) => DType | undefined;
}

/** Node with this library, and with TensorFlow.js and its WebAssembly. Measured. */
const PROCESS_BYTES = 160 * 2 ** 20;
const TFJS_PROCESS_BYTES = 185 * 2 ** 20;

/**
 * Memory of WebAssembly by bytes on the tape: gradients stand beside values, and its heap grows in steps and never shrinks. Measured: 2.8
 * (fast) to 3.7 (lean, little memory).
 */
const TAPE_TIMES = 3;

/** What WebAssembly's products hold beside a weight: it again, in the order they read it. */
const WASM_COPIES = 2;

/** Computed from the differentiated graph itself; nothing is loaded. */
export async function engineMemory({ graph, wrt, engine, storedAs }: EngineMemoryRequest): Promise<EngineMemory> {
	const { memory, device } = engine;
	const request = { loss: OBJECTIVE_OUTPUTS.loss, wrt, memory };
	switch (engine.engine) {
		case 'onnx':
			return { ...onnxMemory(differentiate(graph, request), memory, storedAs), rule: ruleOf(engine) };
		case 'tfjs': {
			const { tapeBytes } = await import('../../gradients/tfjs/tape-bytes.js');
			const weights = parameterBytes(graph) * (device === 'wasm' ? WASM_COPIES : 1);
			return { weights, activations: TAPE_TIMES * tapeBytes(graph, request), process: TFJS_PROCESS_BYTES, rule: TFJS_RULE };
		}
		case 'float64': {
			const lowered = lowerGraph(differentiate(graph, request));
			return { weights: 2 * parameterBytes(lowered), activations: 2 * peakLiveBytes(lowered), process: PROCESS_BYTES, rule: FLOAT64_RULE };
		}
	}
}

function ruleOf({ memory, device, mixed_precision: precision }: EngineMemoryRequest['engine']): string {
	const weights = memory === 'fast' ? 'weights in each copy that ONNX Runtime rearranges' : 'weights once';
	const rule = `${weights} + values, gradients and state of what is trained + the most values that a step of the differentiated graph holds at one time + the process`;
	if ((device ?? 'cpu') !== 'cpu') return `${rule}; measured for the CPU alone, on another device a guess`;
	return precision === 'fp16' ? `${rule}; measured in float32 alone, in float16 a guess` : rule;
}

const TFJS_RULE =
	"weights + values, gradients and state of what is trained + what is kept between segments and three times what TensorFlow.js' tape records of the largest + the process; rough, measured with WebAssembly alone";
const FLOAT64_RULE =
	'weights and the most values of a step in float64 + values, gradients and state of what is trained + the process; rough';
