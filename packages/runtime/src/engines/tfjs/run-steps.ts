import type { Tensor } from '@tensorflow/tfjs';
import { countOf } from '../../host-tensor.js';
import type { EvaluationStep } from './evaluate-graph.js';
import type { TfjsContext } from './kernel.js';

/** Timers, signals and pages get a turn after so many milliseconds of computing. */
const TURN = 100;

export type EvaluationSteps = Generator<EvaluationStep, ReadonlyMap<number, Tensor>, undefined>;

export interface RunStepsOptions {
	/** Told before each node; may throw, and what was made is disposed. */
	readonly before: (step: EvaluationStep) => void;
}

/** The outputs of `evaluationSteps`, with pauses in which others get their turn. */
export async function runSteps(
	context: TfjsContext,
	steps: EvaluationSteps,
	{ before }: RunStepsOptions,
): Promise<ReadonlyMap<number, Tensor>> {
	try {
		let turn = Date.now();
		for (let step = steps.next(); ; step = steps.next()) {
			if (step.done === true) return step.value;
			before(step.value);
			if (Date.now() - turn < TURN) continue;
			await new Promise((resolve) => setTimeout(resolve, 0));
			await useBackend(context);
			turn = Date.now();
		}
	} finally {
		// Disposes what was made, where it was given up.
		steps.return(new Map());
	}
}

/** The same at once, for where nothing may come in between: while gradients are recorded. */
export function runStepsAtOnce(steps: EvaluationSteps, { before }: RunStepsOptions): ReadonlyMap<number, Tensor> {
	try {
		for (let step = steps.next(); ; step = steps.next()) {
			if (step.done === true) return step.value;
			before(step.value);
		}
	} finally {
		steps.return(new Map());
	}
}

/** TensorFlow.js has one backend at a time, for all who use it. */
export async function useBackend({ tf, backend }: TfjsContext): Promise<void> {
	if (tf.getBackend() !== backend) await tf.setBackend(backend);
}

/** What a step takes for itself: the result, and operands turned round for it. */
export function bytesFor({ node, shape, operands }: EvaluationStep): number {
	const result = 4 * countOf(shape);
	const largest = Math.max(0, ...operands.map((s) => 4 * countOf(s)));
	return node.op === 'conv2d' || node.op === 'attention' || node.op === 'matmul' ? 2 * (result + largest) : 2 * result;
}
