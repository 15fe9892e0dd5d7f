import fs from 'node:fs';
import type { Report } from '../report/report.js';
import { UsageError } from '../usage-error.js';

/** @throws {UsageError} for what `run --json` did not write. */
export function readReport(file: string): Report {
	let value: unknown;
	try {
		value = JSON.parse(fs.readFileSync(file, 'utf8'));
	} catch {
		throw new UsageError(`${file} cannot be read as JSON; give a file that "run --json" wrote.`);
	}
	if (typeof value !== 'object' || value === null || (value as { schema?: unknown }).schema !== 'lora.conformance/1') {
		throw new UsageError(`${file} is no report of this version (schema lora.conformance/1).`);
	}
	return value as Report;
}
