import type { Warning } from './errors.js';
import type { ContainerId } from './state-dict.js';
import type { Tensor } from './tensor.js';

/**
 * What a factor tensor is, whatever the file called it. A = `down`, B = `up`.
 * The leaf names that layouts use for these: `layouts/leaves.ts`. The delta each family makes: `families/`.
 */
export type Role =
	// LoRA, LoCon
	| 'down'
	| 'up'
	| 'mid'
	// LoHa
	| 'hada_w1_a'
	| 'hada_w1_b'
	| 'hada_w2_a'
	| 'hada_w2_b'
	| 'hada_t1'
	| 'hada_t2'
	// LoKr
	| 'lokr_w1'
	| 'lokr_w1_a'
	| 'lokr_w1_b'
	| 'lokr_w2'
	| 'lokr_w2_a'
	| 'lokr_w2_b'
	| 'lokr_t1'
	| 'lokr_t2'
	// full difference of a weight, of a bias; Wan's modulation difference
	| 'diff'
	| 'diff_b'
	| 'diff_m'
	// difference of a norm's weight and bias
	| 'w_norm'
	| 'b_norm'
	// IA3 in LyCORIS (weight, on_input) and in PEFT (ia3_l)
	| 'ia3_weight'
	| 'on_input'
	| 'ia3_l'
	// OFT, BOFT of kohya and LyCORIS; of PEFT
	| 'oft_blocks'
	| 'oft_diag'
	| 'rescale'
	| 'oft_R'
	| 'boft_R'
	| 'boft_s'
	// GLoRA
	| 'glora_a1'
	| 'glora_a2'
	| 'glora_b1'
	| 'glora_b2'
	| 'glora_bm'
	// embedding LoRA of PEFT
	| 'embedding_down'
	| 'embedding_up'
	// beside a family's own factors
	| 'magnitude'
	| 'up_bias'
	| 'bias_indices'
	| 'bias_values'
	| 'bias_size'
	// A1111's `.bias`: a dense part of the weight's difference
	| 'bias_dense'
	// whole values: PEFT modules_to_save, bias="all"; ComfyUI set_weight, reshape_weight
	| 'weight'
	| 'bias'
	| 'set_weight'
	| 'reshape_weight';

/** How a module's factors make a delta. `locon` is a convolution LoRA with `mid` (Tucker/CP). */
export type Family =
	| 'lora'
	| 'locon'
	| 'loha'
	| 'lokr'
	| 'full'
	| 'norm'
	| 'ia3'
	| 'peft-ia3'
	| 'oft'
	| 'boft'
	| 'peft-oft'
	| 'peft-boft'
	| 'glora'
	| 'embedding'
	| 'whole';

/** Which rule turned alpha and rank into `scaling`. The rule is written once, in `scaling.ts`. */
export type ScaleRule =
	/** alpha / rank */
	| 'alpha/rank'
	/** alpha / sqrt(rank): rsLoRA, only ever said by a PEFT configuration */
	| 'alpha/sqrt(rank)'
	/** nothing in the file says otherwise: 1 */
	| 'one'
	/** a `.scale` tensor beside the factors, which wins over alpha (A1111, sd.cpp) */
	| 'scale-tensor'
	/** the family has no scaling (norm, full, whole, IA3); or LoKr with both factors full, where LyCORIS ignores alpha */
	| 'none'
	/** OFT and BOFT: alpha is a constraint, not a scaling */
	| 'constraint'
	/** only the header was read (remote inspect): alpha stands in tensors that were not fetched; `scaling` is NaN */
	| 'unread';

/** Where alpha was found. */
export type AlphaSource = 'tensor' | 'metadata' | 'config' | 'none';

