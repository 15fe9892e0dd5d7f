import { FormatError, quote } from '../errors.js';
import { chooseAdapter, folderOf, nameOf } from './choose-adapter.js';
import { companionNames } from './companion-names.js';
import { type Companions, findCompanions, NO_COMPANIONS } from './companions.js';
import { HttpStatusError } from './http-request.js';
import { openHttpSource } from './http-source.js';
import { cachedFile, cachedSnapshot } from './hub-cache.js';
import { hubSettings } from './hub-settings.js';
import { isNotThere, listHubFiles } from './hub-source.js';
import { formatHubSpec, type HubSpec } from './hub-spec.js';
import { type ResolvedInput, type ResolveOptions, resolveFolder } from './resolve-input.js';

/**
 * The adapter of a Hub repository, or one file of it with its companions. A cached file is resolved inside the cache,
 * without a request; a repository is always listed by the Hub, because a cache may hold only some of its files (with
 * HF_HUB_OFFLINE the cache decides).
 *
 * @throws {FormatError} `E_HUB` for no or several adapters, with the candidates; `E_HTTP`.
 */
export async function resolveHub(spec: HubSpec, options: ResolveOptions): Promise<ResolvedInput> {
	const settings = hubSettings(options.env);
	if (spec.path !== '') {
		const cached = cachedFile(settings.cache, spec);
		const beside = cached === undefined ? undefined : await findCompanions(cached);
		// Whoever fetched a PEFT file alone has half an adapter in the cache: then the Hub is asked for the rest.
		const complete =
			beside !== undefined && (settings.offline || beside.config !== undefined || !/^adapter_model\./.test(nameOf(spec.path)));
		if (complete) return { main: formatHubSpec(spec), companions: beside, others: [] };
		return { main: formatHubSpec(spec), companions: await companionsOnHub(spec, options), others: [] };
	}
	if (settings.offline) {
		const snapshot = cachedSnapshot(settings.cache, spec);
		if (snapshot !== undefined) return resolveFolder(snapshot);
	}
	const files = await listHubFiles(spec, undefined, options);
	const name = formatHubSpec(spec);
	const choice = chooseOnHub(files, name);
	const inFolder = files.filter((file) => folderOf(file) === folderOf(choice.main));
	return {
		main: formatHubSpec({ ...spec, path: choice.main }),
		companions: named(spec, choice.main, inFolder),
		others: choice.others.map((path) => formatHubSpec({ ...spec, path })),
	};
}

/** A Web address: only PEFT's own file names say what must lie beside them. */
export async function resolveHttp(url: string, options: ResolveOptions): Promise<ResolvedInput> {
	const sibling = URL.canParse(url) ? new URL(url) : undefined;
	if (sibling === undefined || !/\/adapter_model\.(?:safetensors|bin)$/.test(sibling.pathname)) {
		return { main: url, companions: NO_COMPANIONS, others: [] };
	}
	sibling.pathname = sibling.pathname.replace(/[^/]*$/, 'adapter_config.json');
	try {
		const { env: _env, list: _list, ...http } = options;
		await (await openHttpSource(sibling.href, http)).close();
		return { main: url, companions: { ...NO_COMPANIONS, config: sibling.href }, others: [] };
	} catch (error) {
		if (error instanceof HttpStatusError) return { main: url, companions: NO_COMPANIONS, others: [] };
		throw error;
	}
}

function chooseOnHub(files: readonly string[], name: string): { main: string; others: readonly string[] } {
	try {
		const choice = chooseAdapter(files, name);
		if (choice !== undefined) return choice;
	} catch (error) {
		if (error instanceof FormatError && error.code === 'E_AMBIGUOUS') throw new FormatError('E_HUB', error.message, { cause: error });
		throw error;
	}
	throw new FormatError('E_HUB', `${quote(name)} holds no weight file (.safetensors, .bin, .pt); is it the right repository?`);
}

async function companionsOnHub(spec: HubSpec, options: ResolveOptions): Promise<Companions> {
	try {
		return named(spec, spec.path, await listHubFiles(spec, folderOf(spec.path), options));
	} catch (error) {
		// Opening the file itself will say what is wrong, about the name that the user gave.
		if (isNotThere(error)) return NO_COMPANIONS;
		throw error;
	}
}

function named(spec: HubSpec, main: string, files: readonly string[]): Companions {
	const folder = folderOf(main);
	const names = companionNames(nameOf(main), files.map(nameOf));
	const full = (name: string) => formatHubSpec({ ...spec, path: folder === '' ? name : `${folder}/${name}` });
	return {
		textEncoder: names.textEncoder === undefined ? undefined : full(names.textEncoder),
		embeddings: names.embeddings.map(full),
		config: names.config === undefined ? undefined : full(names.config),
	};
}
