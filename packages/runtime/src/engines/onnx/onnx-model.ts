import type { Dim } from '../../graph/index.js';

/** Element types that our models use, by their numbers in onnx.proto's `TensorProto.DataType`. */
export const ONNX_DTYPES = { float32: 1, int32: 6, int64: 7, float16: 10, bfloat16: 16 } as const;

export type OnnxDType = keyof typeof ONNX_DTYPES;

/** Operators outside ONNX's own set that ONNX Runtime brings (docs/ContribOperators.md of microsoft/onnxruntime). */
export const MICROSOFT = 'com.microsoft';

export type OnnxAttribute =
	| { readonly int: number }
	| { readonly float: number }
	| { readonly ints: readonly number[] }
	| { readonly string: string };

/** One operation; ours have one output each. */
export interface OnnxNode {
	/** For ONNX Runtime's messages: the scope of the graph's node and a number. */
	readonly name: string;
	readonly opType: string;
	/** Empty for ONNX's own operators. */
	readonly domain: string;
	/** An empty name is an optional input that is left out. */
	readonly inputs: readonly string[];
	readonly output: string;
	readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** Where the bytes of an external tensor lie. `location` is a path relative to the model's folder. */
export interface ExternalRange {
	readonly location: string;
	readonly offset: number;
	readonly length: number;
}

/** A tensor that the model holds, or names the place of. */
export interface OnnxTensor {
	readonly name: string;
	readonly dtype: OnnxDType;
	readonly dims: readonly number[];
	/** Little-endian elements. */
	readonly data: { readonly raw: Uint8Array } | { readonly external: ExternalRange };
}

export interface OnnxValueInfo {
	readonly name: string;
	readonly dtype: OnnxDType;
	/** A size that is undefined is found when the model is run. */
	readonly shape: readonly (Dim | undefined)[];
}

/** What of ONNX's ModelProto we write. */
export interface OnnxModel {
	readonly inputs: readonly OnnxValueInfo[];
	readonly outputs: readonly OnnxValueInfo[];
	readonly initializers: readonly OnnxTensor[];
	/** In an order in which they can be run. */
	readonly nodes: readonly OnnxNode[];
	/** What is known of results inside. */
	readonly values: readonly OnnxValueInfo[];
}
