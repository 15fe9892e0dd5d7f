import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach } from 'vitest';
import { FormatError } from '../../src/errors.js';

const made: string[] = [];

afterEach(() => {
	for (const dir of made.splice(0)) fs.rmSync(dir, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export function tempDir(): string {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-io-'));
	made.push(dir);
	return dir;
}

/** Make files from relative names to contents, with their folders. */
export function writeTree(dir: string, files: Readonly<Record<string, string>>): void {
	for (const [name, text] of Object.entries(files)) {
		const file = path.join(dir, name);
		fs.mkdirSync(path.dirname(file), { recursive: true });
		fs.writeFileSync(file, text);
	}
}

/** The refusal that `run` ends in; fails when it ends in none, or in another kind of error. */
export async function refusal(run: () => unknown): Promise<FormatError> {
	try {
		await run();
	} catch (error) {
		if (error instanceof FormatError) return error;
		throw new Error('an error that is no FormatError', { cause: error });
	}
	throw new Error('nothing was refused');
}

/** Bytes 0, 1, ... with a period of 251, so that no two windows look alike. */
export function pattern(length: number): Uint8Array {
	const bytes = new Uint8Array(length);
	for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 8)) % 251;
	return bytes;
}

/** True when both hold the same bytes; `toEqual` takes seconds per megabyte. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
	return Buffer.compare(a, b) === 0;
}
