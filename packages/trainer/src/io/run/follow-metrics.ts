import fs from 'node:fs';
import { addMetricsLine, type MetricsLine, parseMetricsLine } from '../../run/logs/metrics-line.js';

/** Lines of a log as they come. */
export interface MetricsFollower {
	/** All lines so far, those of given-up steps left out; at most `MAX_HISTORY` steps, evenly thinned. */
	history(): readonly MetricsLine[];
	readonly empty: boolean;
	close(): void;
}

/** Steps that a page is sent when it opens. */
const MAX_HISTORY = 20_000;
/** How often the file is looked at, in milliseconds. */
const INTERVAL = 500;
/** Bytes taken at a time. */
const PIECE = 1 << 20;

/**
 * Follow `metrics.jsonl` from its beginning: a file that is not there yet is waited for. Never throws after it is made: a file that
 * cannot be read has no lines.
 */
export function followMetrics(file: string, onLine: (line: MetricsLine) => void): MetricsFollower {
	const lines: MetricsLine[] = [];
	const buffer = new Uint8Array(PIECE);
	let decoder = new TextDecoder();
	let at = 0;
	let rest = '';
	let first = true;

	function take(line: MetricsLine): void {
		addMetricsLine(lines, line);
		if (!first) onLine(line);
	}

	function poll(): void {
		try {
			const fd = fs.openSync(file, 'r');
			try {
				// A file that became shorter is another one.
				if (fs.fstatSync(fd).size < at) {
					at = 0;
					rest = '';
					lines.length = 0;
					decoder = new TextDecoder();
				}
				for (let count = 1; count > 0; ) {
					count = fs.readSync(fd, buffer, 0, PIECE, at);
					at += count;
					const parts = (rest + decoder.decode(buffer.subarray(0, count), { stream: true })).split('\n');
					rest = parts.pop() ?? '';
					for (const raw of parts) {
						const line = parseMetricsLine(raw);
						if (line !== undefined) take(line);
					}
				}
			} finally {
				fs.closeSync(fd);
			}
		} catch {
			// Not there yet, or gone: the next look will tell.
		}
	}

	poll();
	first = false;
	const timer = setInterval(poll, INTERVAL);
	timer.unref();
	return {
		get empty() {
			return lines.length === 0;
		},
		history() {
			const steps = lines.reduce((sum, { type }) => sum + (type === 'step' ? 1 : 0), 0);
			const every = Math.ceil(steps / MAX_HISTORY);
			let n = 0;
			return every <= 1 ? [...lines] : lines.filter(({ type }, i) => type !== 'step' || n++ % every === 0 || i === lines.length - 1);
		},
		close: () => clearInterval(timer),
	};
}