/** One target module and what the adapter does to it. */
export interface TargetModule {
	/** Component of the pipeline in diffusers' words: `unet`, `text_encoder`, `text_encoder_2`, `text_encoder_3`, `transformer`, ... */
	readonly component: string;
	/**
	 * Dotted path of the module in that component, in the names of `Adapter.naming`
	 * (diffusers' names: `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q`).
	 * When `resolved` is false it is the flattened name of the file, which no table could take apart.
	 */
	readonly path: string;
	readonly resolved: boolean;
	readonly family: Family;
	/** Factors as stored, by role; at least one. Shapes are the file's own. */
	readonly factors: Readonly<Partial<Record<Role, Tensor>>>;
	/** Inner dimension, from the tensors, never from metadata; undefined where the family has none. */
	readonly rank: number | undefined;
	/** Alpha as the file says it; null when nothing says it. */
	readonly alpha: number | null;
	readonly alphaSource: AlphaSource;
	/**
	 * The tensor that held alpha, or one derived from what held it. It is written as it is only when `alphaSource` is
	 * `tensor`; else it only says where alpha came from, for the receipt.
	 */
	readonly alphaTensor: Tensor | undefined;
	/** The `.scale` tensor, when there is one. */
	readonly scaleTensor: Tensor | undefined;
	readonly rule: ScaleRule;
	/** The number that multiplies the delta at strength 1. NaN only under rule `unread`. */
	readonly scaling: number;
	/**
	 * DoRA: which axis of the weight `factors.magnitude` runs along. `out`: one number per output row (PEFT,
	 * newer LyCORIS); `in`: per input column (older LyCORIS, kohya, OneTrainer). Undefined without magnitude.
	 */
	readonly magnitudeAxis: 'out' | 'in' | undefined;
}

/** Learned token vectors of textual inversion or pivotal tuning. */
export interface Embedding {
	/** The placeholder token or the name of the bundle: `<s1>`, `my-style`. */
	readonly token: string;
	/** Leaf under which a file keeps this part: `clip_l`, `clip_g`, `t5`, `emb_params`, `string_to_param.*`; '' for a bare token tensor. */
	readonly slot: string;
	/** Text encoder it belongs to: `text_encoder` (CLIP-L), `text_encoder_2` (CLIP-G or T5), ... */
	readonly component: string;
	/** Vectors as stored, shape (d) or (n, d). */
	readonly vectors: Tensor;
}

/** In whose words the paths of an adapter are. */
export type Naming =
	/** diffusers / transformers module names: SD1, SD2, SDXL always; DiTs when the file says so */
	| 'diffusers'
	/** Black Forest Labs' Flux names (double_blocks, single_blocks) */
	| 'bfl'
	/** Stability's SD3 names (joint_blocks) */
	| 'sai'
	/** the model's own dotted names (Wan, Hunyuan, Qwen, Z-Image, language models, anything) */
	| 'native';

/** What the base model seems to be, and why. */
export interface BaseGuess {
	/** `sd1`, `sd2`, `sdxl`, `sdxl-refiner`, `sd3`, `flux`, `wan`, `qwen-image`, `hunyuan-video`, `z-image`, `llm`, `unknown` */
	readonly family: string;
	/** For people: "Stable Diffusion 1.x". */
	readonly label: string;
	/** 0 to 1. */
	readonly confidence: number;
	/** One sentence each, from shapes and names first, metadata last. */
	readonly evidence: readonly string[];
}

/** What was done with one header entry or side-file field by a layout. */
export interface MetadataNote {
	readonly key: string;
	/** `consumed`: its meaning is in the modules (rank, alpha, token flags) and any layout will say it again. */
	readonly how: 'consumed';
	readonly note: string;
}

/**
 * THE canonical adapter: readonly data, the only thing that layouts meet in.
 * JSON Schema: `packages/format/schema/adapter.schema.json`. Page: docs/adapter.md.
 */
export interface Adapter {
	readonly naming: Naming;
	readonly modules: readonly TargetModule[];
	readonly embeddings: readonly Embedding[];
	/** Header entries that mean nothing to the layout and travel on as they are. */
	readonly metadata: ReadonlyMap<string, string>;
	/** Header entries whose meaning is now in the modules or in `form`. */
	readonly consumed: readonly MetadataNote[];
	/**
	 * How the source spelled what a target may spell otherwise (module order, target set, block names, alpha
	 * dtype, side configuration). Keys are `layout.what`. Travels in the header entry `lorakit.form` so that the way back is exact.
	 */
	readonly form: ReadonlyMap<string, string>;
	/** Tensors that the layout does not know. Only `keep` carries them; conversion refuses or names them as lost. */
	readonly unknown: ReadonlyMap<string, Tensor>;
	/** Tensors known to have no effect in any reader (the three unused of each four in diffusers 0.17's text encoder), with the reason. */
	readonly dead: ReadonlyMap<string, string>;
	readonly base: BaseGuess;
	readonly source: AdapterSource;
	readonly warnings: readonly Warning[];
}

/** Where an adapter came from. */
export interface AdapterSource {
	readonly layout: string;
	readonly container: ContainerId;
	readonly name: string;
}
