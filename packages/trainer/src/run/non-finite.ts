import { FormatError, quote } from '@lorakit/format';
import type { TrainableTensor } from '../model/trainable-tensor.js';

/** A step that cannot be made. */
export interface NonFinite {
	readonly what: 'loss' | 'gradient';
	readonly loss: number;
	readonly names: readonly string[];
	readonly timesteps: readonly number[];
	/** Whose gradient it is. */
	readonly tensor?: string | undefined;
}

/** Names in one sentence. */
const MAX_NAMES = 16;

/** The refusal of a step whose loss or gradient is no number, with what is needed to look at it. */
export function nonFiniteError(bad: NonFinite, step: number, kept: string | undefined, failed: unknown): FormatError {
	const { what, loss, names, timesteps, tensor } = bad;
	const shown = names.slice(0, MAX_NAMES).map((name) => quote(name));
	const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : '';
	const subject =
		what === 'loss'
			? `The loss of step ${step} is ${loss}`
			: `The gradient of ${quote(tensor ?? '')} in step ${step} is not finite (loss ${loss})`;
	const state =
		kept === undefined
			? 'there is no checkpoint yet'
			: failed === undefined
				? `the state before it is kept in ${quote(kept)}`
				: `the state before it could not be saved (${failed instanceof Error ? failed.message : String(failed)}), the last checkpoint is ${quote(kept)}`;
	return new FormatError(
		'E_NONFINITE',
		`${subject}; its pictures are ${shown.join(', ')}${more}, timesteps ${timesteps.slice(0, MAX_NAMES).join(', ')}${more === '' ? '' : ', ...'}; ${state}; look at these pictures, or go on with a lower learning rate (--resume-changed).`,
		{ at: names[0], cause: failed },
	);
}

export function valuesAreFinite(tensors: readonly TrainableTensor[]): boolean {
	return tensors.every(({ values }) => values.every(Number.isFinite));
}
