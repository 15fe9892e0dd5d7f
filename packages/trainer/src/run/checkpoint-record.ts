import { createSha256, FormatError, quote } from '@lorakit/format';
import * as v from 'valibot';
import { OBJECTIVES } from './config/run-config.js';
import type { CheckpointReason } from './run-events.js';
import type { RunIdentity } from './run-identity.js';
import type { BestMeasured } from './run-snapshot.js';

export const STATE_NAME = 'state.json';
export const TENSORS_NAME = 'training-state.safetensors';
/** Largest `state.json`: generators and configuration are some 60 kB. */
export const MAX_STATE_BYTES: number = 16 * 1024 * 1024;

/** Tables within tables of it: a configuration has four. */
const MAX_STATE_DEPTH = 32;

/** A file of a checkpoint. */
export interface CheckpointFile {
	readonly name: string;
	readonly bytes: number;
	readonly sha256: string;
}

/** `state.json` of a checkpoint. */
export interface CheckpointRecord {
	readonly schema: 'lora.checkpoint/1';
	readonly step: number;
	readonly reason: CheckpointReason;
	readonly run: RunIdentity;
	readonly batches: unknown;
	readonly scaler: unknown;
	readonly best: BestMeasured | null;
	/** As `RunSnapshot.validationDue`. */
	readonly validationDue: boolean;
	/** Every other file of the folder. */
	readonly files: readonly CheckpointFile[];
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const texts = v.record(v.string(), v.string());
const RECORD = v.object({
	schema: v.literal('lora.checkpoint/1'),
	step: count,
	reason: v.picklist(['every', 'best', 'stopped', 'nonfinite', 'end']),
	run: v.object({
		objective: v.picklist(OBJECTIVES),
		config: v.looseObject({}),
		data: texts,
		base: texts,
		engine: v.object({ id: v.string(), device: v.string(), threads: v.number() }),
		versions: texts,
	}),
	batches: v.unknown(),
	scaler: v.unknown(),
	best: v.nullable(v.object({ step: count, loss: v.number(), since: count })),
	validationDue: v.boolean(),
	files: v.pipe(
		v.array(
			v.object({
				// A name, never a path out of the folder.
				name: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.<>+-]{0,200}$/)),
				bytes: count,
				sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
			}),
		),
		v.maxLength(1000),
	),
});

/** What `parseCheckpointRecord` reads: JSON with the digest of itself at its end, so that no changed digit goes unseen. */
export function checkpointText(record: CheckpointRecord): string {
	return `${JSON.stringify({ ...record, sha256: digestOf(record) }, undefined, '\t')}\n`;
}

/** SHA-256 of it as JSON without white space: what is read back gives the same text. */
function digestOf(record: unknown): string {
	const hash = createSha256();
	hash.update(new TextEncoder().encode(JSON.stringify(record)));
	return hash.digestHex();
}

/** @throws {FormatError} `E_FORMAT`: what is wrong with it; `E_LIMIT`: it is nested too deep */
export function parseCheckpointRecord(text: string, name: string): CheckpointRecord {
	let document: unknown;
	try {
		document = JSON.parse(text);
	} catch (error) {
		throw new FormatError('E_FORMAT', `${quote(name)} is no JSON.`, { cause: error });
	}
	if (deeperThan(document, MAX_STATE_DEPTH)) {
		throw new FormatError('E_LIMIT', `${quote(name)} is nested deeper than ${MAX_STATE_DEPTH} levels; it is no state of a checkpoint.`);
	}
	const result = v.safeParse(RECORD, document);
	if (!result.success) {
		const [issue] = result.issues;
		throw new FormatError(
			'E_FORMAT',
			`${quote(name)} is no state of a checkpoint: ${v.getDotPath(issue) ?? 'it'} is ${issue.received}, expected ${issue.expected ?? 'something else'}.`,
		);
	}
	const { sha256, ...record } = document as Readonly<Record<string, unknown>>;
	if (sha256 !== digestOf(record)) {
		throw new FormatError('E_FORMAT', `${quote(name)} is not what was written: the SHA-256 at its end is another one.`);
	}
	return result.output as unknown as CheckpointRecord;
}

/** Whether something lies below that many levels. */
function deeperThan(value: unknown, levels: number): boolean {
	if (typeof value !== 'object' || value === null) return false;
	return levels === 0 || Object.values(value).some((child) => deeperThan(child, levels - 1));
}

/** `checkpoint-000100` */
export function checkpointName(step: number): string {
	return `checkpoint-${String(step).padStart(6, '0')}`;
}

/** The step of a checkpoint's name; undefined for another name. */
export function stepOfName(name: string): number | undefined {
	const found = /^checkpoint-(\d{6,15})$/.exec(name);
	return found === null ? undefined : Number(found[1]);
}
