import { FormatError, quote, type Warning } from '../errors.js';
import { MAX_SIDE_FILE_BYTES } from '../limits.js';
import type { PeftScaling } from './peft-scaling.js';
import { type Json, pythonJson } from './python-json.js';

/** The PEFT methods whose files we read and write. */
export const PEFT_TYPES = ['LORA', 'LOHA', 'LOKR', 'OFT', 'BOFT', 'IA3'] as const;
export type PeftType = (typeof PEFT_TYPES)[number];

/** What an adapter_config.json says that matters to the weights. Source: huggingface/peft@5d602fd src/peft/tuners/{type}/config.py. */
export interface PeftConfig {
	readonly type: PeftType;
	readonly scaling: PeftScaling;
	readonly useDora: boolean;
	readonly fanInFanOut: boolean;
	/** `none`, `all`, `lora_only`, ... */
	readonly bias: string;
	readonly modulesToSave: readonly string[];
	/** Names or suffixes of the adapted modules; undefined where the file gives a pattern or a shorthand. */
	readonly targets: readonly string[] | undefined;
	/** `auto_mapping.base_model_class` and `task_type`: hints at what model this is for. */
	readonly baseClass: string | undefined;
	readonly taskType: string | undefined;
	readonly warnings: readonly Warning[];
}

/** Largest rank that we believe; a model has no wider layer. */
export const MAX_CONFIG_RANK: number = 1_000_000;

/**
 * Read and check an adapter_config.json.
 *
 * @throws {FormatError} `E_LIMIT` over the size limit; `E_CONFIG` when it is no JSON object or a field that decides
 *   the weights makes no sense; `E_UNSUPPORTED_ADAPTER`, by name, for methods that are not read here.
 */
export function parseAdapterConfig(text: string): PeftConfig {
	if (text.length > MAX_SIDE_FILE_BYTES) {
		throw new FormatError('E_LIMIT', `adapter_config.json has ${text.length} characters; the limit is ${MAX_SIDE_FILE_BYTES}.`);
	}
	const fields = parseObject(text);
	if (fields === undefined)
		throw new FormatError('E_CONFIG', 'adapter_config.json is not a JSON object; fetch it again beside the weights.');
	const type = peftType(fields);
	const warnings: Warning[] = [];
	checkVariant(fields, 'adapter_config.json', (w) => warnings.push(w));
	const fanInFanOut = flag(fields, 'fan_in_fan_out', 'adapter_config.json');
	if (fanInFanOut) {
		warnings.push({
			code: 'W_RUNTIMES_DIFFER',
			message:
				'adapter_config.json says fan_in_fan_out: the base stores these weights transposed (Conv1D), which only PEFT knows; other readers would apply the delta the wrong way round.',
		});
	}
	const mapping = object(fields.get('auto_mapping'));
	return {
		type,
		scaling: type === 'LORA' || type === 'LOHA' || type === 'LOKR' ? scalingFields(fields, type, 'adapter_config.json') : NO_SCALING,
		useDora: flag(fields, 'use_dora', 'adapter_config.json'),
		fanInFanOut,
		bias: typeof fields.get('bias') === 'string' ? String(fields.get('bias')) : 'none',
		modulesToSave: strings(fields.get('modules_to_save')) ?? [],
		targets: strings(fields.get('target_modules')),
		baseClass: textOf(mapping?.get('base_model_class')),
		taskType: textOf(fields.get('task_type')),
		warnings,
	};
}

const NO_SCALING: PeftScaling = { r: 0, alpha: null, rslora: false, rankPattern: new Map(), alphaPattern: new Map() };

/** The fields of a JSON object as a Map; undefined when the text is anything else. */
export function parseObject(text: string): ReadonlyMap<string, unknown> | undefined {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return undefined;
	}
	return object(value);
}

function object(value: unknown): ReadonlyMap<string, unknown> | undefined {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
	return new Map<string, unknown>(Object.entries(value));
}

function peftType(fields: ReadonlyMap<string, unknown>): PeftType {
	const value = fields.get('peft_type') ?? (fields.has('lora_alpha') ? 'LORA' : undefined);
	if (typeof value !== 'string') {
		throw new FormatError('E_CONFIG', `adapter_config.json has peft_type ${shown(value)}; expected a name such as "LORA".`, {
			at: 'peft_type',
		});
	}
	for (const type of PEFT_TYPES) if (type === value.toUpperCase()) return type;
	throw new FormatError(
		'E_UNSUPPORTED_ADAPTER',
		`adapter_config.json says peft_type ${quote(value)}; only ${PEFT_TYPES.join(', ')} are supported here, use PEFT itself for this one.`,
		{ at: 'peft_type' },
	);
}

/**
 * r, alpha and patterns of a configuration, with PEFT's defaults for what is left out.
 * @throws {FormatError} `E_CONFIG`.
 */
export function scalingFields(fields: ReadonlyMap<string, unknown>, type: PeftType, where: string): PeftScaling {
	const alphaKey = type === 'LORA' ? 'lora_alpha' : 'alpha';
	const r = fields.get('r') ?? 8;
	if (!isRank(r)) throw nonsense(where, 'r', r, 'a positive integer');
	const alpha = fields.get(alphaKey) ?? 8;
	if (!isFiniteNumber(alpha)) throw nonsense(where, alphaKey, alpha, 'a finite number');
	return {
		r,
		alpha,
		rslora: type === 'LORA' && flag(fields, 'use_rslora', where),
		rankPattern: pattern(fields, 'rank_pattern', where, isRank, 'positive integers'),
		alphaPattern: pattern(fields, 'alpha_pattern', where, isFiniteNumber, 'finite numbers'),
	};
}

