import { FormatError, quote } from '@lorakit/format';
import { f32Tensor } from '@lorakit/runtime';
import type { LossScalerState } from '../optimizers/loss-scaler.js';
import type { BestMeasured, RunSnapshot, SavedTensor } from './run-snapshot.js';
import { underPrefix } from './run-snapshot.js';
import type { TrainRunOptions } from './train-run.js';

/** What of a run moves, beside the tensors. */
export interface RunState {
	step: number;
	best: BestMeasured | undefined;
	validationDue: boolean;
	/** The adapter at the best step, where it is kept. */
	bestValues: ReadonlyMap<string, Float32Array> | undefined;
}

type Parts = Pick<TrainRunOptions, 'model' | 'optimizer' | 'average' | 'scaler' | 'batches' | 'resume'>;

/** The state to begin with; of a resumed run everything is brought to where it was. @throws {FormatError} `E_CONFIG`, `E_FORMAT` */
export function restoreRun({ model, optimizer, average, scaler, batches, resume }: Parts): RunState {
	if (resume === undefined) return { step: 0, best: undefined, validationDue: true, bestValues: undefined };
	const { tensors, step, best } = resume;
	const values = underPrefix(tensors, 'tensors');
	const read = model.tensors.map((tensor) => ({ tensor, data: floats(values, tensor.name, tensor.values.length, 'tensors') }));
	if (values.size !== model.tensors.length) {
		const extra = [...values.keys()].find((name) => !model.tensors.some((tensor) => tensor.name === name)) ?? '';
		throw new FormatError('E_CONFIG', `The checkpoint has the tensor ${quote(extra)}, which this run does not train.`, { at: extra });
	}
	optimizer.restore(underPrefix(tensors, 'optimizer'));
	const averaged = underPrefix(tensors, 'average');
	if (averaged.size > 0 !== (average !== undefined)) {
		throw new FormatError(
			'E_CONFIG',
			`The checkpoint was made ${averaged.size > 0 ? 'with' : 'without'} a moving mean (ema), this run is ${averaged.size > 0 ? 'without' : 'with'} one.`,
		);
	}
	average?.restore(averaged);
	if ((resume.scaler !== undefined) !== (scaler !== undefined)) {
		throw new FormatError('E_CONFIG', 'The checkpoint and this run differ in loss scaling (engine.mixed_precision).');
	}
	if (scaler !== undefined) scaler.restore((resume.scaler ?? {}) as LossScalerState);
	batches.restore(resume.batches);
	for (const { tensor, data } of read) tensor.values.set(data);
	const kept = underPrefix(tensors, 'best');
	const bestValues =
		kept.size === 0 ? undefined : new Map(model.tensors.map(({ name, values: v }) => [name, floats(kept, name, v.length, 'best').slice()]));
	return { step, best, validationDue: resume.validationDue, bestValues };
}

/** Everything there is now. @param state of the batches, which may be of the beginning of a step that was given up */
export function snapshotOf(parts: Parts, run: RunState, state: unknown, adapter: ReadonlyMap<string, Float32Array>): RunSnapshot {
	const { model, optimizer, average, scaler } = parts;
	const tensors = new Map<string, SavedTensor>();
	for (const { name, shape, values } of model.tensors) tensors.set(`tensors/${name}`, f32Tensor(shape, values));
	for (const [name, tensor] of optimizer.state()) tensors.set(`optimizer/${name}`, tensor);
	for (const [name, tensor] of average?.state() ?? []) tensors.set(`average/${name}`, tensor);
	if (run.bestValues !== undefined) {
		for (const { name, shape } of model.tensors) {
			const values = run.bestValues.get(name);
			if (values !== undefined) tensors.set(`best/${name}`, f32Tensor(shape, values));
		}
	}
	return { step: run.step, batches: state, scaler: scaler?.state(), best: run.best, validationDue: run.validationDue, tensors, adapter };
}

function floats(tensors: ReadonlyMap<string, SavedTensor>, name: string, count: number, prefix: string): Float32Array {
	const data = tensors.get(name)?.data;
	if (data instanceof Float32Array && data.length === count) return data;
	throw new FormatError(
		'E_CONFIG',
		`The checkpoint has ${data === undefined ? 'no' : `${data.length} numbers of`} ${quote(`${prefix}/${name}`)}, where this run has ${count} float32 numbers.`,
		{ at: name },
	);
}
