import path from 'node:path';
import type { Case } from '../suite/case.js';
import { fileRefs } from '../suite/load-suite.js';

/** The line that a subject gets for a case. @param local absolute path of a copy of a suite file */
export function buildRequest(entry: Case, id: number, dir: string, local: (ref: string) => string): Record<string, unknown> {
	const refs = new Set(fileRefs(entry.request));
	const { op, ...rest } = absolute(entry.request, refs, local) as Record<string, unknown>;
	const request: Record<string, unknown> = { id, case: entry.id, op, ...rest, dir };
	if (op === 'delta' || op === 'forward' || op === 'image') request['out'] = outputPath(dir, 'out');
	if (op === 'image') request['png'] = outputPath(dir, 'png');
	if (op === 'weights') {
		request['actions'] = (request['actions'] as readonly Record<string, unknown>[]).map((action) =>
			action['do'] === 'export' ? { ...action, out: outputPath(dir, String(action['as'])) } : action,
		);
	}
	return request;
}

/** Where a subject writes `out`, `png`, or an export of that name. */
export function outputPath(dir: string, name: string): string {
	return path.join(dir, name === 'png' ? 'image.png' : `${name}.safetensors`);
}

function absolute(value: unknown, refs: ReadonlySet<string>, local: (ref: string) => string): unknown {
	if (typeof value === 'string') return refs.has(value) ? local(value) : value;
	if (Array.isArray(value)) return value.map((item) => absolute(item, refs, local));
	if (typeof value !== 'object' || value === null) return value;
	return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, absolute(item, refs, local)]));
}
