/**
 * JSON text as Python's `json.dumps(value, indent=2, sort_keys=True)` writes it, which is how diffusers and PEFT
 * write their configurations: two blanks, keys sorted by code point, `\uXXXX` for everything outside ASCII.
 */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Numbers stand as JavaScript writes them (`8`, not `8.0`): the same number to every reader. Only for our own, shallow values. */
export function pythonJson(value: Json): string {
	return write(value, '');
}

/** One line, as `json.dumps(value)`: `["CrossAttention", "GEGLU"]`. */
export function pythonJsonLine(values: readonly string[]): string {
	return `[${values.map(quoteAscii).join(', ')}]`;
}

function write(value: Json, indent: string): string {
	if (typeof value === 'string') return quoteAscii(value);
	if (value === null || typeof value !== 'object') return JSON.stringify(value);
	const inner = `${indent}  `;
	if (isList(value)) {
		if (value.length === 0) return '[]';
		return `[\n${value.map((v) => inner + write(v, inner)).join(',\n')}\n${indent}]`;
	}
	const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
	if (entries.length === 0) return '{}';
	return `{\n${entries.map(([k, v]) => `${inner}${quoteAscii(k)}: ${write(v, inner)}`).join(',\n')}\n${indent}}`;
}

function isList(value: Json): value is readonly Json[] {
	return Array.isArray(value);
}

function quoteAscii(text: string): string {
	return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
