import fs from 'node:fs';
import type { Output } from './output.js';

/** Documents whose JSON Schema the command line publishes. */
export type SchemaName =
	| 'inspect'
	| 'validate'
	| 'check'
	| 'hash'
	| 'convert'
	| 'verify'
	| 'unfuse'
	| 'fuse'
	| 'merge'
	| 'scale'
	| 'split'
	| 'join'
	| 'resize'
	| 'extract'
	| 'diff'
	| 'generate'
	| 'train'
	| 'doctor'
	| 'receipt'
	| 'meta'
	| 'explain'
	| 'error';

/** Print the JSON Schema of a command's `--json`. The code is in dist/chunks, the files in dist/schema. */
export function printSchema(output: Output, name: SchemaName): void {
	const own = read(name);
	if (name === 'error' || name === 'receipt') {
		output.text(`${JSON.stringify(own, undefined, '\t')}\n`);
		return;
	}
	// A refused file gives lora.error/1 in place of the document.
	const { $schema, title } = own;
	output.text(`${JSON.stringify({ $schema, title, oneOf: [own, read('error')] }, undefined, '\t')}\n`);
}

function read(name: SchemaName): Readonly<Record<string, unknown>> {
	return JSON.parse(fs.readFileSync(new URL(`../schema/${name}.schema.json`, import.meta.url), 'utf8')) as Readonly<
		Record<string, unknown>
	>;
}
