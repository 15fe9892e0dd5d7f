import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { writeError } from '@lorakit/format/node';
import { WANDB_HEADER, wandbRecordBytes } from '../../run/logs/wandb-file.js';
import { createWandbRecords } from '../../run/logs/wandb-records.js';
import type { RunEvent } from '../../run/run-events.js';
import { writeAll } from './write-all.js';

/** An offline run of Weights & Biases, open. */
export interface WandbLog {
	/** `wandb sync FOLDER` sends it. */
	readonly folder: string;
	write(event: RunEvent): void;
	close(): void;
}

export interface WandbLogOptions {
	/** Where `wandb/` is made. */
	readonly folder: string;
	readonly project: string;
	readonly config: Readonly<Record<string, unknown>>;
	/** Of lorakit. */
	readonly version: string;
	/** Where the run begins. */
	readonly step: number;
	readonly now?: (() => number) | undefined;
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';

/**
 * Begin an offline run: `wandb/offline-run-DATE_TIME-ID/run-ID.wandb`. A resumed training begins another one in the same group. Numbers
 * only; pictures stay files.
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`, from `write` too
 */
export function openWandbLog({ folder, project, config, version, step, now = Date.now }: WandbLogOptions): WandbLog {
	const startedAt = now();
	const id = Array.from({ length: 8 }, () => LETTERS[randomInt(LETTERS.length)]).join('');
	const stamp = new Date(startedAt).toISOString().slice(0, 19).replaceAll('-', '').replace('T', '_').replaceAll(':', '');
	const place = path.join(folder, 'wandb', `offline-run-${stamp}-${id}`);
	const file = path.join(place, `run-${id}.wandb`);
	const name = path.basename(path.resolve(folder));
	const records = createWandbRecords({
		id,
		project,
		name: step === 0 ? name : `${name} from step ${step}`,
		group: name,
		config,
		host: os.hostname(),
		version,
		startedAt,
		startingStep: step,
	});
	try {
		fs.mkdirSync(path.join(place, 'files'), { recursive: true });
		const fd = fs.openSync(file, 'wx');
		let position = 0;
		let exitCode = 1;
		const put = (bytes: Uint8Array): void => {
			writeAll(fd, bytes);
			position += bytes.byteLength;
		};
		const putAll = (list: readonly Uint8Array[]): void => {
			try {
				for (const record of list) put(wandbRecordBytes(record, position));
			} catch (error) {
				throw writeError(error, file);
			}
		};
		put(WANDB_HEADER);
		putAll(records.begin());
		return {
			folder: place,
			write(event) {
				if (event.type === 'end') exitCode = 0;
				putAll(records.event(event, now()));
			},
			close() {
				try {
					putAll(records.end(exitCode, now()));
				} finally {
					fs.closeSync(fd);
				}
			},
		};
	} catch (error) {
		throw writeError(error, file);
	}
}
