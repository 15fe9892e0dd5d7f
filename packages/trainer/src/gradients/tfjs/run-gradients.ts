import type { GraphNode, HostTensor } from '@lorakit/runtime';
import {
	bytesFor,
	type EvaluationStep,
	type EvaluationSteps,
	evaluationSteps,
	type PreparedWeights,
	runSteps,
	runStepsAtOnce,
	type TfjsContext,
	tfjsError,
	toHost,
	toTensor,
	useBackend,
} from '@lorakit/runtime/engines/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import type { Gradients } from '../gradient-engine.js';
import type { GradientPlan } from './plan-gradients.js';
import type { Segment } from './plan-segments.js';
import { partOf, recordSegment } from './record-segment.js';

export interface GradientRun {
	readonly context: TfjsContext;
	readonly plan: GradientPlan;
	readonly weights: PreparedWeights;
	readonly sizes: ReadonlyMap<string, number>;
	readonly feeds: Readonly<Record<string, HostTensor>>;
	/** Throws where there is no room for so many bytes more. */
	readonly guard: (bytes: number, what: string) => void;
}

/**
 * One forward and backward pass; inputs that no gradient reaches are left out of `gradients`. Forward, segments leave
 * only what later ones read; backward, each is recorded on a tape of its own. The last one, in `fast` the only one, is
 * computed once.
 */
export async function runGradients({ context, plan, weights, sizes, feeds, guard }: GradientRun): Promise<Gradients> {
	const { tf, backend } = context;
	const { graph, segments, needed } = plan;
	/** Everything that is this run's own, by value. */
	const held = new Map<number, Tensor>();
	/** The gradients of the loss, by value. */
	const upstream = new Map<number, Tensor>();
	let at: string | undefined;

	/** Values that a gradient can reach. */
	const reaches = new Set([...plan.wrt.map(({ value }) => value), ...segments.flatMap(({ outgoing }) => outgoing)]);

	const hold = (made: ReadonlyMap<number, Tensor>): void => {
		for (const [value, tensor] of made) held.set(value, tensor);
	};
	const release = (from: Map<number, Tensor>, value: number): void => {
		from.get(value)?.dispose();
		from.delete(value);
	};
	const steps = (nodes: readonly GraphNode[], wanted: Iterable<number>): EvaluationSteps =>
		evaluationSteps(context, partOf(graph, nodes, wanted), new Map([...weights.tensors, ...held]), { sizes, prepared: weights.prepared });
	const before = (step: EvaluationStep): void => {
		at = step.node.scope;
		guard(bytesFor(step), `${at}: ${step.node.op}`);
	};
	const evaluate = async (nodes: readonly GraphNode[], wanted: Iterable<number>): Promise<void> => {
		if (nodes.length > 0) hold(await runSteps(context, steps(nodes, wanted), { before }));
	};

	function backward(segment: Segment, keep: ReadonlySet<number>): void {
		const reached = segment.incoming.flatMap((id): (readonly [number, Tensor])[] => {
			const tensor = reaches.has(id) ? held.get(id) : undefined;
			return tensor === undefined || tensor.size === 0 ? [] : [[id, tensor]];
		});
		const { gradients, kept } = recordSegment(context, {
			compute: () => runStepsAtOnce(steps(segment.nodes, new Set([...segment.outgoing, ...keep])), { before }),
			from: reached.map(([, tensor]) => tensor),
			upstream: new Map([...upstream].filter(([id]) => segment.outgoing.includes(id))),
			keep,
			recorded: (bytes) => guard(bytes, 'The backward pass'),
		});
		hold(kept);
		for (const [i, [id]] of reached.entries()) {
			const [known, gradient] = [upstream.get(id), gradients[i]];
			if (gradient === undefined) continue;
			upstream.set(id, known === undefined ? gradient : tf.add(known, gradient));
			if (known === undefined) continue;
			known.dispose();
			gradient.dispose();
		}
		for (const id of segment.outgoing) release(upstream, id);
	}

	/** By name: the outputs, and what upstream has reached of the wanted inputs. */
	async function read(): Promise<Gradients> {
		const known = new Map<number, HostTensor>();
		for (const { value } of graph.outputs) {
			const tensor = held.get(value) ?? weights.tensors.get(value);
			if (tensor !== undefined && !known.has(value)) known.set(value, await toHost(tensor));
		}
		const outputs = Object.fromEntries(graph.outputs.map(({ name, value }) => [name, known.get(value) as HostTensor]));
		const gradients: Record<string, HostTensor> = {};
		for (const { name, value } of plan.wrt) {
			const gradient = upstream.get(value);
			if (gradient !== undefined) gradients[name] = await toHost(gradient);
		}
		return { outputs, gradients };
	}

	try {
		for (const { name, value } of graph.inputs) held.set(value, toTensor(context, feeds[name] as HostTensor));
		await evaluate(plan.frozen, valuesFromFrozen(plan));
		const last = segments.at(-1);
		for (const segment of segments) if (segment !== last) await evaluate(segment.nodes, [...segment.outgoing, ...neededOf(plan, segment)]);
		upstream.set(plan.loss, tf.ones((graph.values[plan.loss]?.shape ?? []).map(Number)));
		if (last !== undefined) backward(last, new Set(neededOf(plan, last)));
		await evaluate(
			plan.rest,
			plan.rest.map(({ output }) => output).filter((id) => needed.has(id)),
		);
		const asked = new Set(graph.outputs.map(({ value }) => value));
		for (const segment of segments.toReversed()) {
			if (segment !== last) {
				await takeTurns(context);
				backward(segment, new Set());
			}
			for (const id of segment.outgoing) if (!asked.has(id)) release(held, id);
		}
		at = undefined;
		return await read();
	} catch (error) {
		throw tfjsError(error, backend, at);
	} finally {
		for (const tensor of [...held.values(), ...upstream.values()]) tensor.dispose();
	}
}

/** Values that frozen nodes make for others. */
function valuesFromFrozen({ frozen, segments, rest, needed, loss }: GradientPlan): ReadonlySet<number> {
	const used = new Set([loss, ...needed, ...[...segments.flatMap(({ nodes }) => nodes), ...rest].flatMap(({ inputs }) => inputs)]);
	return new Set(frozen.map(({ output }) => output).filter((id) => used.has(id)));
}

/** What a segment makes that outlives the backward pass. */
function neededOf({ needed }: GradientPlan, { nodes }: Segment): readonly number[] {
	return nodes.map(({ output }) => output).filter((id) => needed.has(id));
}

/** Others get theirs; TensorFlow.js has one backend at a time, for all who use it. */
async function takeTurns(context: TfjsContext): Promise<void> {
	await new Promise((resolve) => setTimeout(resolve, 0));
	await useBackend(context);
}
