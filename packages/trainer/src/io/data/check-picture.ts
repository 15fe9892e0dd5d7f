import { FormatError, quote } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import { decodePicture, MAX_PICTURE_BYTES, readPictureHeader, type Sniffed, sniffPicture } from '@lorakit/runtime/node';
import type { DatasetPicture, SkippedPicture, SkipReason } from '../../data/dataset.js';
import type { InspectedPicture } from '../../data/parquet-dataset.js';
import type { FolderFile } from './folder-files.js';
import { readWholeFile } from './read-file.js';

/** How far pictures are looked into when a set is opened. */
export type PictureCheck = 'decode' | 'header';

/** Why a picture cannot be used, by what reading it threw. */
const REASONS: Readonly<Record<string, SkipReason>> = {
	E_EMPTY: 'empty',
	E_LIMIT: 'huge',
	E_TRUNCATED: 'corrupt',
	E_FORMAT: 'corrupt',
};

/** A picture that can be used, and what is to be known of it. */
export interface CheckedPicture {
	readonly picture: DatasetPicture;
	readonly notes: readonly string[];
}

/**
 * Look at an encoded picture: its size, whether it decodes. What cannot be used comes back as the reason, never thrown, but for
 * errors that are not the picture's: `E_USAGE` without sharp.
 */
export async function inspectPicture(name: string, bytes: Uint8Array, check: PictureCheck): Promise<InspectedPicture | SkippedPicture> {
	const sniffed = sniffPicture(bytes);
	try {
		const { frames, format, width, height } = await readPictureHeader(bytes, name);
		if (frames > 1) {
			return {
				name,
				reason: 'animated',
				message: `${quote(name)} is a ${format} of ${frames} frames; save the one that is meant as a PNG.`,
			};
		}
		return { width, height, notes: check === 'decode' ? (await decodePicture(bytes, { name })).notes : [] };
	} catch (error) {
		return unusable(name, error, sniffed);
	}
}

/** As `inspectPicture`, of a file, which is hashed too. */
export async function checkPictureFile(file: FolderFile, check: PictureCheck): Promise<CheckedPicture | SkippedPicture> {
	const { name } = file;
	const read = (): Promise<Uint8Array> => readWholeFile(file.path, name, MAX_PICTURE_BYTES);
	let bytes: Uint8Array;
	try {
		bytes = await read();
	} catch (error) {
		return unusable(name, error, undefined);
	}
	const found = await inspectPicture(name, bytes, check);
	if ('reason' in found) return found;
	const { width, height, notes = [] } = found;
	const sha256 = sha256Of(bytes);
	return { picture: { width, height, sha256, read: () => readSame(name, read, sha256) }, notes };
}

/** @throws what is not about the picture */
function unusable(name: string, error: unknown, sniffed: Sniffed | undefined): SkippedPicture {
	if (!(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
	const unknown = error.code === 'E_FORMAT' && sniffed?.kind === undefined;
	return { name, reason: unknown ? 'not-a-picture' : (REASONS[error.code] ?? 'unreadable'), message: error.message };
}

async function readSame(name: string, read: () => Promise<Uint8Array>, sha256: string): Promise<Uint8Array> {
	const bytes = await read();
	if (sha256Of(bytes) !== sha256) {
		throw new FormatError('E_INPUT_CHANGED', `${quote(name)} is no longer the picture that it was when the set was opened; start again.`);
	}
	return bytes;
}

function sha256Of(bytes: Uint8Array): string {
	const hash = createNodeSha256();
	hash.update(bytes);
	return hash.digestHex();
}
