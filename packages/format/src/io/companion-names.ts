/**
 * Which names beside an adapter's file belong to it. Pure functions over names, shared by folders, the Hub's cache
 * and the Hub itself.
 *
 * - cloneofsimo: `foo.pt` -> `foo.text_encoder.pt`, `foo.ti.pt` (cloneofsimo/lora@d84074b lora_diffusion/lora.py
 *   `_text_lora_path`, `_ti_lora_path`: the last dot-part is dropped).
 * - PEFT: `adapter_config.json` in the same folder, whatever the file is called.
 * - Embeddings: `foo_emb*.safetensors` beside `foo.*` (what lorakit writes), and the single `*_emb.safetensors` beside
 *   `pytorch_lora_weights.*` (diffusers' advanced scripts name it after the output folder), and `learned_embeds.safetensors`,
 *   with its `learned_embeds_2` and so on, beside it (what lorakit's trainer writes).
 */

/** Files of an adapter that are one of several: the same name in another container is the same adapter. */
const WEIGHT_EXTENSIONS: readonly string[] = ['.safetensors', '.bin', '.pt', '.pth', '.ckpt'];
const TORCH_EXTENSIONS: readonly string[] = ['.pt', '.bin', '.pth', '.ckpt'];

/** Names of companions of one file, inside the same folder. */
export interface CompanionNames {
	readonly textEncoder: string | undefined;
	readonly embeddings: readonly string[];
	readonly config: string | undefined;
}

/** The name without a weight extension, or undefined when it has none. */
export function weightStem(name: string): string | undefined {
	const extension = WEIGHT_EXTENSIONS.find((e) => name.toLowerCase().endsWith(e));
	return extension === undefined || name.length === extension.length ? undefined : name.slice(0, -extension.length);
}

/** True for `foo.text_encoder.pt`, `foo.ti.pt`: files that are companions by their own name. */
export function isCompanionName(name: string): boolean {
	return /.\.(?:text_encoder|ti)\.pt$/i.test(name);
}

/** Rest of an embedding's name after the stem: `_emb`, `_emb_2`, `_embeddings`, but not `_embroidery`. */
const EMBEDDING_REST = /^_emb(?:s|eds?|eddings?)?(?:[-_.\d].*)?\.safetensors$/i;

/** True for a name that is `STEM_emb*.safetensors` for some stem. */
export function isEmbeddingName(name: string): boolean {
	const at = name.toLowerCase().lastIndexOf('_emb');
	return at > 0 && EMBEDDING_REST.test(name.slice(at));
}

/** The companions of `main` among the names of its folder. */
export function companionNames(main: string, names: Iterable<string>): CompanionNames {
	const all = new Set(names);
	const stem = weightStem(main);
	const pick = (name: string) => (name !== main && all.has(name) ? name : undefined);
	const config = pick('adapter_config.json');
	if (stem === undefined || isCompanionName(main)) return { textEncoder: undefined, embeddings: [], config };
	const torch = TORCH_EXTENSIONS.some((e) => main.toLowerCase().endsWith(e));
	const embeddings = [...all].filter((name) => name !== main && name.startsWith(stem) && EMBEDDING_REST.test(name.slice(stem.length)));
	if (embeddings.length === 0 && stem === 'pytorch_lora_weights') {
		const others = [...all].filter((name) => /._emb\.safetensors$/i.test(name));
		if (others.length === 1) embeddings.push(...others);
		embeddings.push(...[...all].filter((name) => /^learned_embeds(?:_\d+)?\.safetensors$/i.test(name)));
	}
	const inversion = torch ? pick(`${stem}.ti.pt`) : undefined;
	if (inversion !== undefined) embeddings.push(inversion);
	return { textEncoder: torch ? pick(`${stem}.text_encoder.pt`) : undefined, embeddings: embeddings.sort(), config };
}

/** Files that training leaves beside an adapter and that are none. */
const TRAINING_STATE =
	/^(?:optimizer|scheduler|scaler|training_args|rng_state.*|random_states.*|custom_checkpoint.*|learned_embeds.*|global_step.*)\.(?:pt|pth|bin|safetensors)$/i;

/** True for a weight file that can be an adapter on its own: no companion of a file that is there, no training state. */
export function isMainName(name: string, all: ReadonlySet<string>): boolean {
	if (weightStem(name) === undefined || TRAINING_STATE.test(name)) return false;
	if (isCompanionName(name)) {
		const stem = name.replace(/\.(?:text_encoder|ti)\.pt$/i, '');
		return !TORCH_EXTENSIONS.some((e) => all.has(stem + e));
	}
	if (!isEmbeddingName(name)) return true;
	const stem = name.slice(0, name.toLowerCase().lastIndexOf('_emb'));
	return (
		!all.has('pytorch_lora_weights.safetensors') &&
		!all.has('pytorch_lora_weights.bin') &&
		!WEIGHT_EXTENSIONS.some((e) => all.has(stem + e))
	);
}
