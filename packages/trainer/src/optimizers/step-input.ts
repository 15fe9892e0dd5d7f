import { FormatError, quote } from '@lorakit/format';
import { countOf } from '@lorakit/runtime';
import type { ParameterGroup, TrainableTensor } from '../model/trainable-tensor.js';

/** Learning rate of each group at one step. */
export type GroupRates = Readonly<Partial<Record<ParameterGroup, number>>>;

/**
 * What an optimizer may be made over.
 *
 * @throws {FormatError} `E_USAGE`: two tensors of one name, or a shape that does not say how many values there are
 */
export function checkTensors(tensors: readonly TrainableTensor[]): void {
	const seen = new Set<string>();
	for (const { name, shape, values } of tensors) {
		if (seen.has(name)) throw new FormatError('E_USAGE', `Two trained tensors are called ${quote(name)}; names must differ.`, { at: name });
		seen.add(name);
		if (values.length !== countOf(shape)) {
			throw new FormatError(
				'E_USAGE',
				`The trained tensor ${quote(name)} has ${values.length} values, but its shape (${shape.join(', ')}) says ${countOf(shape)}.`,
				{ at: name },
			);
		}
	}
}

/**
 * Everything about a step that can be wrong, looked at before anything changes. Whether gradients are finite is not: that is
 * `clipGradients`' to say, which reads them anyway.
 *
 * @throws {FormatError} `E_USAGE`: a gradient of another size or of no tensor here, a group without a usable rate
 */
export function checkStepInput(tensors: readonly TrainableTensor[], gradients: ReadonlyMap<string, Float32Array>, rates: GroupRates): void {
	let found = 0;
	for (const { name, group, values } of tensors) {
		const gradient = gradients.get(name);
		if (gradient === undefined) continue;
		found++;
		if (gradient.length !== values.length) {
			throw new FormatError('E_USAGE', `The gradient of ${quote(name)} has ${gradient.length} values; the tensor has ${values.length}.`, {
				at: name,
			});
		}
		const rate = rates[group];
		if (rate === undefined || !Number.isFinite(rate) || rate < 0) {
			throw new FormatError(
				'E_USAGE',
				`The learning rate of the group ${group} is ${rate}; ${quote(name)} needs a finite one of at least 0.`,
				{ at: name },
			);
		}
	}
	if (found === gradients.size) return;
	const names = new Set(tensors.map((tensor) => tensor.name));
	const stranger = [...gradients.keys()].find((name) => !names.has(name));
	throw new FormatError('E_USAGE', `There is a gradient of ${quote(String(stranger))}, but the optimizer holds no tensor of that name.`, {
		at: stranger,
	});
}
