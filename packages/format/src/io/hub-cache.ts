import fs from 'node:fs';
import path from 'node:path';
import type { HubSpec } from './hub-spec.js';

/**
 * The folder of a repository's snapshot in the Hub's cache (`models--owner--repo/snapshots/COMMIT`, the commit of a
 * branch or tag in `refs/NAME`), or undefined when that revision is not there.
 * Layout: huggingface_hub file_download.py `try_to_load_from_cache`.
 */
export function cachedSnapshot(cache: string, { repo, revision }: HubSpec): string | undefined {
	const folder = path.join(cache, `models--${repo.replaceAll('/', '--')}`);
	const commit = readRef(path.join(folder, 'refs', revision)) ?? revision;
	if (!/^[0-9a-f]{40}$/.test(commit)) return undefined;
	const snapshot = path.join(folder, 'snapshots', commit);
	return fs.statSync(snapshot, { throwIfNoEntry: false })?.isDirectory() === true ? snapshot : undefined;
}

/** A file of the cached snapshot, or undefined. */
export function cachedFile(cache: string, spec: HubSpec): string | undefined {
	const snapshot = cachedSnapshot(cache, spec);
	if (snapshot === undefined) return undefined;
	const file = path.join(snapshot, spec.path);
	return fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true ? file : undefined;
}

/**
 * The snapshot inside a `models--owner--repo` folder that somebody named as input: the one of `refs/main`, or the
 * only one; undefined when `folder` is no such folder or holds several.
 */
export function snapshotOfRepoFolder(folder: string): string | undefined {
	const snapshots = path.join(folder, 'snapshots');
	if (fs.statSync(snapshots, { throwIfNoEntry: false })?.isDirectory() !== true) return undefined;
	const commits = fs.readdirSync(snapshots).filter((name) => /^[0-9a-f]{40}$/.test(name));
	const main = readRef(path.join(folder, 'refs', 'main'));
	const commit = main !== undefined && commits.includes(main) ? main : commits.length === 1 ? commits[0] : undefined;
	return commit === undefined ? undefined : path.join(snapshots, commit);
}

function readRef(file: string): string | undefined {
	try {
		const stat = fs.statSync(file, { throwIfNoEntry: false });
		if (stat?.isFile() !== true || stat.size > 1000) return undefined;
		const commit = fs.readFileSync(file, 'utf8').trim();
		return /^[0-9a-f]{40}$/.test(commit) ? commit : undefined;
	} catch {
		return undefined;
	}
}
