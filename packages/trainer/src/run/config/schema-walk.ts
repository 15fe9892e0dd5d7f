/** A schema object of valibot as data: what a walk over it needs. */
export interface SchemaNode {
	readonly type: string;
	readonly wrapped?: SchemaNode;
	readonly default?: unknown;
	readonly entries?: Readonly<Record<string, SchemaNode>>;
	readonly options?: readonly unknown[];
	readonly item?: SchemaNode;
	readonly items?: readonly SchemaNode[];
	readonly literal?: unknown;
	readonly pipe?: readonly SchemaAction[];
}

/** A step of a pipe: a check with its requirement, or a description. */
export interface SchemaAction {
	readonly kind: string;
	readonly type: string;
	readonly requirement?: unknown;
	readonly description?: string;
}

/** Below `optional` and `nullable`. */
export function innermost(node: SchemaNode): SchemaNode {
	return node.wrapped === undefined ? node : innermost(node.wrapped);
}

/** What stands under a key or index; undefined where the schema has nothing of that name. */
export function childOf(node: SchemaNode, key: string | number): SchemaNode | undefined {
	const inner = innermost(node);
	if (inner.entries !== undefined) return Object.hasOwn(inner.entries, key) ? inner.entries[String(key)] : undefined;
	if (inner.type === 'variant') {
		for (const option of inner.options ?? []) {
			const found = childOf(option as SchemaNode, key);
			if (found !== undefined) return found;
		}
		return undefined;
	}
	return inner.type === 'array' ? inner.item : inner.items?.[Number(key)];
}

/**
 * The names that may stand in an object; undefined where any may, or where it is no object.
 * @param kind of a variant: only the keys of this one
 */
export function keysOf(node: SchemaNode, kind?: unknown): readonly string[] | undefined {
	const inner = innermost(node);
	if (inner.entries !== undefined) return Object.keys(inner.entries);
	if (inner.type !== 'variant') return undefined;
	const options = (inner.options ?? []) as readonly SchemaNode[];
	const chosen = options.filter((option) => option.entries?.['kind']?.literal === kind);
	return [...new Set((chosen.length === 0 ? options : chosen).flatMap((option) => keysOf(option) ?? []))];
}
