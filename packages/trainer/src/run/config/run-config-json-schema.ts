import { RUN_CONFIG_SCHEMA } from './run-config-schema.js';
import { innermost, type SchemaNode } from './schema-walk.js';

type Json = Readonly<Record<string, unknown>>;

/** JSON Schema (2020-12) of a run's configuration, made from the very schema that checks it. */
export function runConfigJsonSchema(): Json {
	return {
		$schema: 'https://json-schema.org/draft/2020-12/schema',
		$id: 'https://lorakit.dev/schema/run-config.schema.json',
		title: 'lora train --config',
		description: 'A training run. Every key but base and data.path has a default.',
		...convert(RUN_CONFIG_SCHEMA as unknown as SchemaNode),
	};
}

function convert(node: SchemaNode): Json {
	if (node.type === 'optional') {
		const inner = convert(node.wrapped as SchemaNode);
		const value = typeof node.default === 'function' ? (node.default as () => unknown)() : node.default;
		// A group of keys needs no default: its keys have theirs.
		return value === undefined || inner['type'] === 'object' ? inner : { ...inner, default: value };
	}
	if (node.type === 'nullable') {
		const inner = convert(node.wrapped as SchemaNode);
		if (typeof inner['type'] === 'string') {
			const { enum: values, ...rest } = inner;
			const names = Array.isArray(values) ? { enum: [...values, null] } : {};
			return { ...rest, type: [inner['type'], 'null'], ...names };
		}
		return { anyOf: [inner, { type: 'null' }] };
	}
	return { ...shapeOf(node), ...checksOf(node) };
}

function shapeOf(node: SchemaNode): Json {
	switch (node.type) {
		case 'strict_object': {
			const entries = Object.entries(node.entries ?? {});
			const required = entries.filter(([, entry]) => isRequired(entry)).map(([key]) => key);
			return {
				type: 'object',
				properties: Object.fromEntries(entries.map(([key, entry]) => [key, convert(entry)])),
				...(required.length === 0 ? {} : { required }),
				additionalProperties: false,
			};
		}
		case 'variant':
			// Without its kind it is the first.
			return {
				oneOf: (node.options ?? []).map((option, i) =>
					i === 0 ? withoutRequired(convert(option as SchemaNode)) : convert(option as SchemaNode),
				),
			};
		case 'array':
			return { type: 'array', items: convert(node.item as SchemaNode) };
		case 'strict_tuple': {
			const items = (node.items ?? []).map(convert);
			return { type: 'array', prefixItems: items, minItems: items.length, maxItems: items.length };
		}
		case 'picklist':
			return { type: 'string', enum: node.options };
		case 'literal':
			return { const: node.literal };
		case 'string':
		case 'boolean':
			return { type: node.type };
		case 'number':
			return { type: node.pipe?.some(({ type }) => type === 'integer') === true ? 'integer' : 'number' };
		default:
			throw new TypeError(`no JSON Schema for a ${innermost(node).type}`);
	}
}

function withoutRequired({ required: _, ...rest }: Json): Json {
	return rest;
}

/** A group that may be left out must be there all the same when one of its keys must. */
function isRequired(node: SchemaNode): boolean {
	if (node.type === 'nullable') return false;
	if (node.type === 'optional') return node.wrapped?.entries !== undefined && isRequired(node.wrapped);
	return node.entries === undefined || Object.values(node.entries).some(isRequired);
}

function checksOf(node: SchemaNode): Json {
	const out: Record<string, unknown> = {};
	const text = node.type === 'string';
	for (const { type, requirement, description } of node.pipe ?? []) {
		if (type === 'description') out['description'] = description;
		if (type === 'min_value' && Number.isFinite(requirement)) out['minimum'] = requirement;
		if (type === 'max_value' && Number.isFinite(requirement)) out['maximum'] = requirement;
		if (type === 'lt_value') out['exclusiveMaximum'] = requirement;
		if (type === 'gt_value') out['exclusiveMinimum'] = requirement;
		if (type === 'min_length') out[text ? 'minLength' : 'minItems'] = requirement;
		if (type === 'max_length') out[text ? 'maxLength' : 'maxItems'] = requirement;
	}
	return out;
}
