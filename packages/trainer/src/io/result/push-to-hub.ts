import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { type Environment, hubSettings, quotePath, readError } from '@lorakit/format/node';
import { readModelCard } from '@lorakit/runtime/node';
import { checkBesidePath, repositoryName } from '../../result/repository-name.js';
import { hubPushError, type PushContext, statusOf } from './hub-push-error.js';
import { retryingFetch } from './retrying-fetch.js';
import { CARD_NAME } from './save-result.js';

export interface PushOptions {
	/** `owner/name`. */
	readonly repo: string;
	/** Of the folder, as `SavedResult.files` names them: these alone are uploaded. README.md must be among them. */
	readonly paths: readonly string[];
	/** Default: HF_TOKEN or the token file. */
	readonly token?: string | undefined;
	/** A new repository is private. Default: as the owner's settings say. One that is there stays what it is. */
	readonly private?: boolean | undefined;
	/** Replace files of these names that the repository has. */
	readonly overwrite?: boolean | undefined;
	readonly title?: string | undefined;
	/** Default `process.env`: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE. */
	readonly env?: Environment | undefined;
	readonly fetch?: typeof fetch | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Share of a file that is done, 0 to 1. */
	readonly onProgress?: ((path: string, done: number) => void) | undefined;
	/** Wait before the second try in ms; tests make it short. */
	readonly backoffMs?: number | undefined;
}

export interface Pushed {
	readonly url: string;
	readonly commit: string;
	/** The repository was made by this push. */
	readonly created: boolean;
}

/**
 * Publish files of a result as one commit of a model repository, made when it is not there, by `@huggingface/hub`. Everything that can be
 * refused is refused before the first request: no token, a card without a base, a base that is a path on this machine.
 *
 * Files go by Git LFS where the Hub asks for it: the chunked transfer that the client also knows gains nothing for a few megabytes
 * and brings 2 MB of WebAssembly. What somebody else commits meanwhile is never overwritten: the commit names its parent.
 *
 * @throws {FormatError} `E_HUB` (all of the above, and what the Hub refuses), `E_OUTPUT_EXISTS` (files of these names are there), `E_HTTP`,
 *   `E_IO`, `E_NAME`, `E_INTERRUPTED`. The token is in no message.
 */
export async function pushToHub(folder: string, options: PushOptions): Promise<Pushed> {
	const repo = repositoryName(options.repo, 'The repository to push to');
	const env = options.env ?? process.env;
	const settings = hubSettings(env);
	const token = options.token ?? settings.token;
	checkToken(token);
	if (settings.offline) {
		throw new FormatError('E_HUB', `HF_HUB_OFFLINE is set, so nothing can be pushed to ${repo}; unset it.`);
	}
	await checkCard(folder, options.paths);
	const blobs = await openBlobs(folder, options.paths);

	const { createRepo, commitIter, listFiles, modelInfo } = await import('@huggingface/hub');
	const common = {
		accessToken: token,
		hubUrl: settings.endpoint,
		fetch: retryingFetch(options.fetch ?? fetch, options.signal, options.backoffMs),
	};
	const model = { type: 'model', name: repo } as const;
	const context = (doing: string): PushContext => ({ repo, endpoint: settings.endpoint, doing, token });
	const asking = async <T>(doing: string, ask: () => Promise<T>): Promise<T> => {
		try {
			options.signal?.throwIfAborted();
			return await ask();
		} catch (error) {
			throw hubPushError(error, context(doing));
		}
	};

	let denied: unknown;
	const created = await asking('creating the repository', async () => {
		try {
			await createRepo({ ...common, repo: model, ...(options.private === true ? { visibility: 'private' as const } : {}) });
			return true;
		} catch (error) {
			// 409: it is there. 403: a token that may make none may still write to one that is there; reading shows.
			const status = statusOf(error);
			if (status !== 409 && status !== 403) throw error;
			if (status === 403) denied = error;
			return false;
		}
	});
	const parent = await asking('reading the repository', async () => {
		const { sha } = await modelInfo({ ...common, name: repo, additionalFields: ['sha'], revision: 'main' }).catch((error: unknown) => {
			throw denied ?? error;
		});
		const taken: string[] = [];
		for await (const file of listFiles({ ...common, repo: model, recursive: true, revision: sha })) {
			if (blobs.has(file.path)) taken.push(file.path);
		}
		if (taken.length > 0 && options.overwrite !== true) {
			const list = taken.slice(0, 3).map(quote).join(', ');
			throw new FormatError(
				'E_OUTPUT_EXISTS',
				`${repo} has ${list}${taken.length > 3 ? ` and ${taken.length - 3} more of these files` : ''} already; allow overwriting, or push to another repository.`,
			);
		}
		return sha;
	});
	return asking('uploading', async () => {
		const steps = commitIter({
			...common,
			repo: model,
			title: options.title ?? 'Upload a LoRA trained with lorakit',
			operations: [...blobs].map(([name, content]) => ({ operation: 'addOrUpdate' as const, path: name, content })),
			branch: 'main',
			parentCommit: parent,
			useXet: false,
			...(options.signal === undefined ? {} : { abortSignal: options.signal }),
		});
		for (;;) {
			const { value, done } = await steps.next();
			if (done === true) {
				if (value === undefined) throw new FormatError('E_HUB', `${repo}: the Hub made no commit of the upload.`);
				return { url: `${settings.endpoint}/${repo}`, commit: value.commit.oid, created };
			}
			if (value.event === 'fileProgress') options.onProgress?.(value.path, value.state === 'hashing' ? 0 : value.progress);
		}
	});
}

