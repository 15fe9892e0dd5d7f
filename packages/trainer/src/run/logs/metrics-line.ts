import type { RunEvent } from '../run-events.js';

/** One line of `metrics.jsonl`: an event, with pictures by their files, and when it was. */
export type MetricsLine = (Exclude<RunEvent, { readonly type: 'pictures' }> | PicturesLine) & {
	/** Milliseconds since 1970. */
	readonly at: number;
};

/** Validation pictures that lie in the run folder. */
export interface PicturesLine {
	readonly type: 'pictures';
	readonly step: number;
	readonly pictures: readonly {
		readonly prompt: string;
		readonly seed: number;
		readonly file: string;
		readonly width: number;
		readonly height: number;
	}[];
}

/** Longest line that is read back. */
export const MAX_LINE: number = 1 << 20;

/** The line of an event, with its line feed. Numbers that JSON has not become null. @param files of the pictures, in their order */
export function metricsLine(event: RunEvent, at: number, files: readonly string[] = []): string {
	const line: MetricsLine =
		event.type === 'pictures'
			? {
					...event,
					pictures: event.pictures.map(({ prompt, seed, width, height }, i) => ({ prompt, seed, width, height, file: files[i] ?? '' })),
					at,
				}
			: { ...event, at };
	return `${JSON.stringify(line)}\n`;
}

/**
 * The lines of a log that count. A run that was resumed at step n begins again with a `start` of step n: what an earlier life logged
 * of later steps is left out, for it was done again. Lines that are none (cut when a process was killed) are skipped.
 */
export function readMetrics(text: string): readonly MetricsLine[] {
	const lines: MetricsLine[] = [];
	for (const raw of text.split('\n')) {
		const line = parseMetricsLine(raw);
		if (line !== undefined) addMetricsLine(lines, line);
	}
	return lines;
}

/** One more line of those that count (`readMetrics`). */
export function addMetricsLine(lines: MetricsLine[], line: MetricsLine): void {
	if (line.type === 'start') {
		let kept = 0;
		for (const earlier of lines) if (earlier.step <= line.step && earlier.type !== 'end') lines[kept++] = earlier;
		lines.length = kept;
	}
	lines.push(line);
}

const TYPES: ReadonlySet<unknown> = new Set(['start', 'step', 'overflow', 'validation', 'pictures', 'checkpoint', 'end']);

/** A line of the log; undefined for what is none. */
export function parseMetricsLine(raw: string): MetricsLine | undefined {
	if (raw.length === 0 || raw.length > MAX_LINE) return undefined;
	try {
		const value: unknown = JSON.parse(raw);
		if (typeof value !== 'object' || value === null || !('type' in value) || !('step' in value)) return undefined;
		return TYPES.has(value.type) && typeof value.step === 'number' ? (value as MetricsLine) : undefined;
	} catch {
		return undefined;
	}
}
