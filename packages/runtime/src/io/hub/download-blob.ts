import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { readError, writeError } from '@lorakit/format/node';
import { type FileChecksum, fileChecksum } from './checksum.js';
import type { HubFile } from './hub-api.js';
import { HUB_PROGRESS_BYTES, REHASH_BYTES } from './hub-limits.js';
import { asTransient, type HubAnswer, openHubUrl, TransientError, waitToRetry } from './hub-request.js';
import type { HubSession } from './hub-session.js';
import { claimPartial, releasePartial } from './partial-file.js';

/** One file to be fetched to the blobs. */
export interface BlobRequest {
	readonly repo: string;
	readonly commit: string;
	readonly file: HubFile;
	/** Where it goes; its folder exists. */
	readonly blob: string;
	/** Called with all bytes of the file that are here. */
	readonly onBytes: (received: number) => void;
}

/** The partial file, how far it is, and the checksum of what is in it. */
interface Progress {
	readonly handle: fs.promises.FileHandle;
	/** The partial file, for messages of the disk. */
	readonly name: string;
	at: number;
	checksum: FileChecksum;
}

/**
 * Fetch one file: into a partial file, going on (`Range`) from what an earlier attempt or process left, through broken
 * connections, until its size and checksum are those of the listing; then synced and renamed, so that a blob is whole or
 * not there. Wrong bytes are thrown away; when some of them were there before, all is fetched once more.
 *
 * `downloadFileToCacheDir` of `@huggingface/hub` is not used for this: it starts anew each time, checks neither size nor
 * checksum, writes to a name that two processes share, and prints to the console (its src/lib/download-file-to-cache-dir.ts).
 *
 * @throws {FormatError} `E_HUB` for wrong bytes and refusals, `E_HTTP`, `E_INTERRUPTED`, `E_NO_SPACE`, `E_IO`
 */
export async function downloadBlob(session: HubSession, request: BlobRequest): Promise<void> {
	const partial = claim(request.blob);
	try {
		const handle = await openPartial(partial);
		try {
			const resumed = await fill(session, request, handle, partial);
			if (resumed === 'wrong') {
				await handle.truncate(0);
				if ((await fill(session, request, handle, partial)) === 'wrong') throw wrongBytes(request);
			}
			await handle.sync().catch((error: unknown) => {
				throw writeError(error, partial);
			});
		} finally {
			await handle.close();
		}
		await fs.promises.rename(partial, request.blob).catch((error: unknown) => {
			throw writeError(error, request.blob);
		});
	} catch (error) {
		const worthless = error instanceof WrongBytes || fs.statSync(partial, { throwIfNoEntry: false })?.size === 0;
		if (worthless) await fs.promises.rm(partial, { force: true });
		throw error instanceof Error && 'syscall' in error ? writeError(error, partial) : error;
	} finally {
		releasePartial(partial);
	}
}

/** Bytes that must not be gone on from. */
class WrongBytes extends FormatError {}

/** @returns `wrong` when the checksum is not right and part of the bytes was there before. */
async function fill(session: HubSession, request: BlobRequest, handle: fs.promises.FileHandle, name: string): Promise<'right' | 'wrong'> {
	const { file } = request;
	const progress = await takeStock(handle, name, file);
	const before = progress.at;
	request.onBytes(progress.at);
	const what = `${request.repo}/${file.path}`;
	const enough = Math.min(HUB_PROGRESS_BYTES, file.size / 16);
	/** The furthest that counted: a server that knows no ranges begins at the beginning each time. */
	let furthest = progress.at;
	for (let tries = 1; progress.at < file.size; tries++) {
		try {
			await transfer(session, request, progress, what);
		} catch (error) {
			if (progress.at - furthest >= enough) {
				furthest = progress.at;
				tries = 1;
			}
			await waitToRetry(error, tries, session, what);
		}
	}
	if (progress.checksum.digest() === file.etag) return 'right';
	if (before > 0) return 'wrong';
	throw wrongBytes(request);
}

