import { planSafetensors } from '../../containers/safetensors-write.js';
import { planTorchZip } from '../../containers/torch-write.js';
import type { ConversionPlan, PlannedFile } from '../../convert.js';
import { FormatError, quote } from '../../errors.js';
import { refreshHashes } from '../../hashes/refresh-hashes.js';

/**
 * Bytes that all files of a plan will have, to the byte: headers and text files included. Nothing is read.
 * @param stems file names without extension; those of torch files stand inside them
 */
export function plannedBytes(plan: Pick<ConversionPlan, 'files' | 'sideFiles'>, stems: readonly string[] = []): number {
	let sum = 0;
	plan.files.forEach((file, i) => {
		sum += fileBytes(file, stems[i] ?? '');
	});
	for (const text of plan.sideFiles.values()) sum += new TextEncoder().encode(text).byteLength;
	return sum;
}

function fileBytes({ container, tensors, metadata, top }: PlannedFile, stem: string): number {
	if (container === 'torch-zip') return planTorchZip(tensors, { top, rootName: stem }).totalBytes;
	const blank = refreshHashes(metadata, { modelHash: '0'.repeat(64), legacyHash: '0'.repeat(8) }).metadata;
	return planSafetensors(tensors, blank).totalBytes;
}

const UNITS: ReadonlyMap<string, number> = new Map([
	['', 1],
	['b', 1],
	['k', 1e3],
	['kb', 1e3],
	['m', 1e6],
	['mb', 1e6],
	['g', 1e9],
	['gb', 1e9],
	['kib', 1024],
	['mib', 1024 ** 2],
	['gib', 1024 ** 3],
]);

/**
 * Bytes that a size such as `3.29MB`, `36 MiB` or `500000` says, rounded down. MB is a million bytes, as file sizes on
 * download pages; MiB is 1,048,576.
 * @throws {FormatError} `E_USAGE`.
 */
export function parseSize(text: string): number {
	const match = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*$/i.exec(text);
	const unit = UNITS.get((match?.[2] ?? '').toLowerCase());
	const bytes = unit === undefined ? Number.NaN : Math.floor(Number(match?.[1]) * unit);
	if (match !== null && Number.isSafeInteger(bytes) && bytes > 0) return bytes;
	throw new FormatError('E_USAGE', `${quote(text)} is no size; write a number of bytes, or 3.29MB, 36MiB, 500kB.`);
}
