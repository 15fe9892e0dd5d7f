import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote, readSafetensors } from '@lorakit/format';
import { errnoOf, hashFile, openFileSource, quotePath, readError } from '@lorakit/format/node';
import {
	type CheckpointRecord,
	checkpointName,
	MAX_STATE_BYTES,
	parseCheckpointRecord,
	STATE_NAME,
	stepOfName,
	TENSORS_NAME,
} from '../../run/checkpoint-record.js';
import { compareRuns, type RunDifference, type RunIdentity } from '../../run/run-identity.js';
import type { RunSnapshot } from '../../run/run-snapshot.js';
import { readSnapshotTensors } from '../../run/snapshot-tensors.js';
import { checkpointSteps } from './checkpoint-store.js';

/** A checkpoint that was found whole. */
export interface FoundCheckpoint {
	readonly name: string;
	readonly folder: string;
	readonly record: CheckpointRecord;
	readonly snapshot: RunSnapshot;
	/** Newer ones that are damaged, and how. */
	readonly damaged: readonly { readonly name: string; readonly why: string }[];
}

/**
 * The newest whole checkpoint of a run folder, every file's digest verified; undefined where there is none at all.
 * @param name take this one, such as `checkpoint-000100`
 * @throws {FormatError} `E_FORMAT` when the named one, or all of them, are damaged; `E_IO`
 */
export async function findCheckpoint(folder: string, name?: string): Promise<FoundCheckpoint | undefined> {
	if (name !== undefined && stepOfName(name) === undefined) {
		throw new FormatError('E_USAGE', `${quote(name)} is no name of a checkpoint, such as ${checkpointName(100)}.`);
	}
	const damaged: { name: string; why: string }[] = [];
	let names: readonly string[];
	try {
		names = name === undefined ? checkpointSteps(folder).map(checkpointName) : [name];
	} catch (error) {
		if (errnoOf(error) === 'ENOENT') return undefined;
		throw readError(error, folder);
	}
	for (const candidate of names) {
		const place = path.join(folder, candidate);
		try {
			const { record, snapshot } = await readCheckpoint(place);
			return { name: candidate, folder: place, record, snapshot, damaged };
		} catch (error) {
			if (!(error instanceof FormatError) || name !== undefined) throw error;
			damaged.push({ name: candidate, why: error.message });
		}
	}
	if (damaged.length === 0) return undefined;
	throw new FormatError(
		'E_FORMAT',
		`No checkpoint in ${quotePath(folder)} is whole: ${damaged.map(({ name: n, why }) => `${quote(n)}: ${why}`).join(' ')} Remove them to begin anew.`,
	);
}

async function readCheckpoint(folder: string): Promise<{ readonly record: CheckpointRecord; readonly snapshot: RunSnapshot }> {
	const place = path.join(folder, STATE_NAME);
	const record = parseCheckpointRecord(readSmall(place), place);
	if (record.step !== stepOfName(path.basename(folder))) {
		throw new FormatError('E_FORMAT', `${quotePath(place)} is of step ${record.step}, which is not what its folder says.`);
	}
	for (const { name, bytes, sha256 } of record.files) {
		const file = path.join(folder, name);
		const size = sizeOf(file);
		if (size !== bytes) throw new FormatError('E_FORMAT', `${quotePath(file)} has ${size} bytes and was written with ${bytes}.`);
		if ((await hashFile(file)) !== sha256)
			throw new FormatError('E_FORMAT', `${quotePath(file)} is not what was written: its SHA-256 is another one.`);
	}
	if (!record.files.some(({ name }) => name === TENSORS_NAME))
		throw new FormatError('E_FORMAT', `${quotePath(folder)} has no ${TENSORS_NAME}.`);
	const source = await openFileSource(path.join(folder, TENSORS_NAME));
	try {
		const { tensors } = await readSafetensors(source, { values: false });
		const snapshot: RunSnapshot = {
			step: record.step,
			batches: record.batches,
			scaler: record.scaler ?? undefined,
			best: record.best ?? undefined,
			validationDue: record.validationDue,
			tensors: await readSnapshotTensors(tensors),
			adapter: new Map(),
		};
		return { record, snapshot };
	} finally {
		await source.close();
	}
}

function readSmall(file: string): string {
	const size = sizeOf(file);
	if (size > MAX_STATE_BYTES)
		throw new FormatError('E_LIMIT', `${quotePath(file)} has ${size} bytes; a state has at most ${MAX_STATE_BYTES}.`);
	try {
		return fs.readFileSync(file, 'utf8');
	} catch (error) {
		throw readError(error, file);
	}
}

function sizeOf(file: string): number {
	try {
		return fs.statSync(file).size;
	} catch (error) {
		throw readError(error, file);
	}
}

/**
 * May this run go on from that checkpoint?
 * @param allowChanged go on although it is another run by its configuration, data or base; the differences are returned
 * @returns what differs without being refused
 * @throws {FormatError} `E_CONFIG` naming every difference
 */
export function checkResume(
	found: Pick<FoundCheckpoint, 'name' | 'record'>,
	run: RunIdentity,
	allowChanged: boolean,
): readonly RunDifference[] {
	const differences = compareRuns(found.record.run, run);
	const refused = differences.filter(({ kind }) => kind === 'refuse');
	if (refused.length > 0 && !allowChanged) {
		const list = refused.map(({ path: key, saved, now }) => `${key} was ${saved} and is ${now}`).join('; ');
		throw new FormatError(
			'E_CONFIG',
			`${quote(found.name)} belongs to another run: ${list}; put that back, choose another output folder, or pass --resume-changed to go on all the same.`,
			{ at: refused[0]?.path },
		);
	}
	return differences;
}
