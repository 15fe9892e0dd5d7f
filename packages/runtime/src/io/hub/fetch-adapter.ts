import fs from 'node:fs';
import { FormatError, quote, type Warning } from '@lorakit/format';
import { type HubSpec, listTree, readError } from '@lorakit/format/node';
import { cardClues, configClue, headerClue } from './base-clues.js';
import { chooseHubAdapter } from './choose-hub-adapter.js';
import { downloadFiles } from './download-files.js';
import { type BaseClue, type BaseName, findBase, refuseWithoutBase } from './find-base.js';
import { type HubListing, type HubModel, hubModel, listHubRepo } from './hub-api.js';
import { cachedCommit, notCached, repoFolder, snapshotFolder, snapshotPath, writeRef } from './hub-cache.js';
import { MAX_ADAPTER_BYTES, MAX_CARD_BYTES, MAX_TEXT_FILE_BYTES } from './hub-limits.js';
import { parseHubName } from './hub-name.js';
import { type HubFetchOptions, type HubSession, hubSession } from './hub-session.js';
import { type ModelCard, readModelCard } from './model-card.js';

/** An adapter of the Hub, in the cache. */
export interface HubAdapter {
	/** `owner/name`. */
	readonly repo: string;
	/** The commit. */
	readonly revision: string;
	/** Path of the adapter's file in the cache; what belongs to it (`adapter_config.json`, embeddings) lies beside it. */
	readonly file: string;
	/** The base it is for, as a repository of the Hub; undefined only when `findBase` is false and none is named. */
	readonly base: BaseName | undefined;
	readonly card: ModelCard;
	readonly warnings: readonly Warning[];
}

/** Options of `fetchAdapter`. */
export interface FetchAdapterOptions extends HubFetchOptions {
	/** False when the caller has a base (`--base`): then none has to be named. Default true. */
	readonly findBase?: boolean | undefined;
}

/**
 * Have an adapter of the Hub and its card in the local cache, and find out its base: from the card's `base_model`, what the
 * Hub's API says of it, the tags, the file's header, `adapter_config.json`, the text of older cards, in this order.
 *
 * @param repo `owner/name`, `owner/name@revision`, with `/FILE` or `:FILE` for one of several adapters; `hf://` and page
 * addresses too
 * @throws {FormatError} `E_HUB`: no such repository, gated, no or several adapters, wrong bytes, a base that is a local path
 * or not named, not in the cache while offline; `E_HTTP`; `E_LIMIT`; `E_NO_SPACE`; `E_IO`; `E_INTERRUPTED`
 */
export async function fetchAdapter(repo: string, options: FetchAdapterOptions = {}): Promise<HubAdapter> {
	const session = hubSession(options);
	const named = parseHubName(repo, session.settings.endpoint);
	const spec = options.revision === undefined ? named : { ...named, revision: options.revision };
	const { model, commit, listing, files } = session.offline ? findCached(session, spec) : await fetchFiles(session, spec);
	const folder = repoFolder(session, spec.repo);
	const file = snapshotPath(folder, commit, files.main);

	const card = readCard(snapshotPath(folder, commit, CARD));
	const { first, last } = cardClues(card, model);
	const own: BaseClue[] = [await headerClue(file)];
	const config = files.companions.find((name) => name.endsWith('adapter_config.json'));
	if (config !== undefined) own.push(configClue(readText(snapshotPath(folder, commit, config))));
	const found = findBase(spec, [...first, ...own, last], session.settings.endpoint);
	if (found.base === undefined && options.findBase !== false) refuseWithoutBase(spec, found);

	const warnings: Warning[] = [...listing.warnings, ...card.warnings, ...(options.findBase === false ? [] : found.warnings)];
	if (files.others.length > 0) {
		const list = files.others.slice(0, 8).map(quote).join(', ');
		warnings.push({
			code: 'W_FILE_LEFT_OUT',
			message: `${spec.repo} has other weight files beside ${quote(files.main)}, which is taken: ${list}${files.others.length > 8 ? ', ...' : ''}.`,
		});
	}
	return { repo: spec.repo, revision: commit, file, base: found.base, card, warnings };
}

const CARD = 'README.md';

/** What is known of the repository once its files are in the snapshot folder. */
interface AdapterSnapshot {
	readonly model: HubModel | undefined;
	readonly commit: string;
	readonly listing: Pick<HubListing, 'warnings'>;
	readonly files: ReturnType<typeof chooseHubAdapter>;
}

async function fetchFiles(session: HubSession, spec: HubSpec): Promise<AdapterSnapshot> {
	const model = await hubModel(session, spec);
	const { commit } = model;
	const listing = await listHubRepo(session, spec.repo, commit);
	const files = chooseHubAdapter(
		listing.files.map((file) => file.path),
		spec,
	);
	const entry = (name: string) => listing.files.filter((file) => file.path === name);
	// A card that is too long is no reason to do without the adapter.
	const card = entry(CARD).filter((file) => file.size <= MAX_CARD_BYTES);
	const texts = files.companions.filter((name) => name.endsWith('.json')).flatMap(entry);
	const weights = [files.main, ...files.companions.filter((name) => !name.endsWith('.json'))].flatMap(entry);
	await downloadFiles(session, spec.repo, commit, [...card, ...texts], { file: MAX_TEXT_FILE_BYTES, total: 2 * MAX_TEXT_FILE_BYTES });
	await downloadFiles(session, spec.repo, commit, weights, { file: MAX_ADAPTER_BYTES, total: MAX_ADAPTER_BYTES });
	// Last, so that the cache never says of a commit that it is the branch while its files are not there.
	writeRef(repoFolder(session, spec.repo), spec.revision, commit);
	return { model, commit, listing, files };
}

function findCached(session: HubSession, spec: HubSpec): AdapterSnapshot {
	const folder = repoFolder(session, spec.repo);
	const commit = cachedCommit(folder, spec.revision);
	const snapshot = commit === undefined ? undefined : snapshotFolder(folder, commit);
	if (commit === undefined || snapshot === undefined || fs.statSync(snapshot, { throwIfNoEntry: false })?.isDirectory() !== true) {
		throw notCached(session, spec);
	}
	const paths = listTree(snapshot);
	// Somebody looked at the card alone.
	if (!paths.some((name) => /\.(?:safetensors|bin|pt|pth|ckpt)$/i.test(name))) throw notCached(session, spec);
	return { model: undefined, commit, listing: { warnings: [] }, files: chooseHubAdapter(paths, spec) };
}

/** The card; an empty one when there is none. */
function readCard(file: string): ModelCard {
	const stat = fs.statSync(file, { throwIfNoEntry: false });
	if (stat?.isFile() !== true || stat.size > MAX_CARD_BYTES) return readModelCard('');
	return readModelCard(readText(file));
}

function readText(file: string): string {
	try {
		if (fs.statSync(file).size > MAX_TEXT_FILE_BYTES) throw new FormatError('E_LIMIT', `${quote(file)} is too long to be read as text.`);
		return fs.readFileSync(file, 'utf8');
	} catch (error) {
		throw readError(error, file);
	}
}
