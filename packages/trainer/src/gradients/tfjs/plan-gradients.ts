import { FormatError, quote } from '@lorakit/format';
import type { Graph, GraphNode, NamedValue } from '@lorakit/runtime';
import type { GradientRequest } from '../gradient-engine.js';
import { dependence } from './dependence.js';
import { lowerForGradients } from './lower-for-gradients.js';
import { oneSegment, planSegments, type Segment } from './plan-segments.js';

/** How a graph is differentiated; made once. */
export interface GradientPlan {
	/** Lowered. */
	readonly graph: Graph;
	readonly loss: number;
	readonly wrt: readonly NamedValue[];
	/** Off the tape, before anything else. */
	readonly frozen: readonly GraphNode[];
	/** What depends on wanted inputs and leads to the loss, in order; none where the loss depends on no wanted input. */
	readonly segments: readonly Segment[];
	/** Off the tape, for other outputs. */
	readonly rest: readonly GraphNode[];
	/** Values that outlive the nodes that make and use them: outputs, and what `rest` reads. */
	readonly needed: ReadonlySet<number>;
}

/** @throws {FormatError} `E_USAGE`: no such loss or input, a loss of several elements, an input of whole numbers. */
export function planGradients(graph: Graph, request: GradientRequest, taps: readonly string[] | undefined): GradientPlan {
	const lowered = lowerForGradients(graph, request.memory, taps);
	const loss = lossOf(lowered, request.loss);
	const wrt = request.wrt.map((name) => wantedInput(lowered, name));
	const { frozen, differentiated, rest } = dependence(lowered, new Set(wrt.map(({ value }) => value)), loss);
	const segments = request.memory === 'lean' ? planSegments(lowered, differentiated, loss) : oneSegment(differentiated, loss);
	const needed = new Set([...lowered.outputs.map(({ value }) => value), ...rest.flatMap(({ inputs }) => inputs)]);
	return { graph: lowered, loss, wrt, frozen, segments: segments.filter(({ nodes }) => nodes.length > 0), rest, needed };
}

function lossOf(graph: Graph, name: string): number {
	const found = graph.outputs.find((output) => output.name === name);
	if (found === undefined) {
		const known = graph.outputs.map((output) => output.name).join(', ');
		throw new FormatError('E_USAGE', `The loss ${quote(name)} is no output of the graph; it has ${known}.`, { at: name });
	}
	const { shape = [] } = graph.values[found.value] ?? {};
	if (shape.some((d) => d !== 1)) {
		throw new FormatError('E_USAGE', `The loss ${quote(name)} is (${shape.join(', ')}); a loss is one element.`, { at: name });
	}
	return found.value;
}

function wantedInput(graph: Graph, name: string): NamedValue {
	const found = graph.inputs.find((input) => input.name === name);
	if (found === undefined) {
		throw new FormatError('E_USAGE', `The gradient by ${quote(name)} was asked for, which is no input of the graph.`, { at: name });
	}
	if (graph.values[found.value]?.dtype === 'i32') {
		throw new FormatError('E_USAGE', `The gradient by ${quote(name)} was asked for; its elements are whole numbers and have none.`, {
			at: name,
		});
	}
	return found;
}
