/** A file that was picked, dropped or fetched, and where it was below the folder. */
export interface NamedFile {
	/** With `/`. */
	readonly path: string;
	readonly blob: Blob;
}

/** Where to compute; `auto` is WebGPU where there is a device, else WebAssembly. */
export type DeviceChoice = 'auto' | 'webgpu' | 'wasm';

/** What the form says. Numbers are checked by the runtime, which has the sentences. */
export interface RenderSettings {
	readonly prompt: string;
	/** Empty: none. */
	readonly negative: string;
	/** Digits: seeds go to 2^64 - 1, further than numbers. */
	readonly seed: string;
	readonly steps: number;
	readonly scheduler: string;
	readonly guidance: number;
	/** Pixels. */
	readonly width: number;
	readonly height: number;
	/** Of the adapter. */
	readonly scale: number;
}

/** An open base, as the page shows it. */
export interface BaseFacts {
	readonly name: string;
	readonly architecture: string;
	/** Bytes of all files that were given. */
	readonly bytes: number;
	/** Pixels it was trained on. */
	readonly width: number;
	readonly height: number;
	/** Prompts that the folder itself brings along. */
	readonly prompts: readonly string[];
	/** What computes. */
	readonly engine: string;
	readonly notes: readonly string[];
	/** Of the adapter that was on before and does not fit this base; it was taken off. */
	readonly adapterRefused: Failure | undefined;
}

/** An adapter that is on, as the page shows it. */
export interface AdapterFacts {
	readonly name: string;
	readonly layout: string;
	readonly modules: number;
	/** Words of embeddings that it brings along. */
	readonly tokens: readonly string[];
	readonly notes: readonly string[];
}

/** Bytes (height, width, 3). */
export interface Picture {
	readonly width: number;
	readonly height: number;
	readonly data: Uint8Array;
}

/** A finished picture. */
export interface Rendered {
	readonly picture: Picture;
	/** Name of the adapter it was drawn with. */
	readonly adapter: string | undefined;
	readonly base: string;
	readonly seconds: number;
	/** Sessions made since the page was opened: a new scale makes none. */
	readonly sessions: number;
	/** What of the prompts did not fit. */
	readonly notes: readonly string[];
}

export interface Failure {
	readonly code: string;
	readonly message: string;
}

/** What the page may ask of the worker, by name. */
export interface Calls {
	readonly openBase: {
		readonly given: { readonly files: readonly NamedFile[]; readonly device: DeviceChoice };
		readonly result: BaseFacts;
	};
	/** No files: no adapter. */
	readonly setAdapter: { readonly given: { readonly files: readonly NamedFile[] }; readonly result: AdapterFacts | undefined };
	readonly render: { readonly given: RenderSettings; readonly result: Rendered };
}

export type CallName = keyof Calls;

export type ToWorker =
	| {
			readonly [K in CallName]: { readonly type: 'call'; readonly id: number; readonly name: K; readonly given: Calls[K]['given'] };
	  }[CallName]
	| { readonly type: 'stop' };

/** News while a call is under way. */
export type Progress =
	/** Bytes of weights. */
	| { readonly stage: 'loading'; readonly component: string; readonly done: number; readonly total: number }
	/** `step` of `steps` is done. */
	| { readonly stage: 'drawing'; readonly step: number; readonly steps: number; readonly preview: Picture | undefined };

export type ToPage =
	| { readonly type: 'result'; readonly id: number; readonly result: Calls[CallName]['result'] }
	| { readonly type: 'failure'; readonly id: number; readonly failure: Failure }
	| { readonly type: 'progress'; readonly progress: Progress };
