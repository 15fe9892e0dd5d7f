import { blobSource, FormatError, type InputSources, quote } from '@lorakit/format';
import type { NamedFile } from './messages.js';

/** Longest `adapter_config.json`. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/**
 * The files of one adapter: its weights, and what layouts keep beside them: PEFT's `adapter_config.json`, cloneofsimo's
 * `NAME.text_encoder.pt` and `NAME.ti.pt`, embeddings `NAME_emb.safetensors`. Others (README.md, pictures) are passed over.
 * @throws {FormatError} `E_USAGE` when no file, or more than one, has weights.
 */
export async function adapterSources(files: readonly NamedFile[]): Promise<InputSources> {
	const named = files.map(({ path, blob }) => ({ name: path.slice(path.lastIndexOf('/') + 1), blob }));
	const pick = (test: RegExp) => named.filter(({ name }) => test.test(name));
	const configs = pick(/^adapter_config\.json$/);
	const texts = pick(/\.text_encoder\.pt$/i);
	const embeddings = named.length === 1 ? [] : pick(/\.ti\.pt$|._emb(?:s|eds?|eddings?)?(?:[-_.\d].*)?\.safetensors$/i);
	const beside = new Set([...configs, ...texts, ...embeddings]);
	// A single file is tried whatever it is called: the reader knows what it is.
	const main =
		named.length === 1 ? named : named.filter((file) => !beside.has(file) && /\.(?:safetensors|bin|pt|pth|ckpt)$/i.test(file.name));
	const [first] = main;
	if (first === undefined)
		throw new FormatError('E_USAGE', `None of ${files.length} files has an adapter's weights; pick a .safetensors, .bin or .pt file.`);
	if (main.length > 1) {
		const names = main.map(({ name }) => quote(name)).join(', ');
		throw new FormatError('E_USAGE', `${main.length} files have weights (${names}); this page puts one adapter on, so pick one of them.`);
	}
	const [config] = configs;
	if (config !== undefined && config.blob.size > MAX_CONFIG_BYTES) {
		throw new FormatError('E_LIMIT', `adapter_config.json has ${config.blob.size} bytes; such a file has at most ${MAX_CONFIG_BYTES}.`);
	}
	const source = (file: { readonly name: string; readonly blob: Blob }) => blobSource(file.blob, file.name);
	return {
		main: source(first),
		textEncoder: texts[0] === undefined ? undefined : source(texts[0]),
		embeddings: embeddings.map(source),
		config: await config?.blob.text(),
	};
}
