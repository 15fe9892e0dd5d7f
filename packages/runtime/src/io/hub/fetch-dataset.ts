import fs from 'node:fs';
import { FormatError, quote, type Warning } from '@lorakit/format';
import type { HubSpec } from '@lorakit/format/node';
import { downloadFiles } from './download-files.js';
import { hubModel, listHubRepo } from './hub-api.js';
import { cachedCommit, notCached, repoFolder, snapshotFolder, writeRef } from './hub-cache.js';
import { MAX_DATASET_BYTES } from './hub-limits.js';
import { parseHubName } from './hub-name.js';
import { HubRefusal } from './hub-refusal.js';
import { type HubFetchOptions, type HubSession, hubSession } from './hub-session.js';

/** Where the Hub keeps the Parquet form that it makes of data sets itself (its data-set viewer's conversion). */
export const CONVERTED_REVISION = 'refs/convert/parquet';

/** Options of `fetchDataset`. */
export interface FetchDatasetOptions extends HubFetchOptions {
	/**
	 * Which files of a repository are wanted, of all that it holds; undefined when it has nothing of use. Paths are safe to use
	 * below a folder. What it throws goes through.
	 */
	readonly choose: (paths: readonly string[], revision: string) => readonly string[] | undefined;
	/** All files of a snapshot folder, as paths below it: asked when nothing may be fetched. */
	readonly listSnapshot: (folder: string) => readonly string[];
}

/** Files of a data set of the Hub, in the cache. */
export interface HubDataset {
	/** `owner/name`. */
	readonly repo: string;
	/** The branch or tag that was taken: `main`, the one that was asked for, or `CONVERTED_REVISION`. */
	readonly branch: string;
	/** The commit. */
	readonly revision: string;
	/** The snapshot folder; `files` lie in it. */
	readonly folder: string;
	/** As `choose` gave them. */
	readonly files: readonly string[];
	readonly warnings: readonly Warning[];
}

/**
 * Have files of a data set of the Hub in the local cache (`datasets--OWNER--NAME`, shared with Python), as adapters are fetched:
 * checksummed, resumed, linked. When `choose` finds nothing of use and no revision was asked for, it is asked again about the
 * Parquet form that the Hub makes of data sets.
 *
 * @param repo `owner/name`, `owner/name@revision`, with `datasets/`, `hf://datasets/` or the site's address before it
 * @throws {FormatError} `E_HUB`: no such data set, gated, nothing of use in it, wrong bytes, not in the cache while offline;
 * `E_USAGE` for a path to one file; `E_HTTP`; `E_LIMIT`; `E_NO_SPACE`; `E_IO`; `E_INTERRUPTED`
 */
export async function fetchDataset(repo: string, options: FetchDatasetOptions): Promise<HubDataset> {
	const session = hubSession(options, 'dataset');
	const named = parseHubName(withoutKind(repo), session.settings.endpoint);
	if (named.path !== '') throw new FormatError('E_USAGE', `${quote(repo)} names one file; name the data set, ${named.repo}.`);
	const spec = options.revision === undefined ? named : { ...named, revision: options.revision };
	const get = session.offline ? findCached : fetchFiles;
	const own = await get(session, spec, options);
	if (own !== undefined) return own;
	// The default revision is `main`, which nobody need have asked for.
	const converted = spec.revision === 'main' ? await findConverted(session, spec, options, get) : undefined;
	if (converted !== undefined) return converted;
	throw new FormatError(
		'E_HUB',
		`${spec.repo} at ${quote(spec.revision)} holds neither Parquet files nor pictures with metadata.jsonl or .txt captions; convert it with datasets.Dataset.push_to_hub, or download it and name the folder.`,
	);
}

type Get = (session: HubSession, spec: HubSpec, options: FetchDatasetOptions) => Promise<HubDataset | undefined>;

async function findConverted(session: HubSession, spec: HubSpec, options: FetchDatasetOptions, get: Get): Promise<HubDataset | undefined> {
	try {
		return await get(session, { ...spec, revision: CONVERTED_REVISION }, options);
	} catch (error) {
		// Not every data set has been converted, and the cache has what was fetched.
		if (error instanceof HubRefusal && error.status === 404) return undefined;
		if (session.offline && error instanceof FormatError && error.code === 'E_HUB') return undefined;
		throw error;
	}
}

/** `datasets/owner/name` and addresses of the site's pages, which name the kind, as the name alone. */
function withoutKind(repo: string): string {
	return repo.replace(/^(hf:\/\/|https?:\/\/[^/]+\/)?datasets\/(?=[^/]+\/[^/]+)/, '$1');
}

async function fetchFiles(session: HubSession, spec: HubSpec, { choose }: FetchDatasetOptions): Promise<HubDataset | undefined> {
	const { repo, revision } = spec;
	const { commit } = await hubModel(session, spec);
	const listing = await listHubRepo(session, repo, commit);
	const byPath = new Map(listing.files.map((file) => [file.path, file]));
	const files = choose([...byPath.keys()], revision);
	if (files === undefined) return undefined;
	const wanted = files.flatMap((path) => byPath.get(path) ?? []);
	await downloadFiles(session, repo, commit, wanted, { file: MAX_DATASET_BYTES, total: MAX_DATASET_BYTES });
	const folder = repoFolder(session, repo);
	writeRef(folder, revision, commit);
	return { repo, branch: revision, revision: commit, folder: snapshotFolder(folder, commit), files, warnings: listing.warnings };
}

async function findCached(
	session: HubSession,
	spec: HubSpec,
	{ choose, listSnapshot }: FetchDatasetOptions,
): Promise<HubDataset | undefined> {
	const root = repoFolder(session, spec.repo);
	const commit = cachedCommit(root, spec.revision);
	const folder = commit === undefined ? undefined : snapshotFolder(root, commit);
	if (commit === undefined || folder === undefined || fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
		// What the Hub converted may be there alone.
		if (spec.revision === 'main' && cachedCommit(root, CONVERTED_REVISION) !== undefined) return undefined;
		throw notCached(session, spec);
	}
	const files = choose(listSnapshot(folder), spec.revision);
	return files === undefined ? undefined : { repo: spec.repo, branch: spec.revision, revision: commit, folder, files, warnings: [] };
}