function checkToken(token: string | undefined): asserts token is string {
	if (token === undefined || token === '') {
		throw new FormatError(
			'E_HUB',
			'Pushing needs a token of the Hub with the right to write; set HF_TOKEN, or log in with "hf auth login".',
		);
	}
	if (!/^hf_[\x21-\x7e]{1,1000}$/.test(token)) {
		throw new FormatError('E_HUB', 'The token of the Hub is none: it must begin with hf_ and have no spaces; it is not shown here.');
	}
}

/** The card must name a base that others can load. */
async function checkCard(folder: string, paths: readonly string[]): Promise<void> {
	if (!paths.includes(CARD_NAME)) throw new FormatError('E_HUB', `${CARD_NAME} is not among the files to push; a model needs its card.`);
	const file = path.join(folder, CARD_NAME);
	let text: string;
	try {
		text = await fs.promises.readFile(file, 'utf8');
	} catch (error) {
		throw readError(error, file);
	}
	const { baseModels, warnings } = readModelCard(text);
	const [problem] = warnings;
	if (problem !== undefined) throw new FormatError('E_HUB', `${quotePath(file)} cannot be pushed: ${problem.message}`);
	if (baseModels.length === 0) {
		throw new FormatError(
			'E_HUB',
			`${quotePath(file)} names no base_model, so nobody could use the adapter; name the base as owner/name (--base-model) when the result is made.`,
		);
	}
	for (const base of baseModels) {
		repositoryName(base, 'base_model');
		// `output/sd15` has the form of a repository; a folder of that name here says what it is.
		if (fs.existsSync(base)) {
			throw new FormatError(
				'E_HUB',
				`base_model is ${quote(base)}, which is also a path on this machine; if the repository of that name is meant, push from another folder.`,
			);
		}
	}
}

/** Lazy: files are read while they are sent. @throws {FormatError} `E_NAME`, `E_IO` */
async function openBlobs(folder: string, paths: readonly string[]): Promise<ReadonlyMap<string, Blob>> {
	const blobs = new Map<string, Blob>();
	for (const name of paths) {
		checkBesidePath(name);
		const file = path.join(folder, ...name.split('/'));
		try {
			if (!fs.statSync(file).isFile()) throw new FormatError('E_NOT_A_FILE', `${quotePath(file)} is no file, so it cannot be pushed.`);
			blobs.set(name, await fs.openAsBlob(file));
		} catch (error) {
			throw error instanceof FormatError ? error : readError(error, file);
		}
	}
	return blobs;
}
