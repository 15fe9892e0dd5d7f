import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { writeError } from '@lorakit/format/node';
import { tensorboardHeader, tensorboardRecords } from '../../run/logs/tensorboard-events.js';
import type { RunEvent } from '../../run/run-events.js';
import { writeAll } from './write-all.js';

/** An event file of TensorBoard, open. */
export interface TensorboardLog {
	readonly file: string;
	write(event: RunEvent): void;
	close(): void;
}

/** Distinguishes files that one process begins within a second. */
let opened = 0;

/**
 * Begin an event file in a folder (`tensorboard --logdir FOLDER`). A resumed run begins another one, which tells TensorBoard to
 * forget what earlier ones say of steps after `step`.
 * @param step where the run begins
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`, from `write` too
 */
export function openTensorboardLog(folder: string, step: number, now: () => number = Date.now): TensorboardLog {
	const seconds = now() / 1000;
	// TensorBoard reads the files of a folder in the order of their names, so this number has ten digits as its writers' have.
	const name = `events.out.tfevents.${String(Math.floor(seconds)).padStart(10, '0')}.${os.hostname()}.${process.pid}.${opened++}`;
	const file = path.join(folder, name);
	try {
		fs.mkdirSync(folder, { recursive: true });
		const fd = fs.openSync(file, 'wx');
		writeAll(fd, tensorboardHeader(step, seconds));
		return {
			file,
			write(event) {
				try {
					writeAll(fd, tensorboardRecords(event, now() / 1000));
				} catch (error) {
					throw writeError(error, file);
				}
			},
			close: () => fs.closeSync(fd),
		};
	} catch (error) {
		throw writeError(error, file);
	}
}
