import type { Adapter, Naming } from '../adapter.js';
import type { Warning } from '../errors.js';
import type { BaseInventory } from '../modules/inventory.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';

/** Everything that one adapter's files say: the file itself and the companions found beside it. */
export interface LayoutInput {
	readonly file: StateDict;
	/** `STEM.text_encoder.pt` of cloneofsimo. */
	readonly textEncoder: StateDict | undefined;
	/** `STEM.ti.pt`, `STEM_emb*.safetensors`: embeddings that travel beside. */
	readonly embeddings: readonly StateDict[];
	/** `adapter_config.json` of PEFT: the text as it stands in the file. */
	readonly config: string | undefined;
	/** Modules of the real base, from --base. */
	readonly base: BaseInventory | undefined;
}

/** What a layout says about a file before decoding it. Reads names, shapes, metadata: never data. */
export interface Claim {
	/** Names that this layout can read. */
	readonly names: ReadonlySet<string>;
	/** 0: not this layout; 1: certain. Compared only between layouts that claim the same names. */
	readonly confidence: number;
	/** One sentence each: "264 names begin with lora_unet_". */
	readonly evidence: readonly string[];
}

export interface DecodeOptions {
	/** cloneofsimo: class order of diffusers <= 0.14 (`old`) or >= 0.15 (`new`), where nothing in the file says. */
	readonly order?: 'old' | 'new' | undefined;
	/** PEFT named adapters: which one, when several are in the file. */
	readonly adapterName?: string | undefined;
	/** Undo known damage (doubled prefixes, flattened names, ...), each with a warning `W_REPAIRED`. */
	readonly repair?: boolean | undefined;
}

export interface EncodeOptions {
	/** Where OUT will be: layouts with two containers (cloneofsimo) write differently. */
	readonly container: 'safetensors' | 'torch-zip';
	/** See `lora convert --alpha`. */
	readonly alpha: 'keep' | 'fold' | 'tensors' | 'metadata';
	readonly order?: 'old' | 'new' | undefined;
}

/** Something the target has no way to say. Empty list = exact. */
export interface Loss {
	/** Input tensor name or `metadata:KEY`. */
	readonly what: string;
	/** Full sentence. */
	readonly why: string;
}

/** One input thing whose meaning went somewhere that is no tensor of the output: alpha into the metadata, say. */
export interface Absorbed {
	/** Input tensor name, or `metadata:KEY`, `config:KEY`. */
	readonly from: string;
	/** e.g. `metadata:lora_adapter_metadata`, `adapter_config.json`, `names`, `alpha tensors`. */
	readonly into: string;
	/** Largest relative error this causes in the delta; 0 when exact. */
	readonly errorBound: number;
}

/** A file to be written, still lazy: tensors are read or computed when the container writes them. */
export interface EncodedFile {
	/** Appended to the stem of OUT: '' for OUT itself, `.text_encoder.pt`, `.ti.pt`. */
	readonly suffix: string;
	readonly tensors: ReadonlyMap<string, Tensor>;
	readonly metadata: ReadonlyMap<string, string>;
	/** torch: write a list (names are `0`, `1`, ...) instead of a dict. */
	readonly top: 'dict' | 'list';
}

export interface Encoded {
	/** First is OUT itself. */
	readonly files: readonly EncodedFile[];
	/** Text files beside OUT: `adapter_config.json`. */
	readonly sideFiles: ReadonlyMap<string, string>;
	readonly absorbed: readonly Absorbed[];
	readonly losses: readonly Loss[];
	/** Embeddings that the target has no slot for: the caller writes them beside OUT. */
	readonly embeddingsBeside: boolean;
	readonly warnings: readonly Warning[];
}

/**
 * One way of naming an adapter's tensors inside a file. A plain object of pure functions: no I/O, no logging,
 * input untouched. Adding one: one file, one line in `layouts/index.ts`, one fixture folder (CONTRIBUTING.md).
 */
export interface Layout {
	/** As in docs/layouts.md and `--from`/`--to`: `kohya`, `peft`, ... */
	readonly id: string;
	/** One line for help and tables. */
	readonly title: string;
	/** Other names for `--to` and `--from`: `a1111`, `comfy`. */
	readonly aliases: readonly string[];
	/** Names of paths this layout can write; convert renames first when the adapter has another. Empty: any. */
	readonly namings: readonly Naming[];
	/**
	 * The naming this layout's readers know an adapter of this kind by, where `namings` leaves a choice and the adapter
	 * comes from elsewhere (kohya: Flux in BFL's names). Undefined: as the adapter has it.
	 */
	readonly naming?: ((adapter: Adapter) => Naming | undefined) | undefined;
	/** True where names are flattened anyway, so that a module whose real path is not known can still be written. */
	readonly flat?: true | undefined;
	/** True where `adapter_config.json` is part of the layout: elsewhere one that lies beside means nothing. */
	readonly configured?: true | undefined;
	/** Which readers use it, for people. */
	readonly readers: string;
	claim(input: LayoutInput): Claim;
	/** @throws {FormatError} any `E_LORA_*`, `E_UNKNOWN_KEY`, `E_AMBIGUOUS`, `E_MODULE_ORDER`, `E_CONFIG`. */
	decode(input: LayoutInput, options: DecodeOptions): Adapter;
	/** Undefined for layouts that are only read. Never throws for what it cannot say: it lists `losses`. */
	readonly encode: ((adapter: Adapter, options: EncodeOptions) => Encoded) | undefined;
}
