import { createGraphBuilder, type Graph, type GraphBuilder, type GraphNode, type OpName, type Value } from '@lorakit/runtime';
import { add, concat, scaleBy } from '@lorakit/runtime/ops';
import { blocksOfNodes } from './block-of-nodes.js';
import type { GradientRequest, TrainingMemory } from './gradient-engine.js';
import { type Contribution, type Derivative, derivatives } from './rules/index.js';

/** The name of the output that is the gradient of an input. */
export function gradientName(input: string): string {
	return `gradient:${input}`;
}

/** Most attention scores at once in the backward pass: 256 and 32 MiB of float32. */
const MAX_SCORES: Readonly<Record<TrainingMemory, number>> = { fast: 64 * 1024 * 1024, lean: 8 * 1024 * 1024 };

/**
 * A graph that gives what `graph` gives and the gradients of one output by some inputs: reverse-mode differentiation,
 * node by node, into operations of the same kind. Gradients flow to the wanted inputs only; the rest is frozen.
 *
 * Blocks of the model follow each other in the backward pass, each only when the gradients of the one before are done
 * (`after`), so that its values can be given up. Under `lean` what is inside a block is computed again from what goes
 * into it.
 *
 * @returns the outputs of `graph` and `gradient:INPUT` for each of `wrt`, in the input's shape
 * @throws TypeError when there is no such output or input, the input has whole numbers, or the loss more than one element: a fault
 *   of the caller
 */
export function differentiate(graph: Graph, { loss, wrt, memory }: GradientRequest): Graph {
	const builder = createGraphBuilder();
	const made = copyForward(graph, builder);
	const output = graph.outputs.find(({ name }) => name === loss);
	if (output === undefined) throw new TypeError(`no output ${loss}`);
	const root = valueAt(made, output.value);
	if (root.shape.some((d) => d !== 1)) throw new TypeError(`the loss has the shape (${root.shape.join(', ')})`);

	const wanted = new Map(wrt.map((name) => [inputOf(graph, name), name]));
	const active = activeValues(graph, wanted);
	const gradients = createGradients(builder, made);
	gradients.add(output.value, builder.constant({ dtype: 'f64', shape: root.shape.map(Number), data: Float64Array.of(1) }));

	const rules = derivatives(MAX_SCORES[memory]) as Readonly<Record<OpName, Derivative<OpName>>>;
	const blocks = blocksOfNodes(graph);
	const again = memory === 'lean' ? recomputation(graph, builder, made, blocks) : undefined;
	const users = countUsers(graph, active);
	const results = new Map<string, Value>();
	let block = -1;
	let pending: Value[] = [];

	for (const [i, node] of [...graph.nodes.entries()].reverse()) {
		if (!active.has(node.output) || !gradients.has(node.output)) {
			for (const id of node.inputs) if (active.has(id)) finish(id);
			continue;
		}
		builder.scope(`backward.${node.scope}`, () => {
			let gradient = gradients.take(node.output);
			if (blocks[i] !== block) {
				block = blocks[i] ?? 0;
				if (pending.length > 0) gradient = builder.apply('after', [gradient, ...pending], {});
				pending = [];
				again?.enter(block, gradient);
			}
			const lookUp = (id: number): Value => again?.lookUp(id) ?? valueAt(made, id);
			const contributions = rules[node.op]({
				ops: builder,
				attributes: node.attributes,
				gradient,
				count: node.inputs.length,
				needs: (operand) => active.has(node.inputs[operand] ?? -1),
				shape: (operand) => valueAt(made, node.inputs[operand] ?? -1).shape,
				input: (operand) => lookUp(node.inputs[operand] ?? -1),
				output: () => lookUp(node.output),
			});
			for (const [operand, id] of node.inputs.entries()) {
				const contribution = contributions[operand];
				if (!active.has(id)) continue;
				if (contribution !== undefined) gradients.add(id, contribution);
				finish(id);
			}
		});
	}

	/** The last use of a value has passed its gradient on; that of a wanted input is then whole. */
	function finish(id: number): void {
		const left = (users.get(id) ?? 0) - 1;
		users.set(id, left);
		const name = wanted.get(id);
		if (left > 0 || name === undefined || !gradients.has(id)) return;
		const gradient = gradients.take(id);
		results.set(name, gradient);
		pending.push(gradient);
	}

	// A wanted input that no node uses has a gradient only where it is the loss itself.
	for (const [id, name] of wanted) if (gradients.has(id)) results.set(name, gradients.take(id));

	for (const { name, value } of graph.outputs) builder.output(name, valueAt(made, value));
	for (const [id, name] of wanted) {
		// Nothing of the loss depends on it.
		builder.output(gradientName(name), results.get(name) ?? scaleBy(builder, valueAt(made, id), 0));
	}
	return builder.graph();
}

/** The graph's own nodes in a builder that goes on. */
function copyForward(graph: Graph, builder: GraphBuilder): Map<number, Value> {
	const made = new Map<number, Value>();
	const shapeOf = (id: number): Value => graph.values[id] as Value;
	for (const { name, value } of graph.inputs) made.set(value, builder.input(name, shapeOf(value).shape, shapeOf(value).dtype));
	for (const { name, value } of graph.parameters) {
		made.set(value, builder.parameter(name, shapeOf(value).shape as readonly number[]));
	}
	for (const { value, tensor } of graph.constants) made.set(value, builder.constant(tensor));
	for (const node of graph.nodes)
		made.set(
			node.output,
			copyNode(builder, node, (id) => valueAt(made, id)),
		);
	for (const { name, value } of graph.taps) builder.tap(name, valueAt(made, value));
	return made;
}

