import { FormatError, quote } from '@lorakit/format';
import * as v from 'valibot';

/** Blocks of one model; the published ones have three or four. */
export const MAX_BLOCKS: number = 16;
/** Layers of one block, or of one text encoder; the largest published encoder has 32. */
export const MAX_LAYERS: number = 256;
/** Transformer blocks of one UNet, all together; SDXL has 70. A graph of them is made before weights are looked at. */
export const MAX_TRANSFORMER_BLOCKS: number = 1024;
/** Channels, tokens, positions: any one width. */
export const MAX_WIDTH: number = 1 << 24;

export type Field<T> = v.GenericSchema<unknown, T>;

/** A whole number in a range; above it the file asks for more than any honest model has (`E_LIMIT`). */
export function whole(min: number, max: number): Field<number> {
	return v.pipe(v.unknown(), v.number(), v.integer(), v.minValue(min), v.maxValue(max));
}

/** A finite number. */
export function real(): Field<number> {
	return v.pipe(v.unknown(), v.number(), v.finite());
}

/** A finite number above 0. */
export function positive(): Field<number> {
	return v.pipe(v.unknown(), v.number(), v.finite(), v.gtValue(0));
}

/** One value, or a list with one for each block. */
export function oneOrList<T>(item: Field<T>): Field<T | T[]> {
	const list: Field<T[]> = v.pipe(v.unknown(), v.array(item), v.minLength(1), v.maxLength(MAX_BLOCKS));
	return v.lazy((input): Field<T | T[]> => (Array.isArray(input) ? list : item));
}

/** A list of names out of a closed set. */
export function names<const T extends readonly string[]>(known: T): Field<T[number][]> {
	return v.pipe(v.unknown(), v.array(v.picklist(known)), v.minLength(1), v.maxLength(MAX_BLOCKS));
}

/** The default when the key is not there. */
export function otherwise<T>(field: Field<T>, value: T): v.OptionalSchema<Field<T>, () => T> {
	return v.optional(field, () => value);
}

/** `null` (or absent) is Python's None: undefined here. */
export function nullable<T>(field: Field<T>): v.OptionalSchema<Field<T | undefined>, undefined> {
	const orNone: Field<T | undefined> = v.pipe(
		v.unknown(),
		v.nullable(field),
		v.transform((value) => value ?? undefined),
	);
	return v.optional(orNone, undefined);
}

/** True or false; None is false to Python. */
export function flag(value: boolean): v.OptionalSchema<Field<boolean>, () => boolean> {
	const orNone: Field<boolean> = v.pipe(
		v.unknown(),
		v.nullable(v.boolean()),
		v.transform((b) => b ?? false),
	);
	return v.optional(orNone, () => value);
}

/** A key that changes the numbers in a way the runtime does not do: it may only be there with one of these values. */
export function only<const T extends string | number | boolean | null>(...values: readonly T[]): v.OptionalSchema<Field<T>, undefined> {
	const known: Field<T> = v.custom<T>(
		(input) => values.some((value) => value === input),
		() => values.map((value) => JSON.stringify(value)).join(' or '),
	);
	return v.optional(known, undefined);
}

/** A list of `only` values, or one of them. */
export function onlyOrList<const T extends string | number | boolean | null>(
	...values: readonly T[]
): v.OptionalSchema<Field<unknown>, undefined> {
	const fits = (input: unknown): boolean => values.some((value) => value === input);
	const known: Field<unknown> = v.custom<unknown>(
		(input) => (Array.isArray(input) ? input.every(fits) : fits(input)),
		() => values.map((value) => JSON.stringify(value)).join(' or '),
	);
	return v.optional(known, undefined);
}

/**
 * A parsed configuration file, checked.
 *
 * @param file for messages: the path of the file inside the model
 * @throws {FormatError} `E_CONFIG` naming file, key and value; `E_LIMIT` for a size above any honest model's.
 */
export function parseConfig<T extends v.ObjectEntries>(
	entries: T,
	json: unknown,
	file: string,
): v.InferOutput<v.ObjectSchema<T, undefined>> {
	if (typeof json !== 'object' || json === null || Array.isArray(json)) {
		throw new FormatError('E_CONFIG', `${quote(file)} holds no JSON object; fetch it again.`, { at: file });
	}
	const result = v.safeParse(v.object(entries), json);
	if (result.success) return result.output;
	const [issue] = result.issues;
	const key = issue.path?.map((part) => String(part.key)).join('.') ?? '';
	const tooLarge = issue.type === 'max_value' || issue.type === 'max_length';
	throw badValue(file, key, valueAt(json, issue.path?.[0]?.key), expectedOf(issue), tooLarge);
}

/** The keys of a configuration that its reader does not know (private ones, `_class_name` and the like, left out). */
export function unknownKeys(entries: v.ObjectEntries, json: unknown): readonly string[] {
	if (typeof json !== 'object' || json === null) return [];
	return Object.keys(json).filter((key) => !key.startsWith('_') && !Object.hasOwn(entries, key));
}

/** The refusal of one value of a configuration. */
export function badValue(file: string, key: string, value: unknown, expected: string, tooLarge = false): FormatError {
	return new FormatError(
		tooLarge ? 'E_LIMIT' : 'E_CONFIG',
		`${quote(file)} has ${quote(key)}: ${shown(value)}, but this runtime needs ${expected}.`,
		{ at: `${file}:${key}` },
	);
}

function valueAt(json: object, key: unknown): unknown {
	return typeof key === 'string' && Object.hasOwn(json, key) ? Object.entries(json).find(([k]) => k === key)?.[1] : undefined;
}

function shown(value: unknown): string {
	const text = value === undefined ? 'nothing' : typeof value === 'number' ? String(value) : JSON.stringify(value);
	if (typeof value === 'string') return quote(value);
	return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function expectedOf(issue: v.BaseIssue<unknown>): string {
	const { requirement } = issue as { readonly requirement?: unknown };
	switch (issue.type) {
		case 'custom':
			return issue.message;
		case 'max_value':
			return `at most ${String(requirement)}`;
		case 'min_value':
			return `at least ${String(requirement)}`;
		case 'gt_value':
			return `more than ${String(requirement)}`;
		case 'max_length':
			return `a list of at most ${String(requirement)}`;
		case 'min_length':
			return 'a list that is not empty';
		case 'integer':
			return 'a whole number';
		case 'finite':
			return 'a finite number';
		default:
			return (issue.expected ?? 'another value').toLowerCase() === 'array' ? 'a list' : (issue.expected ?? 'another value');
	}
}
