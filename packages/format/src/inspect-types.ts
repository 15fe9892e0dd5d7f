import type { RuntimeId } from './runtimes-table.js';

/** A value and for how many modules it holds. */
export interface Count<T> {
	readonly value: T;
	readonly modules: number;
}

/** Smallest and largest scaling of some modules; null when none of them was read or has one. */
export interface StrengthRange {
	readonly min: number;
	readonly max: number;
}

export interface InspectComponent {
	readonly component: string;
	readonly modules: number;
	readonly ranks: readonly Count<number>[];
	readonly strength: StrengthRange | null;
	readonly families: readonly Count<string>[];
}

export interface InspectBlock {
	readonly component: string;
	/** `down_blocks.0`, `mid_block`, `layers.11`, `double_blocks.3`. */
	readonly block: string;
	readonly modules: number;
	readonly rank: { readonly min: number; readonly max: number } | null;
	readonly strength: StrengthRange | null;
}

export interface InspectReading {
	readonly layout: string;
	readonly title: string;
	/** Names it understands. */
	readonly names: number;
	readonly confidence: number;
	readonly evidence: readonly string[];
}

export interface InspectFinding {
	readonly code: string;
	readonly message: string;
	readonly at: string | null;
}

export interface InspectRuntime {
	readonly runtime: RuntimeId;
	readonly name: string;
	readonly modules: number;
	readonly own: number;
	readonly applied: number;
	readonly message: string;
	readonly source: string;
}

export interface InspectEmbedding {
	readonly token: string;
	readonly slot: string;
	readonly component: string;
	readonly vectors: number;
	readonly width: number;
}

/** Everything `lora inspect` says, as plain data. `inspect.schema.json`. */
export interface InspectReport {
	readonly schema: 'lora.inspect/1';
	readonly file: {
		readonly name: string;
		/** null: not known to the caller. */
		readonly bytes: number | null;
		readonly container: string;
		readonly companions: readonly string[];
		readonly tensors: number;
		/** Numbers in all tensors. */
		readonly parameters: number;
		/** Bytes of all tensors. */
		readonly dataBytes: number;
		readonly dtypes: readonly { readonly dtype: string; readonly tensors: number; readonly bytes: number }[];
	};
	/** `lora`: decoded. `ambiguous`: two readings as good. `damaged`: meant as a LoRA and refused. `not-lora`, `empty`: neither. */
	readonly kind: 'lora' | 'ambiguous' | 'damaged' | 'not-lora' | 'empty';
	/** What it is, in one sentence. */
	readonly what: string;
	readonly layout: InspectReading | null;
	/** All layouts that could read names of it, best first. */
	readonly readings: readonly InspectReading[];
	readonly base: {
		readonly family: string;
		readonly label: string;
		readonly confidence: number;
		readonly evidence: readonly string[];
	} | null;
	readonly naming: string | null;
	readonly modules: number;
	/** Modules whose names no table could take apart. */
	readonly unresolved: number;
	readonly components: readonly InspectComponent[];
	readonly ranks: readonly Count<number>[];
	/** null: nobody says alpha. */
	readonly alphas: readonly Count<number | null>[];
	readonly alphaSources: readonly Count<string>[];
	readonly rules: readonly Count<string>[];
	readonly strength: StrengthRange | null;
	readonly families: readonly Count<string>[];
	/** Modules with a DoRA magnitude. */
	readonly dora: number;
	readonly embeddings: readonly InspectEmbedding[];
	readonly triggerWords: readonly { readonly word: string; readonly source: string }[];
	readonly tags: readonly { readonly tag: string; readonly count: number }[];
	readonly resolution: { readonly width: number; readonly height: number } | null;
	/** Facts of the training, in the order in which people ask. */
	readonly training: readonly { readonly fact: string; readonly value: string }[];
	/** Hashes as the file and the caller know them. */
	readonly hashes: readonly { readonly kind: string; readonly value: string; readonly from: 'metadata' | 'computed' }[];
	/** Runtimes that apply another strength than the file means. */
	readonly runtimes: readonly InspectRuntime[];
	readonly blocks: readonly InspectBlock[];
	/** Tensors that no layout knows. */
	readonly unknown: readonly string[];
	/** Tensors that no reader ever used. */
	readonly dead: number;
	readonly metadata: readonly { readonly key: string; readonly characters: number }[];
	readonly warnings: readonly InspectFinding[];
	/** Why it would be refused by convert and validate. */
	readonly errors: readonly InspectFinding[];
}
