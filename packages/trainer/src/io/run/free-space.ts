import fs from 'node:fs';
import { FormatError } from '@lorakit/format';
import { quotePath } from '@lorakit/format/node';

/** Bytes that this user may still write where a folder lies; infinite where the system does not say. */
function freeBytes(folder: string): number {
	try {
		const { bavail, bsize } = fs.statfsSync(folder);
		return bavail * bsize;
	} catch {
		// Some network file systems have no such call; writing itself will tell.
		return Number.POSITIVE_INFINITY;
	}
}

/** What directory entries and file system blocks take besides. */
const SLACK_BYTES = 256 * 1024;

/** @throws {FormatError} `E_NO_SPACE` where less is free than is to be written */
export function checkFreeSpace(folder: string, what: string, bytes: number, free: (folder: string) => number = freeBytes): void {
	const there = free(folder);
	const needed = bytes + SLACK_BYTES;
	if (there >= needed) return;
	throw new FormatError(
		'E_NO_SPACE',
		`${what} needs ${needed} bytes, but ${quotePath(folder)} has only ${there} free; make room and resume.`,
	);
}
