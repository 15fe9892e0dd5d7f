import fs from 'node:fs';
import { FormatError, quote } from '@lorakit/format';
import { type HubSpec, listTree, readError } from '@lorakit/format/node';
import { baseFiles, MODEL_INDEX } from './base-files.js';
import { downloadFiles } from './download-files.js';
import { type HubFile, hubModel, listHubRepo } from './hub-api.js';
import { cachedCommit, notCached, repoFolder, snapshotFolder, snapshotPath, writeRef } from './hub-cache.js';
import { MAX_BASE_BYTES, MAX_TEXT_FILE_BYTES } from './hub-limits.js';
import { parseHubName } from './hub-name.js';
import { HubRefusal } from './hub-refusal.js';
import { type HubFetchOptions, type HubSession, hubSession } from './hub-session.js';

/** Options of `fetchBase`. */
export interface FetchBaseOptions extends HubFetchOptions {
	/** `fp16` for half the bytes, where the repository has such files; default: the files without a variant (float32). */
	readonly variant?: string | undefined;
}

/**
 * Have a base model of the Hub in the local cache: only the files that inference reads (see `baseFiles`).
 *
 * @param repo `owner/name` or `owner/name@revision`
 * @returns the snapshot folder, for `openBase` (with the same variant)
 * @throws {FormatError} `E_HUB`: as `fetchAdapter`, and for what is no diffusers model; `E_AMBIGUOUS` when there are only
 * several variants; `E_HTTP`; `E_LIMIT`; `E_NO_SPACE`; `E_IO`; `E_INTERRUPTED`
 */
export async function fetchBase(repo: string, options: FetchBaseOptions = {}): Promise<string> {
	const session = hubSession(options);
	const named = parseHubName(repo, session.settings.endpoint);
	if (named.path !== '') {
		throw new FormatError(
			'E_USAGE',
			`${quote(repo)} names one file; a checkpoint on the Hub is opened as --base hf://${named.repo}/${named.path}.`,
		);
	}
	const spec = options.revision === undefined ? named : { ...named, revision: options.revision };
	return session.offline ? findCached(session, spec, options.variant) : fetchFiles(session, spec, options.variant);
}

async function fetchFiles(session: HubSession, spec: HubSpec, variant: string | undefined): Promise<string> {
	const { repo } = spec;
	const { commit } = await modelOf(session, spec);
	const { files } = await listHubRepo(session, repo, commit);
	const byPath = new Map(files.map((file) => [file.path, file]));
	const entry = (path: string): HubFile[] => {
		const file = byPath.get(path);
		return file === undefined ? [] : [file];
	};
	const index = entry(MODEL_INDEX);
	if (index.length === 0) throw noIndex(repo, [...byPath.keys()]);
	const textLimits = { file: MAX_TEXT_FILE_BYTES, total: 16 * MAX_TEXT_FILE_BYTES };
	// First and alone: whether the gigabytes are worth fetching stands in it.
	await downloadFiles(session, repo, commit, index, textLimits);
	const folder = repoFolder(session, repo);
	const { texts, weights } = baseFiles([...byPath.keys()], readText(snapshotPath(folder, commit, MODEL_INDEX)), repo, variant);
	await downloadFiles(session, repo, commit, texts.flatMap(entry), textLimits);
	await downloadFiles(session, repo, commit, weights.flatMap(entry), { file: MAX_BASE_BYTES, total: MAX_BASE_BYTES });
	writeRef(folder, spec.revision, commit);
	return snapshotFolder(folder, commit);
}

function findCached(session: HubSession, spec: HubSpec, variant: string | undefined): string {
	const folder = repoFolder(session, spec.repo);
	const commit = cachedCommit(folder, spec.revision);
	const snapshot = commit === undefined ? undefined : snapshotFolder(folder, commit);
	if (snapshot === undefined || fs.statSync(snapshot, { throwIfNoEntry: false })?.isDirectory() !== true) throw notCached(session, spec);
	const paths = listTree(snapshot);
	if (!paths.includes(MODEL_INDEX)) throw notCached(session, spec);
	try {
		// Python may have fetched a part of it.
		baseFiles(paths, readText(`${snapshot}/${MODEL_INDEX}`), spec.repo, variant);
	} catch (error) {
		throw new FormatError('E_HUB', `The cache has only a part of ${spec.repo}; run once with the network.`, { cause: error });
	}
	return snapshot;
}

/** Repositories whose owners took them away, and where the same files are now. They are named, never gone to unasked. */
const MOVED: ReadonlyMap<string, string> = new Map([
	['runwayml/stable-diffusion-v1-5', 'stable-diffusion-v1-5/stable-diffusion-v1-5'],
	['runwayml/stable-diffusion-inpainting', 'stable-diffusion-v1-5/stable-diffusion-inpainting'],
]);

async function modelOf(session: HubSession, spec: HubSpec): Promise<{ readonly commit: string }> {
	try {
		return await hubModel(session, spec);
	} catch (error) {
		const moved = MOVED.get(spec.repo);
		if (!(error instanceof HubRefusal) || (error.status !== 404 && error.status !== 401) || moved === undefined) throw error;
		throw new FormatError(
			'E_HUB',
			`${spec.repo} was taken off the Hub by its owner; the same model is at ${moved}: name it with --base ${moved}.`,
			{
				cause: error,
			},
		);
	}
}

function noIndex(repo: string, paths: readonly string[]): FormatError {
	const [single] = paths.filter((path) => /^[^/]+\.(?:safetensors|ckpt)$/.test(path));
	const advice = single === undefined ? 'name another base with --base' : `for the single file in it give --base hf://${repo}/${single}`;
	return new FormatError('E_HUB', `${repo} is no diffusers model, it has no ${MODEL_INDEX}; ${advice}.`);
}

function readText(file: string): string {
	try {
		return fs.readFileSync(file, 'utf8');
	} catch (error) {
		throw readError(error, file);
	}
}