function copyNode(builder: GraphBuilder, node: GraphNode, lookUp: (id: number) => Value): Value {
	return builder.scope(node.scope, () => builder.apply<OpName>(node.op, node.inputs.map(lookUp), node.attributes));
}

function valueAt(made: ReadonlyMap<number, Value>, id: number): Value {
	const value = made.get(id);
	if (value === undefined) throw new TypeError(`no value ${id}`);
	return value;
}

function inputOf(graph: Graph, name: string): number {
	const found = graph.inputs.find((input) => input.name === name);
	if (found === undefined) throw new TypeError(`no input ${name}`);
	if (graph.values[found.value]?.dtype === 'i32') throw new TypeError(`the input ${name} has whole numbers, which have no gradient`);
	return found.value;
}

/** Values that depend on a wanted input. */
function activeValues(graph: Graph, wanted: ReadonlyMap<number, string>): ReadonlySet<number> {
	const active = new Set(wanted.keys());
	for (const node of graph.nodes) if (node.op !== 'stopGradient' && node.inputs.some((id) => active.has(id))) active.add(node.output);
	return active;
}

/** How often nodes use an active value. */
function countUsers(graph: Graph, active: ReadonlySet<number>): Map<number, number> {
	const users = new Map<number, number>();
	for (const { inputs } of graph.nodes) for (const id of inputs) if (active.has(id)) users.set(id, (users.get(id) ?? 0) + 1);
	return users;
}

/** Contributions to the gradients of values, summed when they are asked for. */
function createGradients(builder: GraphBuilder, made: ReadonlyMap<number, Value>) {
	const all = new Map<number, Contribution[]>();
	return {
		has: (id: number): boolean => all.has(id),
		add(id: number, contribution: Contribution): void {
			const list = all.get(id);
			if (list === undefined) all.set(id, [contribution]);
			else list.push(contribution);
		},
		take(id: number): Value {
			const list = all.get(id) ?? [];
			all.delete(id);
			const [first, ...rest] = wholeOf(builder, list, valueAt(made, id));
			if (first === undefined) throw new TypeError(`no gradient of value ${id}`);
			return rest.reduce((total, part) => add(builder, total, part), first);
		},
	};
}

/** Pieces that are the whole together are joined, others filled up with zeros. */
function wholeOf(builder: GraphBuilder, list: readonly Contribution[], { shape }: Value): readonly Value[] {
	const pieces = list.filter((part) => 'part' in part);
	const [one] = pieces;
	if (one === undefined) return list as readonly Value[];
	const whole = list.filter((part): part is Value => !('part' in part));
	const sorted = pieces.filter(({ axis }) => axis === one.axis).sort((a, b) => a.start - b.start);
	const tiles = sorted.length === pieces.length && sorted.every(({ start }, i) => start === (sorted[i - 1]?.end ?? 0));
	if (tiles && sorted.at(-1)?.end === shape[one.axis]) {
		return [...whole, sorted.length === 1 ? one.part : concat(builder, one.axis, ...sorted.map(({ part }) => part))];
	}
	const padded = pieces.map(({ axis, start, end, part }) =>
		builder.apply('pad', [part], { axis, before: start, after: Number(shape[axis]) - end }),
	);
	return [...whole, ...padded];
}

/** Values of the forward pass, computed again block by block. */
function recomputation(graph: Graph, builder: GraphBuilder, made: ReadonlyMap<number, Value>, blocks: readonly number[]) {
	const maker = new Map(graph.nodes.map((node, i) => [node.output, i]));
	const kept = usedByLaterBlocks(graph, maker, blocks);
	let block = -1;
	let trigger: Value | undefined;
	let copies = new Map<number, Value>();

	/** The value as the block may use it. */
	function lookUp(id: number): Value {
		const known = copies.get(id);
		if (known !== undefined) return known;
		const i = maker.get(id);
		const node = i === undefined ? undefined : graph.nodes[i];
		const original = valueAt(made, id);
		if (node === undefined || i === undefined) return original;
		if (blocks[i] !== block || kept.has(id)) {
			return original;
		}
		const copy = copyNode(builder, node, sourceOf);
		copies.set(id, copy);
		return copy;
	}

	/** What a node that is computed again takes: from outside the block, what waits until the block's turn has come. */
	function sourceOf(id: number): Value {
		const i = maker.get(id);
		if (i === undefined || trigger === undefined) return valueAt(made, id);
		if (blocks[i] === block && !kept.has(id)) return lookUp(id);
		const key = -1 - id;
		const known = copies.get(key);
		if (known !== undefined) return known;
		const late = builder.apply('after', [valueAt(made, id), trigger], {});
		copies.set(key, late);
		return late;
	}

	return {
		enter(next: number, gradient: Value): void {
			block = next;
			trigger = gradient;
			copies = new Map();
		},
		lookUp,
	};
}

/** Values that a node of another block uses: what blocks are computed again from. */
function usedByLaterBlocks(graph: Graph, maker: ReadonlyMap<number, number>, blocks: readonly number[]): ReadonlySet<number> {
	const kept = new Set<number>();
	for (const [i, { inputs }] of graph.nodes.entries()) {
		for (const id of inputs) {
			const from = maker.get(id);
			if (from !== undefined && blocks[from] !== blocks[i]) kept.add(id);
		}
	}
	return kept;
}
