import { FormatError, quote, type Warning } from '@lorakit/format';
import type { HubSpec } from '@lorakit/format/node';
import { isLocalPath, parseHubName } from './hub-name.js';

/** A base model on the Hub. */
export interface BaseName {
	/** `owner/name`. */
	readonly repo: string;
	readonly revision?: string;
}

/** One place that may name the base, and the names there; best first. */
export interface BaseClue {
	/** For messages: "the card", "the file's header". */
	readonly source: string;
	readonly names: readonly string[];
	/** The revision that goes with the names (PEFT's `revision`). */
	readonly revision?: string | undefined;
}

/** The base, or why there is none. */
export interface FoundBase {
	readonly base: BaseName | undefined;
	/** A name that is a path on somebody's machine; the last resort of messages. */
	readonly localPath: { readonly source: string; readonly path: string } | undefined;
	readonly warnings: readonly Warning[];
}

/**
 * The base of an adapter: the first name that is a repository, from the first clue that has one. File names
 * (`v1-5-pruned.ckpt`) say nothing about where the model is, and the adapter's own name is no base: the text of the
 * post's own card names itself.
 */
export function findBase(adapter: HubSpec, clues: readonly BaseClue[], endpoint: string): FoundBase {
	const warnings: Warning[] = [];
	let base: BaseName | undefined;
	let from = '';
	let localPath: FoundBase['localPath'];
	for (const { source, names, revision } of clues) {
		const repos: BaseName[] = [];
		for (const name of names) {
			const found = baseName(name, endpoint);
			if (found === undefined) {
				if (isLocalPath(name)) localPath ??= { source, path: name };
			} else if (found.repo !== adapter.repo && !repos.some((other) => other.repo === found.repo)) {
				repos.push(revision === undefined || found.revision !== undefined ? found : { ...found, revision });
			}
		}
		const [first, ...others] = repos;
		if (first === undefined) continue;
		if (base === undefined) {
			base = first;
			from = source;
			if (others.length > 0) {
				const list = others.slice(0, 8).map((other) => other.repo);
				warnings.push({
					code: 'W_AMBIGUOUS',
					message: `${source} of ${adapter.repo} names several bases; ${first.repo} is taken, and not ${list.join(', ')}: give --base to choose.`,
				});
			}
		} else if (!repos.some((repo) => repo.repo === base?.repo)) {
			warnings.push({
				code: 'W_METADATA_CONTRADICTS',
				message: `${source} of ${adapter.repo} names the base ${first.repo}, ${from} ${base.repo}, which is taken: give --base if the pictures are wrong.`,
			});
		}
	}
	return { base, localPath, warnings };
}

/** @throws {FormatError} `E_HUB`: the sentence for an adapter that does not say which model it is for. */
export function refuseWithoutBase(adapter: HubSpec, found: FoundBase): never {
	const { localPath } = found;
	const why =
		localPath === undefined
			? 'does not say which base it is for: neither its card nor its file names a repository'
			: `was trained on ${quote(localPath.path)} (${localPath.source}), a path on the machine of its author and not a repository of the Hub`;
	throw new FormatError('E_HUB', `${adapter.repo} ${why}; name the base with --base.`);
}

function baseName(text: string, endpoint: string): BaseName | undefined {
	if (!/^(?:https?:|hf:)\/\//.test(text) && (isLocalPath(text) || !text.includes('/') || WEIGHT_FILE.test(text))) return undefined;
	try {
		const { repo, revision, path } = parseHubName(text, endpoint);
		if (path !== '') return undefined;
		return revision === 'main' ? { repo } : { repo, revision };
	} catch {
		return undefined;
	}
}

/** `models/sd15.safetensors` has the form of a repository. */
const WEIGHT_FILE = /\.(?:safetensors|ckpt|bin|pt|pth)$/i;
