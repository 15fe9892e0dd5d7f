import fs from 'node:fs';
import path from 'node:path';
import { type PlannedFile, plannedBytes, writePlannedFile } from '@lorakit/format';
import { createNodeSha256, type FileSink, type FolderFile, writeFolder } from '@lorakit/format/node';
import type { ResultPlan } from '../../result/plan-result.js';
import {
	type CheckpointFile,
	type CheckpointRecord,
	checkpointName,
	checkpointText,
	STATE_NAME,
	stepOfName,
	TENSORS_NAME,
} from '../../run/checkpoint-record.js';
import type { CheckpointReason } from '../../run/run-events.js';
import type { RunIdentity } from '../../run/run-identity.js';
import type { RunSnapshot } from '../../run/run-snapshot.js';
import { snapshotTensors } from '../../run/snapshot-tensors.js';
import { checkFreeSpace } from './free-space.js';

export interface CheckpointStoreOptions {
	/** An open run folder. */
	readonly folder: string;
	/** Keep so many of the newest; undefined: all. The best measured one stays besides. */
	readonly keep?: number | undefined;
	readonly run: RunIdentity;
	/** The files of the usable adapter. */
	readonly adapter: (
		values: ReadonlyMap<string, Float32Array>,
		snapshot: RunSnapshot,
	) => Promise<Pick<ResultPlan, 'files'>> | Pick<ResultPlan, 'files'>;
	/** For tests. */
	readonly freeBytes?: ((folder: string) => number) | undefined;
}

/**
 * What writes checkpoints for `trainRun`: a folder each, with the adapter's files, `training-state.safetensors` and, written last,
 * `state.json` with the digests of the others and its own. The folder is made under a temporary name beside it, synced and renamed, so
 * its name always means a whole checkpoint. Older ones go afterwards.
 * @returns the name of the folder
 * @throws {FormatError} `E_NO_SPACE`, `E_IO`, and what planning the adapter throws; nothing has changed then
 */
export function createCheckpointStore(
	options: CheckpointStoreOptions,
): (snapshot: RunSnapshot, reason: CheckpointReason) => Promise<string> {
	return async (snapshot, reason) => {
		const name = checkpointName(snapshot.step);
		const folder = path.join(options.folder, name);
		const { files } = await options.adapter(snapshot.adapter, snapshot);
		const tensors: PlannedFile = {
			suffix: '',
			tensors: snapshotTensors(snapshot.tensors),
			metadata: new Map([['lorakit.checkpoint', '1']]),
			top: 'dict',
			container: 'safetensors',
			beside: false,
		};
		const planned = [...files.map(({ name: file, content }) => ({ file, content })), { file: TENSORS_NAME, content: tensors }];
		const total = files.reduce(
			(sum, { bytes }) => sum + bytes,
			plannedBytes({ files: [tensors], sideFiles: new Map() }, ['training-state']),
		);
		checkFreeSpace(options.folder, `The checkpoint of step ${snapshot.step}`, total, options.freeBytes);

		const written: CheckpointFile[] = [];
		const outputs: FolderFile[] = planned.map(({ file, content }) => ({
			path: file,
			write: async (sink) => {
				const hashed = hashingSink(sink);
				if (typeof content === 'string') await hashed.write(new TextEncoder().encode(content));
				else await writePlannedFile(content, hashed, { hasher: createNodeSha256, rootName: path.basename(file, path.extname(file)) });
				written.push({ name: file, ...hashed.done() });
			},
		}));
		outputs.push({
			path: STATE_NAME,
			write: async (sink) => {
				const record: CheckpointRecord = {
					schema: 'lora.checkpoint/1',
					step: snapshot.step,
					reason,
					run: options.run,
					batches: snapshot.batches,
					scaler: snapshot.scaler ?? null,
					best: snapshot.best ?? null,
					validationDue: snapshot.validationDue,
					files: written,
				};
				await sink.write(new TextEncoder().encode(checkpointText(record)));
			},
		});
		await writeFolder({ given: folder, folder: path.resolve(folder), exists: fs.existsSync(folder) }, outputs);
		prune(options.folder, options.keep, snapshot);
		return name;
	};
}

/** Without `patch`, so that header hashes are computed before and every byte passes once. */
function hashingSink(sink: FileSink): {
	write(bytes: Uint8Array): Promise<void>;
	done(): { readonly bytes: number; readonly sha256: string };
} {
	const hash = createNodeSha256();
	let bytes = 0;
	return {
		write(piece) {
			hash.update(piece);
			bytes += piece.byteLength;
			return sink.write(piece);
		},
		done: () => ({ bytes, sha256: hash.digestHex() }),
	};
}

/** Steps of the checkpoints of a folder, the newest first. */
export function checkpointSteps(folder: string): readonly number[] {
	return fs
		.readdirSync(folder)
		.flatMap((name) => stepOfName(name) ?? [])
		.sort((a, b) => b - a);
}

/** Out of the way in one step, then removed: a name never means half a checkpoint. */
function prune(folder: string, keep: number | undefined, { step, best }: RunSnapshot): void {
	if (keep === undefined) return;
	for (const old of checkpointSteps(folder)
		.filter((s) => s <= step)
		.slice(keep)) {
		if (old === best?.step) continue;
		const name = checkpointName(old);
		const aside = path.join(folder, `.${name}.${process.pid.toString(36)}${old.toString(36)}.old`);
		try {
			fs.renameSync(path.join(folder, name), aside);
			fs.rmSync(aside, { recursive: true, force: true });
		} catch {
			// The new one is whole, which is what counts; the next time it is tried again, or swept when the run is opened.
		}
	}
}
