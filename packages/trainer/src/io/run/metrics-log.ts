import fs from 'node:fs';
import { writeError } from '@lorakit/format/node';
import { metricsLine } from '../../run/logs/metrics-line.js';
import type { RunEvent } from '../../run/run-events.js';
import { writeAll } from './write-all.js';

/** `metrics.jsonl`, open for more lines. */
export interface MetricsLog {
	/** A line, in the file when this returns (what the system has, a killed process does not take along). */
	write(event: RunEvent, pictureFiles?: readonly string[]): void;
	close(): void;
}

export const METRICS_NAME = 'metrics.jsonl';

/**
 * Open a log, its earlier lines kept. A last line that a killed process left half is ended, so that it spoils no other.
 * Checkpoints and the end are synced to the disk.
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`, from `write` too
 */
export function openMetricsLog(file: string, now: () => number = Date.now): MetricsLog {
	try {
		const fd = fs.openSync(file, 'a+');
		const { size } = fs.fstatSync(fd);
		const last = Buffer.alloc(1);
		if (size > 0 && fs.readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a) fs.writeSync(fd, '\n');
		return {
			write(event, pictureFiles) {
				try {
					writeAll(fd, Buffer.from(metricsLine(event, now(), pictureFiles)));
					if (event.type === 'checkpoint' || event.type === 'end') fs.fdatasyncSync(fd);
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
