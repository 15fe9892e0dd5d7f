import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { errnoOf, type HubSpec, quotePath, writeError } from '@lorakit/format/node';
import type { HubFile } from './hub-api.js';
import { isSafeHubPath } from './hub-path.js';
import type { HubSession } from './hub-session.js';

/**
 * The Hub's cache on disk, shared with Python's huggingface_hub: `models--OWNER--NAME/` (`datasets--...`) with `blobs/ETAG`, `refs/REVISION`
 * (the commit, no line end) and `snapshots/COMMIT/PATH`, a relative link to the blob.
 * Source: huggingface_hub@1.33.0 file_download.py `_hf_hub_download_to_cache_dir`, `_create_symlink`, `repo_folder_name`.
 */
export function repoFolder(session: HubSession, repo: string): string {
	return path.join(path.resolve(session.settings.cache), `${session.repoType}s--${repo.replaceAll('/', '--')}`);
}

/** Where the bytes of a file are, once they are all there. */
export function blobPath(folder: string, file: HubFile): string {
	return path.join(folder, 'blobs', file.etag);
}

/** The folder of a commit, with the paths of the repository in it. */
export function snapshotFolder(folder: string, commit: string): string {
	return path.join(folder, 'snapshots', commit);
}

/** Where a file of a commit lies. @throws {FormatError} `E_HUB` for a path that leaves the folder. */
export function snapshotPath(folder: string, commit: string, file: string): string {
	if (!isSafeHubPath(file)) throw new FormatError('E_HUB', `${quote(file)} is no path inside a repository.`);
	return path.join(snapshotFolder(folder, commit), ...file.split('/'));
}

/** True when `target` is a file of that size, or a link to one. */
export function hasFile(target: string, size: number): boolean {
	try {
		const stat = fs.statSync(target, { throwIfNoEntry: false });
		return stat?.isFile() === true && stat.size === size;
	} catch {
		// A link that goes in a circle, a folder without rights: not a file that can be used.
		return false;
	}
}

/** The commit that the cache knows for a branch or tag; a commit stands for itself. */
export function cachedCommit(folder: string, revision: string): string | undefined {
	if (/^[0-9a-f]{40}$/.test(revision)) return revision;
	if (!isSafeHubPath(revision)) return undefined;
	try {
		const file = path.join(folder, 'refs', ...revision.split('/'));
		const stat = fs.statSync(file, { throwIfNoEntry: false });
		if (stat?.isFile() !== true || stat.size > 1000) return undefined;
		const commit = fs.readFileSync(file, 'utf8').trim();
		return /^[0-9a-f]{40}$/.test(commit) ? commit : undefined;
	} catch {
		return undefined;
	}
}

/**
 * Note which commit a branch or tag is: whole or not at all, and only when it changed, so that a cache that can only be
 * read does not stop anybody.
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`
 */
export function writeRef(folder: string, revision: string, commit: string): void {
	if (revision === commit || cachedCommit(folder, revision) === commit) return;
	if (!isSafeHubPath(revision)) throw new FormatError('E_HUB', `${quote(revision)} is no name of a branch or tag.`);
	const file = path.join(folder, 'refs', ...revision.split('/'));
	const temp = `${file}.${randomName()}.tmp`;
	try {
		fs.mkdirSync(path.dirname(file), { recursive: true });
		fs.writeFileSync(temp, commit, { flag: 'wx' });
		fs.renameSync(temp, file);
	} catch (error) {
		fs.rmSync(temp, { force: true });
		throw writeError(error, file);
	}
}

/** The folders of a repository, and the mark by which back-up programs know a cache. @throws {FormatError} `E_IO`, `E_NO_SPACE` */
export function makeRepoFolder(session: HubSession, folder: string): void {
	try {
		fs.mkdirSync(path.join(folder, 'blobs'), { recursive: true });
	} catch (error) {
		throw writeError(error, folder);
	}
	try {
		fs.writeFileSync(path.join(session.settings.cache, 'CACHEDIR.TAG'), CACHE_TAG, { flag: 'wx' });
	} catch {
		// There already, or not allowed: nothing depends on it.
	}
}

/** Cache Directory Tagging Specification: the first 43 characters count. */
const CACHE_TAG = `Signature: 8a477f597d28d172789f06886806bc55
# This file marks the Hugging Face Hub's cache, so that back-up programs can leave it out.
`;

/**
 * Put a file that is among the blobs at its place in a snapshot: by a relative link, or, where links are not to be had,
 * by moving it there (a new blob) or copying it.
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`
 */
export function placeInSnapshot(session: HubSession, blob: string, target: string, isNew: boolean): void {
	const temp = path.join(path.dirname(target), `.${randomName()}.tmp`);
	try {
		fs.mkdirSync(path.dirname(target), { recursive: true });
		// Made under another name and renamed, so that a link that is there already is replaced in one step.
		if (session.symlinks && tryLink(path.relative(path.dirname(target), blob), temp)) fs.renameSync(temp, target);
		else if (isNew) fs.renameSync(blob, target);
		else {
			fs.copyFileSync(blob, temp, fs.constants.COPYFILE_EXCL);
			fs.renameSync(temp, target);
		}
	} catch (error) {
		fs.rmSync(temp, { force: true });
		throw writeError(error, target);
	}
}

function tryLink(to: string, at: string): boolean {
	try {
		fs.symlinkSync(to, at);
		return true;
	} catch (error) {
		if (['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return false;
		throw error;
	}
}

/** Refuse before the first byte when the disk cannot hold what is to come. @throws {FormatError} `E_NO_SPACE` */
export async function checkDiskSpace(session: HubSession, bytes: number): Promise<void> {
	const { cache } = session.settings;
	let free: number;
	try {
		const stat = await fs.promises.statfs(cache);
		free = stat.bavail * stat.bsize;
	} catch {
		// Some file systems do not say; then writing does.
		return;
	}
	if (free >= bytes) return;
	throw new FormatError(
		'E_NO_SPACE',
		`The cache ${quotePath(cache)} has ${gigabytes(free)} left and ${gigabytes(bytes)} are to be fetched; free some, or set HF_HUB_CACHE to another disk.`,
	);
}

/** The refusal for a repository that is not in the cache while nothing may be fetched. */
export function notCached(session: HubSession, { repo, revision }: HubSpec): FormatError {
	const at = revision === 'main' ? '' : ` at ${quote(revision)}`;
	return new FormatError(
		'E_HUB',
		`${repo}${at} is not in the cache ${quotePath(path.resolve(session.settings.cache))}, and nothing may be fetched (--offline or HF_HUB_OFFLINE); run once with the network.`,
	);
}

function gigabytes(bytes: number): string {
	return `${(bytes / 1e9).toFixed(2)} GB`;
}

function randomName(): string {
	return Math.random().toString(16).slice(2, 10).padEnd(8, '0');
}
