import { FormatError } from '@lorakit/format';
import { downloadBlob } from './download-blob.js';
import type { HubFile } from './hub-api.js';
import { blobPath, checkDiskSpace, hasFile, makeRepoFolder, placeInSnapshot, repoFolder, snapshotPath } from './hub-cache.js';
import type { HubSession } from './hub-session.js';

/**
 * Have files of a commit in its snapshot folder: those that are there already cost nothing, those whose blob is there
 * (another commit, or Python fetched it) a link, the others are fetched one after the other.
 *
 * @throws {FormatError} `E_LIMIT` for a file or a sum above its limit; as `downloadBlob`; `E_NO_SPACE` before the first byte.
 */
export async function downloadFiles(
	session: HubSession,
	repo: string,
	commit: string,
	files: readonly HubFile[],
	limits: { readonly file: number; readonly total: number },
): Promise<void> {
	const folder = repoFolder(session, repo);
	const wanted = files.map((file) => ({ file, target: snapshotPath(folder, commit, file.path), blob: blobPath(folder, file) }));
	const missing = wanted.filter(({ file, target }) => !hasFile(target, file.size));
	if (missing.length === 0) return;
	checkSizes(repo, files, limits);
	makeRepoFolder(session, folder);
	const toFetch = new Map(missing.filter(({ file, blob }) => !hasFile(blob, file.size)).map((entry) => [entry.blob, entry]));
	const totalSize = [...toFetch.values()].reduce((sum, { file }) => sum + file.size, 0);
	await checkDiskSpace(session, totalSize);
	let before = 0;
	for (const { file, target, blob } of missing) {
		const isNew = toFetch.delete(blob);
		if (isNew) {
			const onBytes = (received: number): void =>
				session.onProgress({ repo, file: file.path, received, size: file.size, totalReceived: before + received, totalSize });
			await downloadBlob(session, { repo, commit, file, blob, onBytes });
			before += file.size;
		}
		placeInSnapshot(session, blob, target, isNew && !missing.some((other) => other.blob === blob && other.target !== target));
	}
}

function checkSizes(repo: string, files: readonly HubFile[], limits: { readonly file: number; readonly total: number }): void {
	let total = 0;
	for (const { path, size } of files) {
		total += size;
		if (size > limits.file || total > limits.total) {
			const limit = size > limits.file ? limits.file : limits.total;
			throw new FormatError(
				'E_LIMIT',
				`${repo}/${path} has ${size} bytes; with it more than ${limit} bytes would be fetched, which is the limit.`,
			);
		}
	}
}
