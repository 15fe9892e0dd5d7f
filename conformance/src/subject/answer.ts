import type { Level, Precision, TensorFacts } from '../suite/case.js';
import { LEVELS, PRECISIONS } from '../suite/case.js';

/** What a subject says of itself. */
export interface Started {
	readonly name: string;
	readonly version: string;
	readonly language: string | undefined;
	readonly homepage: string | undefined;
	readonly issues: string | undefined;
	readonly device: string | undefined;
	readonly precision: Precision;
	/** Undefined: everything may be asked. */
	readonly features: ReadonlySet<string> | undefined;
	readonly levels: ReadonlySet<Level> | undefined;
}

/** An answer to a case, checked for its form. */
export type Answer =
	| {
			readonly kind: 'ok';
			readonly tensors: ReadonlyMap<string, TensorFacts> | undefined;
			readonly layout: string | undefined;
			readonly modules: ReadonlyMap<string, number | null> | undefined;
			readonly unmatched: readonly string[] | undefined;
			/** NaN: accepted, not finite. */
			readonly scaling: ReadonlyMap<string, number> | undefined;
	  }
	| { readonly kind: 'refused'; readonly code: string | undefined; readonly message: string }
	| { readonly kind: 'skipped'; readonly message: string; readonly url: string | undefined }
	| { readonly kind: 'error'; readonly message: string };

type Fields = ReadonlyMap<string, unknown>;

/** Text of a subject in reports: no control characters, no bidirectional overrides, at most `limit` characters. */
export function tame(value: unknown, limit = 300): string {
	const text = String(value)
		.slice(0, limit * 2)
		.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+/gu, ' ');
	return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

/** @returns the reason as a string when it is no `started` answer. */
export function parseStarted(fields: Fields): Started | string {
	if (fields.get('protocol') !== 1)
		return `the answer to start must say "protocol": 1, got ${tame(JSON.stringify(fields.get('protocol')), 40)}`;
	const about = asFields(fields.get('implementation'));
	const name = about?.get('name');
	const version = about?.get('version');
	if (typeof name !== 'string' || name === '') return 'the answer to start has no implementation.name';
	if (typeof version !== 'string' || /^(main|master|latest|HEAD|)$/.test(version)) {
		return 'the answer to start needs implementation.version, a number or a commit, not a branch';
	}
	const precision = PRECISIONS.find((p) => p === fields.get('precision'));
	if (precision === undefined) return 'the answer to start needs precision: f32, f16 or bf16';
	const features = fields.get('features');
	const levels = fields.get('levels');
	if (features !== undefined && !Array.isArray(features)) return 'features in the answer to start must be a list';
	if (levels !== undefined && !Array.isArray(levels)) return 'levels in the answer to start must be a list';
	const text = (key: string): string | undefined => {
		const value = about?.get(key);
		return typeof value === 'string' ? tame(value) : undefined;
	};
	const device = fields.get('device');
	return {
		name: tame(name, 80),
		version: tame(version, 80),
		language: text('language'),
		homepage: text('homepage'),
		issues: text('issues'),
		device: typeof device === 'string' ? tame(device, 80) : undefined,
		precision,
		features: features === undefined ? undefined : new Set(features.slice(0, 200).map(String)),
		levels: levels === undefined ? undefined : new Set(LEVELS.filter((l) => levels.includes(l))),
	};
}

/** @returns the reason as a string when it is no answer of the protocol. */
export function parseAnswer(fields: Fields): Answer | string {
	if (fields.get('refused') === true) {
		const code = fields.get('code');
		return { kind: 'refused', code: typeof code === 'string' ? tame(code, 60) : undefined, message: tame(fields.get('message') ?? '') };
	}
	if (fields.get('skipped') === true) {
		const url = fields.get('url');
		return {
			kind: 'skipped',
			message: tame(fields.get('message') ?? 'no reason given'),
			url: typeof url === 'string' && /^https?:\/\//.test(url) ? tame(url) : undefined,
		};
	}
	const error = fields.get('error');
	if (error !== undefined) {
		const message = asFields(error)?.get('message') ?? error;
		return { kind: 'error', message: tame(message, 600) };
	}
	if (fields.get('ok') !== true) return 'an answer must say ok, refused, skipped or error';
	const unmatched = fields.get('unmatched');
	const layout = fields.get('layout');
	const tensors = mapOf(fields.get('tensors'), factsOf);
	const modules = mapOf(fields.get('modules'), (v) => (v === null || Number.isSafeInteger(v) ? { value: v as number | null } : undefined));
	// JSON has no word for infinity and NaN: null says that the scaling was accepted and is not finite.
	const scaling = mapOf(fields.get('scaling'), (v) =>
		v === null ? { value: Number.NaN } : typeof v === 'number' ? { value: v } : undefined,
	);
	for (const [key, value] of [
		['tensors', tensors],
		['modules', modules],
		['scaling', scaling],
	] as const) {
		if (value === 'bad') return `"${key}" in the answer has not the form that PROTOCOL.md says`;
	}
	if (unmatched !== undefined && !(Array.isArray(unmatched) && unmatched.every((u) => typeof u === 'string'))) {
		return '"unmatched" in the answer must be a list of names';
	}
	return {
		kind: 'ok',
		tensors: tensors === 'bad' ? undefined : tensors,
		modules: modules === 'bad' ? undefined : modules,
		scaling: scaling === 'bad' ? undefined : scaling,
		layout: typeof layout === 'string' ? layout : undefined,
		unmatched: unmatched as readonly string[] | undefined,
	};
}

/** Own enumerable fields, never the prototype's. */
export function asFields(value: unknown): Fields | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map(Object.entries(value));
}

function mapOf<T>(value: unknown, convert: (v: unknown) => { readonly value: T } | undefined): ReadonlyMap<string, T> | undefined | 'bad' {
	if (value === undefined) return undefined;
	const fields = asFields(value);
	if (fields === undefined) return 'bad';
	const out = new Map<string, T>();
	for (const [key, item] of fields) {
		const converted = convert(item);
		if (converted === undefined) return 'bad';
		out.set(key, converted.value);
	}
	return out;
}

function factsOf(value: unknown): { readonly value: TensorFacts } | undefined {
	const fields = asFields(value);
	const dtype = fields?.get('dtype');
	const shape = fields?.get('shape');
	const sha256 = fields?.get('sha256');
	if (typeof dtype !== 'string' || typeof sha256 !== 'string' || !Array.isArray(shape)) return undefined;
	return { value: { dtype, shape: shape as readonly number[], sha256 } };
}
