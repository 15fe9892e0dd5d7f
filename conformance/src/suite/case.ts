/** Levels of evidence, the weakest claim first. What each asks: PROTOCOL.md. */
export type Level = 'L0' | 'L1' | 'L2' | 'L3' | 'L4' | 'L5' | 'L6';

export const LEVELS: readonly Level[] = ['L0', 'L1', 'L2', 'L3', 'L4', 'L5', 'L6'];

/** Runtimes whose rules legitimately differ from the common one. */
export type Profile = 'comfy' | 'peft' | 'diffusers' | 'kohya';

export const PROFILES: readonly Profile[] = ['comfy', 'peft', 'diffusers', 'kohya'];

/** In which dtype a subject holds weights and adds to them. */
export type Precision = 'f32' | 'f16' | 'bf16';

export const PRECISIONS: readonly Precision[] = ['f32', 'f16', 'bf16'];

/** One number, or one for each component. */
export type Strength = number | Readonly<Record<string, number>>;

export interface AdapterRef {
	readonly file: string;
	readonly config?: string;
	readonly textEncoder?: string;
	readonly strength?: Strength;
}

export interface BaseRef {
	readonly architecture: string;
	readonly names?: string;
	readonly components?: Readonly<Record<string, string>>;
	readonly configs?: Readonly<Record<string, string>>;
	readonly complete?: boolean;
}

export type Action =
	| { readonly do: 'load' | 'swap'; readonly name: string; readonly adapter: AdapterRef }
	| { readonly do: 'strength'; readonly name: string; readonly value: Strength }
	| { readonly do: 'unload'; readonly name: string }
	| { readonly do: 'export'; readonly as: string };

export interface OpenRequest {
	readonly op: 'open';
	readonly file: string;
}

export interface AdapterRequest {
	readonly op: 'describe' | 'scaling' | 'delta';
	readonly adapter: AdapterRef;
	readonly base?: BaseRef;
}

export interface WeightsRequest {
	readonly op: 'weights';
	readonly base: BaseRef;
	readonly actions: readonly Action[];
}

export interface ForwardRequest {
	readonly op: 'forward';
	readonly base: BaseRef;
	readonly adapters: readonly AdapterRef[];
	readonly component: string;
	readonly module?: string;
	readonly inputs: string;
}

export interface ImageRequest {
	readonly op: 'image';
	readonly base: BaseRef;
	readonly adapters: readonly AdapterRef[];
	readonly prompt?: string;
	readonly negative?: string;
	readonly inputs: string;
	readonly scheduler: { readonly name: string; readonly config: Readonly<Record<string, unknown>> };
	readonly steps: number;
	readonly guidance: number;
	readonly height: number;
	readonly width: number;
	readonly clipSkip?: number;
}

export type CaseRequest = OpenRequest | AdapterRequest | WeightsRequest | ForwardRequest | ImageRequest;

/** What a tensor of a file is: dtype in safetensors' words and the hash of its bytes. */
export interface TensorFacts {
	readonly dtype: string;
	readonly shape: readonly number[];
	readonly sha256: string;
}

export type ExpectedExport = { readonly same: string } | { readonly file: string; readonly magnitude?: Readonly<Record<string, number>> };

/** Union of all levels' expectations: which fields are there says which (case.schema.json). */
export interface Expect {
	readonly refuse?: true;
	readonly codes?: readonly string[];
	readonly orRefuse?: string;
	readonly tensors?: Readonly<Record<string, TensorFacts>>;
	readonly layout?: string;
	readonly modules?: Readonly<Record<string, number | null>>;
	readonly unmatched?: readonly string[];
	readonly scaling?: Readonly<Record<string, number>>;
	readonly file?: string;
	readonly magnitude?: Readonly<Record<string, number>>;
	readonly exports?: Readonly<Record<string, ExpectedExport>>;
	readonly outputs?: string;
	readonly without?: string;
	readonly latents?: string;
	readonly png?: string;
	readonly faults?: string;
	readonly greyLevels?: number;
}

/** How far off one element may be; the formula is in case.schema.json `allowance`. */
export interface Allowance {
	readonly exact?: true;
	readonly abs?: number;
	readonly rel?: number;
	readonly gamma?: number;
	readonly ulp?: number;
	readonly gain?: number;
	readonly inconclusiveBelow?: number;
}

export interface Tolerance {
	readonly derivation: string;
	readonly f32: Allowance;
	readonly f16?: Allowance;
	readonly bf16?: Allowance;
}

export interface SourceLink {
	readonly url: string;
	readonly says: string;
	readonly demand?: number;
}

/** One case, as it stands in a group file. */
export interface Case {
	readonly id: string;
	readonly title: string;
	readonly level: Level;
	readonly since: string;
	readonly tags: readonly string[];
	readonly features?: readonly string[];
	readonly source: readonly SourceLink[];
	readonly reference: { readonly rule: string; readonly implementation?: string };
	readonly optional?: string;
	readonly hostile?: boolean;
	readonly request: CaseRequest;
	readonly expect: Expect;
	readonly profiles?: Readonly<
		Partial<Record<Profile, { readonly expect?: Expect; readonly skip?: true; readonly why: string; readonly url?: string }>>
	>;
	readonly tolerance?: Tolerance;
	readonly provenance: {
		readonly script: string;
		readonly seed?: number | string;
		readonly computations?: readonly string[];
		readonly agreement?: number;
		readonly licence?: string;
	};
}