/** One request, from where the file ends. */
async function transfer(session: HubSession, request: BlobRequest, progress: Progress, what: string): Promise<void> {
	const { file, repo, commit } = request;
	const place = file.path.split('/').map(encodeURIComponent).join('/');
	const kind = session.repoType === 'model' ? '' : `${session.repoType}s/`;
	const url = new URL(`${session.settings.endpoint}/${kind}${repo}/resolve/${commit}/${place}`);
	const from = progress.at;
	const headers = { 'accept-encoding': 'identity', ...(from > 0 ? { range: `bytes=${from}-` } : {}) };
	const answer = await openHubUrl(url, headers, session, what);
	try {
		checkAnswer(answer, request, from);
		if (from > 0 && answer.response.status === 200) await startAnew(progress, file);
		const reader = answer.response.body?.getReader();
		while (reader !== undefined) {
			const { done, value } = await reader.read();
			if (done) break;
			answer.alive();
			if (progress.at + value.byteLength > file.size) {
				await reader.cancel();
				throw new WrongBytes('E_HUB', `${what}: the server sends more than the ${file.size} bytes that the list of files says.`);
			}
			await writeAll(progress, value);
			request.onBytes(progress.at);
		}
		if (progress.at < file.size) throw new TransientError('the connection ended early', undefined, undefined);
	} catch (error) {
		throw asTransient(error, session, what, session.signal?.aborted !== true && error instanceof Error && error.name === 'AbortError');
	} finally {
		answer.close();
	}
}

function checkAnswer({ response, etag }: HubAnswer, { file, repo }: BlobRequest, from: number): void {
	const what = `${repo}/${file.path}`;
	// Mirrors give etags of their own making; one that has the form of a checksum has to be the right one.
	if (etag !== undefined && etag.length === file.etag.length && /^[0-9a-f]+$/.test(etag) && etag !== file.etag) {
		throw new FormatError('E_HUB', `${what}: the Hub's list of files says checksum ${file.etag}, the file itself ${quote(etag)}.`);
	}
	if (response.status !== 206) return;
	const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
	if (range === null || Number(range[1]) !== from || (range[2] !== '*' && Number(range[2]) !== file.size)) {
		throw new WrongBytes('E_HTTP', `${what}: the server answers with another range than the one from byte ${from} of ${file.size}.`);
	}
}

/** How much is there, and the checksum of it. */
async function takeStock(handle: fs.promises.FileHandle, name: string, file: HubFile): Promise<Progress> {
	const progress: Progress = { handle, name, at: 0, checksum: fileChecksum(file.etag, file.size) };
	const { size } = await handle.stat();
	if (size > file.size) {
		await handle.truncate(0);
		return progress;
	}
	const buffer = new Uint8Array(Math.min(REHASH_BYTES, size));
	while (progress.at < size) {
		const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.byteLength, size - progress.at), progress.at).catch((error) => {
			throw readError(error, name);
		});
		if (bytesRead === 0) break;
		progress.checksum.update(buffer.subarray(0, bytesRead));
		progress.at += bytesRead;
	}
	return progress;
}

/** The server does not know ranges and begins at the beginning. */
async function startAnew(progress: Progress, file: HubFile): Promise<void> {
	await progress.handle.truncate(0).catch((error: unknown) => {
		throw writeError(error, progress.name);
	});
	progress.at = 0;
	progress.checksum = fileChecksum(file.etag, file.size);
}

/** A full disk shows as a short write first. */
async function writeAll(progress: Progress, bytes: Uint8Array): Promise<void> {
	progress.checksum.update(bytes);
	let done = 0;
	while (done < bytes.byteLength) {
		const { bytesWritten } = await progress.handle
			.write(bytes, done, bytes.byteLength - done, progress.at + done)
			.catch((error: unknown) => {
				throw writeError(error, progress.name);
			});
		done += bytesWritten;
	}
	progress.at += done;
}

function claim(blob: string): string {
	try {
		return claimPartial(blob);
	} catch (error) {
		throw writeError(error, blob);
	}
}

async function openPartial(file: string): Promise<fs.promises.FileHandle> {
	try {
		const { O_RDWR, O_CREAT, O_NOFOLLOW = 0 } = fs.constants;
		return await fs.promises.open(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0o666);
	} catch (error) {
		throw writeError(error, path.resolve(file));
	}
}

function wrongBytes({ repo, file }: BlobRequest): FormatError {
	return new WrongBytes(
		'E_HUB',
		`${repo}/${file.path}: the ${file.size} bytes that arrived do not have the checksum that the Hub states, ${file.etag}; they were thrown away. Try again.`,
	);
}
