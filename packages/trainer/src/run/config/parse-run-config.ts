import { FormatError, nearestName, quote } from '@lorakit/format';
import * as v from 'valibot';
import { checkRunConfig } from './check-run-config.js';
import { withObjectiveDefaults } from './objective-defaults.js';
import type { Objective, RunConfig } from './run-config.js';
import { RUN_CONFIG_SCHEMA } from './run-config-schema.js';
import { childOf, innermost, keysOf, type SchemaNode } from './schema-walk.js';

/** Where values come from, for messages. */
export interface ConfigOrigin {
	/** Such as `run.yaml`. */
	readonly name: string;
	/** Flag that gave the value of a key path (`--learning-rate`, `--set train.learning_rate`), where one did. */
	readonly flagOf?: ReadonlyMap<string, string> | undefined;
}

/**
 * A whole configuration from a document as YAML gives it.
 * @throws {FormatError} `E_CONFIG`, one sentence a key (the first ten): the key's path, what is there, what is expected,
 *   the nearest known name of an unknown key
 */
export function parseRunConfig(document: unknown, objective: Objective, origin: ConfigOrigin): RunConfig {
	if (typeof document !== 'object' || document === null || Array.isArray(document)) {
		throw new FormatError(
			'E_CONFIG',
			`${origin.name} holds ${kindOf(document)} where a table of keys is expected, such as base: and data:.`,
		);
	}
	const result = v.safeParse(RUN_CONFIG_SCHEMA, withObjectiveDefaults(document as Readonly<Record<string, unknown>>, objective));
	if (!result.success) {
		const sentences = [...new Set(result.issues.map((issue) => sentenceOf(issue, origin)))];
		const more = sentences.length > MAX_SENTENCES ? ` ${sentences.length - MAX_SENTENCES} more are wrong.` : '';
		throw new FormatError('E_CONFIG', `${sentences.slice(0, MAX_SENTENCES).join(' ')}${more}`, { at: pathOf(result.issues[0]) });
	}
	checkRunConfig(result.output, objective, origin);
	return result.output;
}

const MAX_SENTENCES = 10;

type Issue = v.BaseIssue<unknown>;

function sentenceOf(issue: Issue, origin: ConfigOrigin): string {
	const path = pathOf(issue);
	const where = `${origin.flagOf?.get(path) ?? origin.name}: ${quote(path)}`;
	const last = issue.path?.at(-1) as
		| { readonly value?: unknown; readonly key?: unknown; readonly input?: { readonly kind?: unknown } }
		| undefined;
	if (issue.type === 'strict_object' && issue.expected === 'never') {
		const parent = path.includes('.') ? path.slice(0, path.lastIndexOf('.')) : '';
		const keys = keysOf(nodeAt(parent), last?.input?.kind) ?? [];
		const near = nearestName(String(last?.key), keys);
		return `${where} is no key${parent === '' ? '' : ` of ${quote(parent)}`}; ${near === undefined ? `known are ${keys.join(', ')}` : `did you mean ${quote(near)}?`}${near === undefined ? '.' : ''}`;
	}
	if (issue.received === 'undefined') return `${where} is missing; ${aboutOf(path)}`;
	return `${where} is ${shown(last?.value)}, but ${expectedOf(issue)} is expected.`;
}

function expectedOf(issue: Issue): string {
	const { requirement } = issue as { readonly requirement?: unknown };
	switch (issue.type) {
		case 'min_value':
			return `${String(requirement)} or more`;
		case 'max_value':
			return `${String(requirement)} or less`;
		case 'gt_value':
			return `a number above ${String(requirement)}`;
		case 'lt_value':
			return `a number below ${String(requirement)}`;
		case 'integer':
			return 'a whole number';
		case 'finite':
			return 'a finite number';
		case 'min_length':
			return issue.kind === 'validation' && requirement === 1
				? 'something that is not empty'
				: `a length of ${String(requirement)} or more`;
		case 'max_length':
			return `a length of ${String(requirement)} or less`;
		case 'picklist':
		case 'variant':
			return `one of ${(issue.expected ?? '').replaceAll(/[()]/g, '').replaceAll(' | ', ', ')}`;
		case 'boolean':
			return 'true or false';
		case 'string':
			return 'a text';
		case 'number':
			return 'a number';
		case 'array':
		case 'strict_tuple':
			return 'a list';
		case 'strict_object':
			return 'a table of keys';
		default:
			return issue.message;
	}
}

/** Path of an issue as people write it: `train.learning_rate`, `validation.prompts[2]`. */
function pathOf(issue: Issue | undefined): string {
	return (issue?.path ?? [])
		.map((item) => (item as { readonly key?: unknown }).key)
		.reduce<string>(
			(path, key) => (typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`),
			'',
		);
}

/** The schema at a path; that of the nearest known parent where the path goes on. */
function nodeAt(path: string): SchemaNode {
	let node = RUN_CONFIG_SCHEMA as unknown as SchemaNode;
	for (const key of path.split(/[.[\]]+/).filter((k) => k !== '')) node = childOf(node, key) ?? node;
	return node;
}

function aboutOf(path: string): string {
	const described = innermost(nodeAt(path)).pipe?.find(({ type }) => type === 'description')?.description;
	return described === undefined ? 'give it.' : `give it: ${described}`;
}

function shown(value: unknown): string {
	if (typeof value === 'string') return quote(value);
	if (typeof value === 'object' && value !== null) return kindOf(value);
	return String(value);
}

function kindOf(value: unknown): string {
	if (value === null || value === undefined) return 'nothing';
	if (Array.isArray(value)) return 'a list';
	return typeof value === 'object' ? 'a table of keys' : typeof value === 'string' ? 'a text' : `a ${typeof value}`;
}
