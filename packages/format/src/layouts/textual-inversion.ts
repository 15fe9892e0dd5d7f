import type { Embedding } from '../adapter.js';
import { isFloat } from '../dtype.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';

/**
 * Textual inversion files beside an adapter (LAYOUTS §2.19): cloneofsimo's `.ti.pt` (token -> vector), a bare token
 * tensor, A1111's `string_to_param.*` and `emb_params`, SDXL's `clip_l` + `clip_g`, Flux's `clip_l` + `t5`.
 *
 * Files we write hold one token: under the token's own name (diffusers' `load_textual_inversion` wants a dict of one,
 * A1111 takes the first tensor), or its slots (`clip_l`, `clip_g`), which both read for SDXL. What the key cannot say
 * stands in the header: `lorakit.token`, `lorakit.slot`, `lorakit.component[.SLOT]`.
 */
export const TOKEN_KEY: string = 'lorakit.token';
const SLOT_KEY = 'lorakit.slot';
const COMPONENT_KEY = 'lorakit.component';

/** Leaf names that belong to a text encoder. */
const SLOT_COMPONENTS: ReadonlyMap<string, string> = new Map([
	['clip_l', 'text_encoder'],
	['clip_g', 'text_encoder_2'],
	['t5', 'text_encoder_2'],
	['clip_l_out', 'text_encoder'],
	['clip_g_out', 'text_encoder_2'],
	['t5_out', 'text_encoder_2'],
]);

/** Every embedding in the files found beside an adapter. */
export function embeddingsBeside(files: readonly StateDict[]): readonly Embedding[] {
	return files.flatMap((file) => readEmbeddings(file));
}

/** Shapes a token's vectors can have: (d) or (n, d), of a float type. */
export function isTokenTensor(tensor: Tensor): boolean {
	return isFloat(tensor.dtype) && (tensor.shape.length === 1 || tensor.shape.length === 2) && tensor.shape.every((d) => d > 0);
}

/**
 * The embeddings of a file beside an adapter. Tensors that cannot be token vectors are left out; the caller sees that
 * by comparing counts.
 */
export function readEmbeddings(file: StateDict): readonly Embedding[] {
	const token = file.metadata.get(TOKEN_KEY);
	const stem = stemOf(file.name);
	const out: Embedding[] = [];
	for (const [name, vectors] of file.tensors) {
		if (!isTokenTensor(vectors)) continue;
		const said = file.metadata.get(SLOT_KEY);
		const slot = said === undefined ? slotOf(name) : '';
		const component =
			file.metadata.get(`${COMPONENT_KEY}.${slot}`) ?? SLOT_COMPONENTS.get(slot) ?? file.metadata.get(COMPONENT_KEY) ?? 'text_encoder';
		// A slot name needs the file's name for its token; any other key is the token itself.
		if (slot !== '') out.push({ token: token ?? file.metadata.get('name') ?? stem, slot, component, vectors });
		else out.push({ token: token ?? name, slot: said ?? '', component, vectors });
	}
	return out;
}

/** `clip_l`, `emb_params`, `string_to_param.*`, or '' for a key that is a token. */
function slotOf(name: string): string {
	if (SLOT_COMPONENTS.has(name) || name === 'emb_params') return name;
	if (name === 'string_to_param' || name === '<string_to_param>' || name.startsWith('string_to_param.')) return 'string_to_param.*';
	return '';
}

/** True for a file that holds nothing but token vectors: every key a slot, or 1-D and 2-D float tensors of CLIP's widths. */
export function looksLikeEmbeddings(file: StateDict): boolean {
	if (file.tensors.size === 0 || file.top !== 'dict') return false;
	for (const [name, tensor] of file.tensors) {
		if (!isTokenTensor(tensor)) return false;
		if (slotOf(name) === '' && file.metadata.get(TOKEN_KEY) === undefined && !/^<.*>$|^[^.:/]{1,64}$/.test(name)) return false;
	}
	return true;
}

/** One file to write beside OUT: OUT's stem + `fileStemSuffix` + `.safetensors`. */
export interface EmbeddingFile {
	readonly fileStemSuffix: string;
	readonly tensors: ReadonlyMap<string, Tensor>;
	readonly metadata: ReadonlyMap<string, string>;
}

/** One file per token; the parts of one token (`clip_l` + `clip_g`) share a file. */
export function embeddingFiles(embeddings: readonly Embedding[]): readonly EmbeddingFile[] {
	const tokens = new Map<string, Embedding[]>();
	for (const embedding of embeddings) {
		const own = tokens.get(embedding.token);
		if (own === undefined) tokens.set(embedding.token, [embedding]);
		else own.push(embedding);
	}
	const used = new Set<string>();
	const files: EmbeddingFile[] = [];
	for (const [token, parts] of tokens) {
		const suffix = tokens.size === 1 ? '_emb' : unique(`_emb_${sanitise(token)}`, used);
		const slots = new Map<string, Tensor>();
		const rest: Embedding[] = [];
		for (const part of parts) {
			if (SLOT_COMPONENTS.has(part.slot) && !slots.has(part.slot)) slots.set(part.slot, part.vectors);
			else rest.push(part);
		}
		if (slots.size > 0) {
			const metadata = tokenMetadata(token);
			for (const part of parts) {
				if (slots.get(part.slot) !== part.vectors || SLOT_COMPONENTS.get(part.slot) === part.component) continue;
				metadata.set(`${COMPONENT_KEY}.${part.slot}`, part.component);
			}
			files.push({ fileStemSuffix: suffix, tensors: slots, metadata });
		}
		rest.forEach((part, i) => {
			const metadata = tokenMetadata(token);
			if (part.slot !== '' || slotOf(token) !== '') metadata.set(SLOT_KEY, part.slot);
			if (part.component !== 'text_encoder') metadata.set(COMPONENT_KEY, part.component);
			const own = slots.size === 0 && i === 0 ? suffix : unique(`${suffix}_${part.component}`, used);
			files.push({ fileStemSuffix: own, tensors: new Map([[token, part.vectors]]), metadata });
		});
	}
	return files;
}

function tokenMetadata(token: string): Map<string, string> {
	return new Map([
		['format', 'pt'],
		[TOKEN_KEY, token],
	]);
}

/** A token as part of a file name: letters, digits, `-` and `_`; at most 40 characters. */
function sanitise(token: string): string {
	const clean = token
		.replace(/[^A-Za-z0-9_-]+/g, '-')
		.replace(/^-+|-+$/g, '')
		.slice(0, 40);
	return clean === '' ? 'token' : clean;
}

function unique(name: string, used: Set<string>): string {
	let candidate = name;
	for (let n = 2; used.has(candidate.toLowerCase()); n++) candidate = `${name}-${n}`;
	used.add(candidate.toLowerCase());
	return candidate;
}

/** `dir/my-style.safetensors` -> `my-style`. */
function stemOf(path: string): string {
	const base = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
	return base.replace(/\.(?:safetensors|pt|bin|ckpt|pth)$/i, '') || 'embedding';
}
