import { FormatError } from '../../errors.js';
import { type DareMask, dareMask, droppedAndRescaled } from './dare.js';
import { magnitudePruned } from './magnitude-prune.js';
import type { MaskRequest, MergeMethod, MergeOptions } from './merge-types.js';
import { type MajoritySign, tiesMerged, weightedSum } from './ties.js';

/** Options with every default filled in. */
export interface MergeSettings extends MergeOptions {
	readonly method: MergeMethod;
	readonly density: number;
	readonly majoritySign: MajoritySign;
	readonly on: 'delta' | 'factors';
	readonly seed: number;
	readonly t: number;
}

/** Methods whose result is the sum of the weighted deltas (or of two of them, SLERP), so that factors may be put side by side. */
const SUMS: ReadonlySet<MergeMethod> = new Set<MergeMethod>(['concat', 'svd', 'slerp']);
/** Methods that PEFT has for factors. */
const ON_FACTORS: ReadonlySet<MergeMethod> = new Set<MergeMethod>(['linear', 'ties', 'dare-linear', 'dare-ties', 'magnitude-prune']);

/** True when no element is looked at by itself. */
export function isSum(method: MergeMethod): boolean {
	return SUMS.has(method);
}

/**
 * Fill in and check the options of a merge.
 * @throws {FormatError} `E_USAGE` for options that are out of range or do not go together, `E_RANK`.
 */
export function mergeSettings(options: MergeOptions, adapters: number): MergeSettings {
	const { rank } = options;
	const method = options.method ?? (typeof rank === 'number' ? 'svd' : 'concat');
	const density = options.density ?? 0.5;
	const t = options.t ?? 0.5;
	const on = options.on ?? (method === 'linear' ? 'factors' : 'delta');
	if (!(density > 0 && density <= 1)) throw usage(`The density must be above 0 and at most 1, but is ${density}.`);
	if (!(t >= 0 && t <= 1)) throw usage(`t must be from 0 to 1, but is ${t}.`);
	if (typeof rank === 'number' && !(Number.isInteger(rank) && rank >= 1))
		throw new FormatError('E_RANK', `The rank must be a whole number of at least 1, but is ${rank}.`);
	if (method === 'concat' && typeof rank === 'number')
		throw usage('concat keeps every rank; for a smaller one leave --method out or say svd.');
	if (method === 'linear' && on === 'delta') throw usage('linear mixes the factors; the sum of the deltas is concat or svd.');
	if (on === 'factors' && !ON_FACTORS.has(method))
		throw usage(`${method} works on deltas; on factors there are ${[...ON_FACTORS].join(', ')}.`);
	if (on === 'factors' && rank !== undefined) throw usage('On factors the rank stays that of the adapters; leave --rank out.');
	if (method === 'slerp' && adapters !== 2) throw usage(`slerp is between two adapters, but ${adapters} were given.`);
	const seed = options.seed ?? 0;
	if (!Number.isSafeInteger(seed)) throw usage(`The seed must be a whole number, but is ${seed}.`);
	return { ...options, method, density, majoritySign: options.majoritySign ?? 'total', on, seed, t };
}

/** Where tasks come from, for masks. */
export interface TaskSource {
	readonly component: string;
	readonly path: string;
	readonly what: MaskRequest['what'];
	/** Positions in `uses`, one a task. */
	readonly inputs: readonly number[];
}

/** One method on the values of several adapters. Weights come after trimming and electing, as in PEFT. */
export function mergeTasks(
	settings: MergeSettings,
	tasks: readonly Float64Array[],
	weights: readonly number[],
	source: TaskSource,
): Float64Array {
	const { method, density, majoritySign } = settings;
	const masked = (): Float64Array[] => tasks.map((task, i) => droppedAndRescaled(task, maskFor(settings, source, i, task.length), density));
	switch (method) {
		case 'ties':
			return tiesMerged(
				tasks.map((task) => magnitudePruned(task, density)),
				weights,
				majoritySign,
			);
		case 'magnitude-prune':
			return weightedSum(
				tasks.map((task) => magnitudePruned(task, density)),
				weights,
			);
		case 'dare-ties':
			return tiesMerged(masked(), weights, majoritySign);
		case 'dare-linear':
			return weightedSum(masked(), weights);
		default:
			return weightedSum(tasks, weights);
	}
}

function maskFor(settings: MergeSettings, source: TaskSource, task: number, count: number): DareMask {
	const { component, path, what } = source;
	const input = source.inputs[task] ?? task;
	if (settings.density >= 1) return new Uint8Array(0);
	const given = settings.mask?.({ component, path, input, what, count });
	if (given !== undefined) {
		if (given.length !== count) throw usage(`The mask for ${component} ${path} has ${given.length} elements, but needs ${count}.`);
		return given;
	}
	return dareMask(`${settings.seed}\u0000${input}\u0000${component}\u0000${path}\u0000${what}`, count, settings.density);
}

function usage(text: string): FormatError {
	return new FormatError('E_USAGE', text);
}
