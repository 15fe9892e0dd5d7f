import { FormatError, quote } from '@lorakit/format';
import { parseDocument } from 'yaml';

/** Largest configuration file, in characters. */
export const MAX_CONFIG_CHARACTERS: number = 1 << 20;
/** Nodes that aliases may stand for, all together. */
const MAX_ALIASES = 100;
const MAX_DEPTH = 32;

/**
 * The document of a configuration file, as plain data. JSON is YAML, so both are read.
 * @param name what to call it in messages
 * @throws {FormatError} `E_LIMIT` for too large, too deep or too many aliases; `E_CONFIG` for what is no YAML, with line and column
 */
export function readRunYaml(text: string, name: string): unknown {
	if (text.length > MAX_CONFIG_CHARACTERS) {
		throw new FormatError('E_LIMIT', `${quote(name)} has ${text.length} characters; a configuration has at most ${MAX_CONFIG_CHARACTERS}.`);
	}
	let value: unknown;
	try {
		const document = parseDocument(text, { version: '1.2', uniqueKeys: true, merge: false, logLevel: 'silent' });
		const [error] = document.errors;
		if (error !== undefined) {
			const at = error.linePos?.[0];
			const line = at === undefined ? '' : `line ${at.line}, column ${at.col}: `;
			throw new FormatError('E_CONFIG', `${quote(name)} is no YAML: ${line}${firstLine(error.message)}.`, { cause: error });
		}
		value = document.toJS({ maxAliasCount: MAX_ALIASES });
	} catch (error) {
		if (error instanceof FormatError) throw error;
		// Deep nesting overflows the stack of the parser, and too many aliases are an error of its own.
		const why = error instanceof RangeError ? 'it is nested too deep' : firstLine(error instanceof Error ? error.message : String(error));
		throw new FormatError(
			error instanceof RangeError || /alias/i.test(why) ? 'E_LIMIT' : 'E_CONFIG',
			`${quote(name)} cannot be read: ${why}.`,
			{ cause: error },
		);
	}
	checkDepth(value, name, 0);
	return value;
}

function firstLine(message: string): string {
	return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '').replace(/[.:]$/, '');
}

function checkDepth(value: unknown, name: string, depth: number): void {
	if (depth > MAX_DEPTH) throw new FormatError('E_LIMIT', `${quote(name)} is nested deeper than ${MAX_DEPTH} levels.`);
	if (typeof value !== 'object' || value === null) return;
	for (const child of Object.values(value)) checkDepth(child, name, depth + 1);
}
