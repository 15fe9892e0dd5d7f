import type { Shape } from '../../graph/index.js';
import type { KnownResult } from './emitter.js';
import type { OnnxNode, OnnxValueInfo } from './onnx-model.js';

/** Values of up to so many elements (256 KiB of float32) may share memory at any distance. */
const SMALL_ELEMENTS = 64 * 1024;
/** Larger ones may where they begin and end within a stretch of so many nodes, up to so many elements (4 MiB). */
const STRETCH = 128;
const STRETCH_ELEMENTS = 1024 * 1024;

/** Operators whose kernels can write over an operand of the result's shape (`MayInplace` in onnxruntime/core/providers/cpu). */
const IN_PLACE = new Set('Add Sub Mul Div Neg Exp Log Sqrt Sigmoid Tanh Erf Sin Cos Abs Sign Softmax'.split(' '));
/** Operators whose result is their operand's memory. */
const VIEWS = new Set(['Reshape', 'Identity']);

/**
 * The shapes of results inside a model, with first sizes as labels: ONNX Runtime takes sizes of one label for equal, and
 * those of others, or of none, for unequal. So labels say which values may have each other's memory, which it decides
 * when it loads the model (onnxruntime/core/framework/allocation_planner.cc):
 *
 * - A block that is shared is held from its first user to its last, idle or not. If all of one shape were, a step of Stable Diffusion
 *   1.5 would hold half a gigabyte more at 512 px, so only small ones, and those of one stretch, have the same label.
 * - A result over an operand that nothing else needs is free memory at no cost. It has the operand's label.
 * - For every result the blocks that are free are looked through, one by one. Without labels none ever fits, and a training graph
 *   of 7,500 nodes spends seven seconds there; with them the list stays short.
 *
 * @param nodes in an order in which they can be run
 * @param known results by name; those that are missing, and those with sizes that have only names, stay as they are
 */
export function labelValues(nodes: readonly OnnxNode[], known: ReadonlyMap<string, KnownResult>): readonly OnnxValueInfo[] {
	const { blockOf, lastUse } = livesOf(nodes);
	const labels = new Map<string, string>();
	const values: OnnxValueInfo[] = [];
	let count = 0;
	for (const [i, { opType, inputs, output }] of nodes.entries()) {
		const { dtype, shape } = known.get(output) ?? {};
		if (dtype === undefined || shape === undefined || shape.length === 0 || !isKnown(shape)) continue;
		const label = inherited(i, opType, inputs, shape) ?? own(i, blockOf(output), shape);
		labels.set(output, label);
		// Sizes of one label are equal because the size is a part of it.
		values.push({ name: output, dtype, shape: [`${label}.${shape[0]}`, ...shape.slice(1)] });
	}
	return values;

	function inherited(i: number, opType: string, inputs: readonly string[], shape: readonly number[]): string | undefined {
		if (VIEWS.has(opType)) return labels.get(inputs[0] ?? '');
		if (isSmall(shape) || !IN_PLACE.has(opType)) return undefined;
		const over = inputs.find((input) => lastUse.get(blockOf(input)) === i && known.get(input)?.shape.join() === shape.join());
		return over === undefined ? undefined : labels.get(over);
	}

	function own(i: number, block: string, shape: readonly number[]): string {
		if (isSmall(shape)) return 'small';
		const stretch = Math.floor(i / STRETCH);
		const within = Math.floor((lastUse.get(block) ?? i) / STRETCH) === stretch;
		if (within && elements(shape) <= STRETCH_ELEMENTS) return `stretch${stretch}`;
		return `value${count++}`;
	}
}

/** Also without what is counted when it runs, -1. */
function isKnown(shape: Shape): shape is readonly number[] {
	return shape.every((d) => typeof d === 'number' && d >= 0);
}

function isSmall(shape: readonly number[]): boolean {
	return elements(shape) <= SMALL_ELEMENTS;
}

function elements(shape: readonly number[]): number {
	return shape.reduce((p, d) => p * d, 1);
}

/** Whose memory a value is, and the last node that needs it, through all views of it. */
function livesOf(nodes: readonly OnnxNode[]): {
	readonly blockOf: (name: string) => string;
	readonly lastUse: ReadonlyMap<string, number>;
} {
	const viewed = new Map<string, string>();
	const blockOf = (name: string): string => viewed.get(name) ?? name;
	const lastUse = new Map<string, number>();
	for (const [i, { opType, inputs, output }] of nodes.entries()) {
		for (const input of inputs) lastUse.set(blockOf(input), i);
		if (VIEWS.has(opType)) viewed.set(output, blockOf(inputs[0] ?? ''));
	}
	return { blockOf, lastUse };
}
