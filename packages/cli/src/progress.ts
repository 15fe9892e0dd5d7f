import type { Output } from './output.js';

/** Work shorter than this is over before anybody wonders. */
const SILENT_MS = 1000;
const REDRAW_MS = 100;

/** Told how many bytes of how many are done. */
export type Progress = (done: number, total: number) => void;

/** A progress line on standard error: only on a terminal, only after a second, at most ten times a second. */
export function createProgress(output: Output, label: string): { readonly update: Progress | undefined; end(): void } {
	if (!output.canDrawProgress) return { update: undefined, end() {} };
	const begun = performance.now();
	let drawn = begun + SILENT_MS - REDRAW_MS;
	return {
		update(done, total) {
			const now = performance.now();
			if (now - drawn < REDRAW_MS) return;
			drawn = now;
			output.progress(lineOf(label, done, total, (now - begun) / 1000));
		},
		end: () => output.progress(''),
	};
}

function lineOf(label: string, done: number, total: number, seconds: number): string {
	const share = total > 0 ? Math.min(1, done / total) : 0;
	const filled = Math.floor(share * 24);
	const left = share > 0 ? (seconds / share) * (1 - share) : 0;
	const bar = `${'='.repeat(filled)}${' '.repeat(24 - filled)}`;
	const name = label.length > 30 ? `...${label.slice(-27)}` : label;
	return `${name} [${bar}] ${Math.floor(share * 100)} %  ${sizeText(done)} of ${sizeText(total)}  ${Math.ceil(left)} s left`;
}

/** Bytes for people: `3.29 MB`. Decimal units, as file sizes on download pages. */
export function sizeText(bytes: number): string {
	const units = ['kB', 'MB', 'GB', 'TB'];
	if (bytes < 1000) return `${bytes} B`;
	let value = bytes;
	let unit = 'B';
	for (const next of units) {
		if (value < 999.5) break;
		value /= 1000;
		unit = next;
	}
	return `${value.toPrecision(3)} ${unit}`;
}