/**
 * LoRA variants that change what the factors mean, or the base they belong to.
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER` by name.
 */
export function checkVariant(fields: ReadonlyMap<string, unknown>, where: string, warn: (warning: Warning) => void): void {
	for (const [field, name] of VARIANTS) {
		const value = fields.get(field);
		if (value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0)) continue;
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${where} sets ${field} (${name}), which changes what the factors mean; use PEFT itself for this one.`,
			{
				at: field,
			},
		);
	}
	const init = fields.get('init_lora_weights');
	if (typeof init === 'string' && /^(pissa|olora|corda|loftq|lora_ga)/i.test(init)) {
		warn({
			code: 'W_BASE_CHANGED',
			message: `${where} says init_lora_weights ${quote(init)}: training changed the base weights too, so these factors alone are no difference to the original base.`,
			at: 'init_lora_weights',
		});
	}
	for (const field of ['layer_replication', 'kasa_config']) {
		const value = fields.get(field);
		if (value !== undefined && value !== null) {
			warn({
				code: 'W_BASE_CHANGED',
				message: `${where} sets ${field}: the adapter belongs to a changed base, not to the original.`,
				at: field,
			});
		}
	}
}

const VARIANTS: readonly (readonly [string, string])[] = [
	['use_qalora', 'QALoRA'],
	['use_bdlora', 'BD-LoRA'],
	['arrow_config', 'Arrow routing'],
	['target_parameters', 'LoRA on bare parameters'],
];

function pattern(
	fields: ReadonlyMap<string, unknown>,
	key: string,
	where: string,
	good: (value: unknown) => value is number,
	expected: string,
): ReadonlyMap<string, number> {
	const value = fields.get(key);
	const out = new Map<string, number>();
	if (value === undefined || value === null) return out;
	const entries = object(value);
	if (entries === undefined) throw nonsense(where, key, value, `an object of ${expected}`);
	for (const [name, entry] of entries) {
		if (!good(entry)) throw nonsense(where, `${key}.${name}`, entry, expected);
		out.set(name, entry);
	}
	return out;
}

function flag(fields: ReadonlyMap<string, unknown>, key: string, where: string): boolean {
	const value = fields.get(key) ?? false;
	if (typeof value !== 'boolean') throw nonsense(where, key, value, 'true or false');
	return value;
}

function isRank(value: unknown): value is number {
	return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= MAX_CONFIG_RANK;
}

function isFiniteNumber(value: unknown): value is number {
	return typeof value === 'number' && Number.isFinite(value);
}

function strings(value: unknown): readonly string[] | undefined {
	if (!Array.isArray(value)) return undefined;
	const out: string[] = [];
	for (const entry of value) if (typeof entry === 'string') out.push(entry);
	return out;
}

function textOf(value: unknown): string | undefined {
	return typeof value === 'string' ? value : undefined;
}

function nonsense(where: string, key: string, value: unknown, expected: string): FormatError {
	return new FormatError('E_CONFIG', `${where} has ${quote(key)}: ${shown(value)}; expected ${expected}.`, { at: key });
}

/** A short, safe picture of a JSON value; never recursive. */
function shown(value: unknown): string {
	if (value === undefined) return 'nothing';
	if (typeof value === 'string') return quote(value);
	if (typeof value === 'object' && value !== null) return Array.isArray(value) ? `a list of ${value.length}` : 'an object';
	return String(value);
}

/** What a generated configuration has to say. */
export interface ConfigParts {
	readonly type: PeftType;
	readonly scaling: PeftScaling | undefined;
	/** Full module names. */
	readonly targets: readonly string[];
	readonly useDora: boolean;
	readonly loraBias: boolean;
	readonly modulesToSave: readonly string[];
	/** Fields of one method only (decompose_factor, oft_block_size, ...). */
	readonly extra: ReadonlyMap<string, Json>;
}

/** The fields of a LoRA configuration that decide what the factors mean, for `LoraConfig(**fields)`. */
export function configFields(parts: ConfigParts): Map<string, Json> {
	const fields = new Map<string, Json>([
		['peft_type', parts.type],
		['target_modules', [...parts.targets].sort()],
	]);
	if (parts.scaling !== undefined) {
		fields.set('r', parts.scaling.r);
		fields.set(parts.type === 'LORA' ? 'lora_alpha' : 'alpha', parts.scaling.alpha ?? parts.scaling.r);
		fields.set('rank_pattern', Object.fromEntries(parts.scaling.rankPattern));
		fields.set('alpha_pattern', Object.fromEntries(parts.scaling.alphaPattern));
	}
	if (parts.type === 'LORA') {
		fields.set('bias', 'none');
		fields.set('use_dora', parts.useDora);
		fields.set('use_rslora', parts.scaling?.rslora ?? false);
		// Only where it is needed: releases before 0.14 do not know the field.
		if (parts.loraBias) fields.set('lora_bias', true);
	}
	for (const [key, value] of parts.extra) fields.set(key, value);
	return fields;
}

/** adapter_config.json as PEFT lays it out, with the fewest fields that PEFT 0.21 needs to load the weights rightly. */
export function buildAdapterConfig(parts: ConfigParts): string {
	const fields = configFields(parts);
	fields.set('base_model_name_or_path', null);
	fields.set('inference_mode', true);
	fields.set('task_type', null);
	fields.set('modules_to_save', parts.modulesToSave.length === 0 ? null : [...parts.modulesToSave].sort());
	return pythonJson(Object.fromEntries(fields));
}
