import type { Adapter, AlphaSource, Family, TargetModule } from './adapter.js';

/** Well-known readers of LoRA files. `kohya-merge` is sd-scripts' `merge_lora.py`, which differs from its trainer. */
export type RuntimeId = 'comfyui' | 'a1111' | 'diffusers' | 'peft' | 'kohya' | 'kohya-merge' | 'sd.cpp' | 'invokeai';

/** What one runtime does with alpha, as data. */
export interface RuntimeRow {
	readonly id: RuntimeId;
	readonly name: string;
	/** Where the rule was read: repo@commit path. */
	readonly source: string;
	/** Families it computes. */
	readonly families: ReadonlySet<Family>;
	readonly whyNoFamily: string;
	/** Places where it looks for alpha. Elsewhere it takes alpha = rank, scaling 1. */
	readonly alphaFrom: ReadonlySet<AlphaSource>;
	/** Whether a `.scale` tensor wins over alpha. */
	readonly readsScaleTensor: boolean;
	/** Whether alpha 0 means "alpha = rank" instead of "off". */
	readonly zeroAlphaIsRank: boolean;
	/** Whether a file of this layout and base reaches its LoRA loader at all. A quick rule: `checkTarget` looks at every name. */
	reads(adapter: Pick<Adapter, 'source' | 'base'>): boolean;
	/** Modules that it loads from such a file; undefined: all. */
	readonly loads: ((module: TargetModule, layout: string) => boolean) | undefined;
	/** The reasons, one phrase each. */
	readonly words: {
		readonly missing: string;
		readonly metadata: string;
		readonly config: string;
		readonly tensor: string;
		readonly scale: string;
		readonly zero: string;
	};
	/** What it does with keys it does not know. */
	readonly unmatched: string;
}

const LYCORIS: readonly Family[] = ['lora', 'locon', 'loha', 'lokr', 'full', 'norm', 'oft', 'glora'];
const TENSOR: ReadonlySet<AlphaSource> = new Set<AlphaSource>(['tensor']);

/** Layouts with kohya's flattened names, which every image tool reads. */
const FLAT: ReadonlySet<string> = new Set(['kohya', 'lycoris', 'lycoris-standalone', 'onetrainer', 'onetrainer-flux']);
/** Layouts with the dotted names of diffusers' pipelines. */
const DOTTED: ReadonlySet<string> = new Set([
	'diffusers',
	'diffusers-old',
	'diffusers-old-prefixed',
	'diffusers-attn-procs',
	'native-dotted',
	'omi',
	'ai-toolkit',
]);
type Readable = Pick<Adapter, 'source' | 'base'>;
const isPeft = ({ source }: Readable): boolean => source.layout === 'peft';
const isFlat = ({ source }: Readable): boolean => FLAT.has(source.layout);
const isImage = ({ source }: Readable): boolean => FLAT.has(source.layout) || DOTTED.has(source.layout);

function words(name: string): RuntimeRow['words'] {
	return {
		missing: 'the file has no alpha, so alpha = rank',
		metadata: `alpha is only in the header metadata, which ${name} does not read`,
		config: `alpha is only in adapter_config.json, which ${name} does not read`,
		tensor: `alpha stands in tensors, which ${name} does not read`,
		scale: `${name} does not read the .scale tensors`,
		zero: `alpha is 0, which ${name} takes for "alpha = rank"`,
	};
}

function row(
	id: RuntimeId,
	name: string,
	source: string,
	families: readonly Family[],
	more: Partial<RuntimeRow> & Pick<RuntimeRow, 'reads' | 'unmatched'>,
): RuntimeRow {
	return {
		id,
		name,
		source,
		families: new Set(families),
		whyNoFamily: `${name} does not compute this family`,
		loads: undefined,
		alphaFrom: TENSOR,
		readsScaleTensor: false,
		zeroAlphaIsRank: false,
		words: words(name),
		...more,
	};
}

/**
 * The table of docs/alpha.md: CONFORMANCE.md 1.4 as data. Alpha missing is scaling 1 in every row.
 * The rounding that each does afterwards is not our matter here.
 */
export const RUNTIMES: readonly RuntimeRow[] = [
	row('comfyui', 'ComfyUI', 'comfyanonymous/ComfyUI@0323d87 comfy/weight_adapter/lora.py calculate_weight', [...LYCORIS, 'boft'], {
		// `base_model.model.` is in ComfyUI's map for SD3 and PixArt alone.
		reads: (adapter) => isImage(adapter) || (isPeft(adapter) && adapter.base.family === 'sd3'),
		// In a dotted file the UNet's `.to_` is only known as `.processor.to_`.
		loads: (module, layout) =>
			FLAT.has(layout) || layout === 'diffusers-attn-procs' || module.component !== 'unet' || !module.path.includes('.to_'),
		unmatched: 'logs "lora key not loaded" and goes on',
	}),
	row('a1111', 'A1111', 'AUTOMATIC1111/stable-diffusion-webui extensions-builtin/Lora/network.py calc_scale', [...LYCORIS, 'ia3'], {
		readsScaleTensor: true,
		reads: isFlat,
		unmatched: 'collects the keys and names them in the log',
	}),
	row('diffusers', 'diffusers', 'huggingface/diffusers@58eb52c src/diffusers/utils/peft_utils.py get_peft_kwargs', ['lora'], {
		alphaFrom: new Set<AlphaSource>(['tensor', 'metadata']),
		reads: isImage,
		unmatched: 'refuses a kohya file with any key it cannot rename; loads nothing, silently, when no key has its prefix',
	}),
	row(
		'peft',
		'PEFT',
		'huggingface/peft@5d602fd src/peft/tuners/lora/layer.py update_layer',
		['lora', 'loha', 'lokr', 'peft-ia3', 'peft-oft', 'peft-boft', 'embedding', 'whole'],
		{ alphaFrom: new Set<AlphaSource>(['config']), reads: isPeft, unmatched: 'warns of missing and unexpected keys' },
	),
	row('kohya', 'kohya sd-scripts', 'kohya-ss/sd-scripts@48d368f networks/lora.py LoRAModule', ['lora'], {
		zeroAlphaIsRank: true,
		reads: isFlat,
		unmatched: 'logs them and goes on',
	}),
	row('kohya-merge', 'kohya merge_lora.py', 'kohya-ss/sd-scripts@48d368f networks/merge_lora.py merge_to_sd_model', ['lora'], {
		reads: isFlat,
		unmatched: 'logs "no module found" and goes on',
	}),
	row(
		'sd.cpp',
		'stable-diffusion.cpp',
		'leejet/stable-diffusion.cpp@97d2990 src/model/adapter/lora.hpp:190-250',
		['lora', 'locon', 'loha', 'full'],
		{
			readsScaleTensor: true,
			reads: isImage,
			unmatched: 'warns of unused LoRA tensors',
		},
	),
	row(
		'invokeai',
		'InvokeAI',
		'invoke-ai/InvokeAI@8e71a8a invokeai/backend/patches/layers/lora_layer_base.py scale',
		['lora', 'locon', 'loha', 'lokr', 'full', 'norm', 'ia3'],
		{
			reads: isImage,
			// Dotted names only of transformers; UNets by kohya's names.
			loads: (module, layout) => FLAT.has(layout) || module.component.startsWith('transformer'),
			unmatched: 'refuses the file at install ("Unknown LoRA type") or warns',
		},
	),
];
