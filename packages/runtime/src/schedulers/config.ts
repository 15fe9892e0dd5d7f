import { FormatError, quote } from '@lorakit/format';
import * as v from 'valibot';
import { makeScheduler, type Rule } from './make-scheduler.js';
import type { PredictionType, Scheduler, SchedulerConfig, SchedulerKind, SchedulerOptions } from './scheduler.js';

/** Longest noise schedule; diffusion models have 1000 steps, and tables of this length stay under 1 MB. */
export const MAX_TRAIN_TIMESTEPS = 100_000;
/** Most steps of one run; ten times what the longest sampler of the field takes. */
export const MAX_STEPS = 10_000;

/** The settings of a run, filled in. */
export interface Run {
	readonly steps: number;
	readonly eta: number;
	readonly begin: number;
	readonly batch: number;
}

/** One scheduler class of diffusers: its options, and how a run is made from them. */
export interface SchedulerClass {
	readonly kind: SchedulerKind;
	/** diffusers' name of it. */
	readonly className: string;
	/** Options it takes. */
	readonly options: readonly string[];
	/** Every option, checked, defaults filled in. @throws {FormatError} E_CONFIG */
	resolve(config: unknown): SchedulerConfig;
	/** @throws {FormatError} E_CONFIG, E_USAGE */
	create(config: unknown, steps: number, options: SchedulerOptions): Scheduler;
}

/** A class from the table of its options (`entries`) and its rule. */
export function schedulerClass<E extends v.ObjectEntries>(
	kind: SchedulerKind,
	className: string,
	entries: E,
	rule: (config: v.InferOutput<v.StrictObjectSchema<E, undefined>>, run: Run) => Rule,
): SchedulerClass {
	const schema = v.strictObject(entries);
	const resolve = (config: unknown) => checked(schema, kind, config);
	return {
		kind,
		className,
		options: Object.keys(entries),
		resolve,
		create(config, steps, options) {
			const run = checkedRun(kind, steps, options);
			return makeScheduler(kind, run, rule(resolve(config), run));
		},
	};
}

/** Refuse with `E_CONFIG`. */
export function refuse(kind: SchedulerKind, what: string): never {
	throw new FormatError('E_CONFIG', `The configuration of scheduler ${kind}: ${what}`);
}

/** An option: left out or null, it has a default. */
export type Option<T> = v.NullishSchema<v.GenericSchema<T>, T>;

/** A flag. */
export function flag(off: boolean): Option<boolean> {
	return option(v.boolean(), off);
}

/** A flag that this runtime knows only switched off; `what` says what it would do. */
export function offOnly(what: string): Option<boolean> {
	return option(
		v.pipe(
			v.boolean(),
			v.check((on) => !on, `${what} is not supported; set it to false`),
		),
		false,
	);
}

/** One of some names. */
export function oneOf<T extends string>(names: readonly T[], byDefault: T): Option<T> {
	return option(v.picklist(names), byDefault);
}

/** A number with bounds. */
export function numberOption(
	byDefault: number,
	least: number = Number.NEGATIVE_INFINITY,
	most: number = Number.POSITIVE_INFINITY,
): Option<number> {
	return option(v.pipe(v.number(), v.minValue(least), v.maxValue(most)), byDefault);
}

/** A whole number with bounds. */
export function wholeOption(byDefault: number, least: number, most: number): Option<number> {
	return option(v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most)), byDefault);
}

/** A number, or null for none. */
export function maybeNumber(): Option<number | null> {
	return option<number | null>(v.nullable(v.number()), null);
}

/** Any schema with a default. */
export function option<T>(schema: v.GenericSchema<T>, byDefault: T): Option<T> {
	return v.nullish(schema, byDefault);
}

export type TimestepSpacing = 'linspace' | 'leading' | 'trailing';

/** `timestep_spacing` and `steps_offset`. */
export function spacingEntries(byDefault: TimestepSpacing): { timestep_spacing: Option<TimestepSpacing>; steps_offset: Option<number> } {
	return { timestep_spacing: oneOf(['linspace', 'leading', 'trailing'], byDefault), steps_offset: wholeOption(0, 0, MAX_TRAIN_TIMESTEPS) };
}

/** `prediction_type`, of those that the class knows. */
export function predictionEntries<T extends PredictionType | 'original_sample'>(known: readonly T[]): { prediction_type: Option<T> } {
	return { prediction_type: oneOf(known, known[0] as T) };
}

interface ClipEntries {
	readonly clip_sample: Option<boolean>;
	readonly clip_sample_range: Option<number>;
}

/** Clipping of the predicted finished sample. */
export function clipEntries(byDefault: boolean): ClipEntries {
	return { clip_sample: flag(byDefault), clip_sample_range: numberOption(1, 0) };
}

interface ThresholdEntries {
	readonly thresholding: Option<boolean>;
	readonly dynamic_thresholding_ratio: Option<number>;
	readonly sample_max_value: Option<number>;
}

/** Dynamic thresholding of it. */
export function thresholdEntries(): ThresholdEntries {
	return { thresholding: flag(false), dynamic_thresholding_ratio: numberOption(0.995, 0, 1), sample_max_value: numberOption(1, 0) };
}

/** @throws {FormatError} E_CONFIG with the first thing that is wrong */
function checked<T>(schema: v.GenericSchema<unknown, T>, kind: SchedulerKind, config: unknown): T {
	const result = v.safeParse(schema, config);
	if (result.success) return result.output;
	const [issue] = result.issues;
	const name = v.getDotPath(issue) ?? 'it';
	if (issue.expected === 'never') refuse(kind, `it has no option ${quote(name)}; schedulerConfigFor leaves out what other classes need`);
	if (issue.type === 'check') refuse(kind, `${name}: ${issue.message}`);
	refuse(kind, `${name} is ${cut(issue.received)}; supported is ${issue.expected ?? cut(issue.message)}`);
}

function cut(text: string): string {
	return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** @throws {FormatError} E_USAGE */
function checkedRun(kind: SchedulerKind, steps: number, options: SchedulerOptions): Run {
	const { eta = 0, begin = 0, batch = 1 } = options;
	whole(kind, 'steps', steps, 1, MAX_STEPS);
	whole(kind, 'begin', begin, 0, 2 * MAX_STEPS);
	whole(kind, 'batch', batch, 1, Number.MAX_SAFE_INTEGER);
	if (!(eta >= 0 && eta <= 1)) throw new FormatError('E_USAGE', `Scheduler ${kind}: eta is ${eta}; it goes from 0 to 1.`);
	if (eta > 0 && kind !== 'ddim') throw new FormatError('E_USAGE', `Scheduler ${kind} has no eta; only ddim has one.`);
	return { steps, eta, begin, batch };
}

function whole(kind: SchedulerKind, name: string, value: number, least: number, most: number): void {
	if (Number.isInteger(value) && value >= least && value <= most) return;
	throw new FormatError('E_USAGE', `Scheduler ${kind}: ${name} is ${value}; it is a whole number from ${least} to ${most}.`);
}
