import * as v from 'valibot';

/** A schema that takes anything and gives a `T`. */
export type Field<T> = v.GenericSchema<unknown, T>;

/** Longest text of a configuration: prompts, paths, names. */
export const MAX_TEXT: number = 4096;
/** Entries of one list or table of a configuration. */
export const MAX_ENTRIES: number = 1000;

interface Range {
	readonly min?: number;
	readonly max?: number;
	/** The least value is not allowed itself. */
	readonly above?: number;
}

/** A whole number. */
export function whole(about: string, { min = 0, max = Number.MAX_SAFE_INTEGER }: Range = {}): Field<number> {
	return v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max), v.description(about));
}

/** A finite number. */
export function real(about: string, { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above }: Range = {}): Field<number> {
	const checks = v.pipe(v.number(), v.finite(), v.minValue(min), v.maxValue(max), v.description(about));
	return above === undefined ? checks : v.pipe(v.number(), v.finite(), v.gtValue(above), v.maxValue(max), v.description(about));
}

/** A text that is not empty. */
export function text(about: string): Field<string> {
	return v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_TEXT), v.description(about));
}

export function flag(about: string): Field<boolean> {
	return v.pipe(v.boolean(), v.description(about));
}

/** One of a closed set of names. */
export function choice<const T extends readonly string[]>(about: string, names: T): Field<T[number]> {
	return v.pipe(v.picklist(names), v.description(about));
}

export function list<T>(about: string, item: Field<T>, least = 0): Field<readonly T[]> {
	return v.pipe(v.array(item), v.minLength(least), v.maxLength(MAX_ENTRIES), v.description(about));
}

/** The default where the key is left out. */
export function or<T>(field: Field<T>, value: T): v.OptionalSchema<Field<T>, () => T> {
	return v.optional(field, () => value);
}

/** `null`, or no key at all, says "none": the rule for that case is in the description. */
export function maybe<T>(field: Field<T>): v.OptionalSchema<Field<T | null>, () => null> {
	return v.optional(v.nullable(field), () => null);
}

/** An item of a list that has keys. */
export function entry<T>(entries: { readonly [K in keyof T]: Field<T[K]> }): Field<T> {
	return v.strictObject(entries as v.ObjectEntries) as unknown as Field<T>;
}

/** A group of keys; each has a default, so the whole group may be left out. Unknown keys are refused. */
export function section<T>(about: string, entries: { readonly [K in keyof T]: Field<T[K]> }): Field<T> {
	const object = v.strictObject(entries as v.ObjectEntries) as unknown as Field<T>;
	return v.optional(v.pipe(object, v.description(about)) as Field<T>, {}) as unknown as Field<T>;
}
