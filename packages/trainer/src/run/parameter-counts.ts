import type { ParameterGroup, TrainableTensor } from '../model/trainable-tensor.js';

/** Trained numbers by group; groups without any are left out. */
export function parameterCounts(
	tensors: readonly Pick<TrainableTensor, 'group' | 'shape'>[],
): Readonly<Partial<Record<ParameterGroup, number>>> {
	const counts: Partial<Record<ParameterGroup, number>> = {};
	for (const { group, shape } of tensors) counts[group] = (counts[group] ?? 0) + shape.reduce((product, d) => product * d, 1);
	return counts;
}
