import fs from 'node:fs';
import type { Output } from './output.js';

/** Documents whose JSON Schema the command line publishes. */
export type SchemaName = 'inspect' | 'validate' | 'check' | 'hash' | 'convert' | 'receipt' | 'meta' | 'explain' | 'error';

/** Print the JSON Schema of a command's `--json`. The code is in dist/chunks, the files in dist/schema. */
export function printSchema(output: Output, name: SchemaName): void {
	output.text(fs.readFileSync(new URL(`../schema/${name}.schema.json`, import.meta.url), 'utf8'));
}
