import { FormatError, quote } from '@lorakit/format';
import { type Choice, chooseAdapter, companionNames, type HubSpec } from '@lorakit/format/node';

/** The files of an adapter among those of its repository. */
export interface AdapterFiles extends Choice {
	/** Paths of what belongs to `main`: `adapter_config.json`, a text encoder part, embeddings. Sorted. */
	readonly companions: readonly string[];
}

/**
 * The adapter of a repository: the file that was named; else at the top `pytorch_lora_weights.safetensors` or
 * `adapter_model.safetensors`, else the only `.safetensors`; else what `chooseAdapter` of format finds
 * (`pytorch_lora_weights.bin`, then folders).
 *
 * @throws {FormatError} `E_HUB` with the candidates and how to name one.
 */
export function chooseHubAdapter(paths: readonly string[], spec: HubSpec): AdapterFiles {
	const choice = spec.path === '' ? chooseByName(paths, spec) : named(paths, spec);
	const folder = choice.main.slice(0, choice.main.lastIndexOf('/') + 1);
	const beside = paths.filter((path) => path.startsWith(folder)).map((path) => path.slice(folder.length));
	const { textEncoder, embeddings, config } = companionNames(choice.main.slice(folder.length), beside);
	const companions = [textEncoder, config, ...embeddings].filter((name) => name !== undefined).map((name) => `${folder}${name}`);
	return { ...choice, companions: companions.sort() };
}

function named(paths: readonly string[], spec: HubSpec): Choice {
	if (paths.includes(spec.path)) return { main: spec.path, others: [] };
	const known = paths.filter((path) => /\.(?:safetensors|bin|pt|pth|ckpt)$/i.test(path));
	const list = known.length === 0 ? 'it has no weight files' : `its weight files are ${listed(known)}`;
	throw new FormatError('E_HUB', `${spec.repo} has no file ${quote(spec.path)}; ${list}.`);
}

function chooseByName(paths: readonly string[], spec: HubSpec): Choice {
	const place = spec.repo;
	try {
		const choice = chooseAdapter(topSafetensors(paths), place) ?? chooseAdapter(paths, place);
		if (choice !== undefined) return choice;
	} catch (error) {
		if (!(error instanceof FormatError) || error.code !== 'E_AMBIGUOUS') throw error;
		throw new FormatError('E_HUB', `${error.message.replace(/\.$/, '')}: ${spec.repo}/FILE or ${spec.repo}:FILE.`, { cause: error });
	}
	throw new FormatError('E_HUB', `${spec.repo} holds no weight file (.safetensors, .bin, .pt); is it the right repository?`);
}

/** Those at the top that are no embeddings of another file there. */
function topSafetensors(paths: readonly string[]): string[] {
	const top = paths.filter((path) => !path.includes('/'));
	const embeddings = new Set(top.flatMap((name) => companionNames(name, top).embeddings));
	return top.filter((name) => /\.safetensors$/i.test(name) && !embeddings.has(name));
}

function listed(paths: readonly string[]): string {
	const shown = paths.slice(0, 8).map(quote).join(', ');
	return paths.length > 8 ? `${shown} and ${paths.length - 8} more` : shown;
}
