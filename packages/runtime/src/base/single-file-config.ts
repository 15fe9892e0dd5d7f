import { type BaseModel, FormatError, quote } from '@lorakit/format';
import type { Architecture, PredictionType, SchedulerFile } from './base.js';
import type { TextEncoderComponent } from './text-encoder-config.js';
import type { Weights } from './weights.js';

/** Widths of the published models, without which heads and groups (which no tensor tells) are not known. */
const UNET_CHANNELS = 320;
const VAE_CHANNELS = 128;
/** Heads by width of the text encoder: CLIP ViT-L/14, OpenCLIP ViT-H/14, OpenCLIP ViT-bigG/14; all 64 wide. */
const TEXT_WIDTHS: readonly number[] = [768, 1024, 1280];
const HEAD_DIM = 64;

/** Which architecture the tensors of a single file are. `openClip`: the first encoder is in OpenCLIP's names. */
export function singleFileArchitecture(weights: Weights, openClip: boolean): Architecture {
	if (weights.shape('unet', 'add_embedding.linear_1.weight') !== undefined) return 'sdxl';
	return openClip ? 'sd2' : 'sd1';
}

/**
 * A `unet/config.json` for the UNet of a single file: widths and depths from its tensors, the rest from the model whose
 * configuration diffusers takes for such a file (stable-diffusion-v1-5, stable-diffusion-2-1,
 * stable-diffusion-xl-base-1.0). Source: diffusers loaders/single_file_utils.py DIFFUSERS_DEFAULT_PIPELINE_PATHS.
 *
 * @throws {FormatError} `E_CONFIG` for widths of no published model.
 */
export function deriveUnetConfig({ inventory, name }: BaseModel, architecture: Architecture): Readonly<Record<string, unknown>> {
	const unet = inventory.unetConfig;
	if (unet === undefined) {
		throw new FormatError('E_FORMAT', `${quote(name)} holds no UNet of Stable Diffusion (model.diffusion_model.*); give a base model.`);
	}
	const [first = 0] = unet.blockOutChannels;
	if (first !== UNET_CHANNELS) throw unknownWidths(name, `a UNet with ${first} channels in its first block`);
	const modules = new Set(inventory.components.get('unet')?.map(({ path }) => path));
	return {
		in_channels: unet.inChannels,
		out_channels: unet.outChannels,
		block_out_channels: unet.blockOutChannels,
		layers_per_block: unet.layersPerBlock,
		down_block_types: unet.downBlockTypes,
		mid_block_type: modules.has('mid_block.attentions.0.proj_in') ? 'UNetMidBlock2DCrossAttn' : 'UNetMidBlock2D',
		up_block_types: unet.upBlockTypes,
		transformer_layers_per_block: unet.transformerLayersPerBlock,
		cross_attention_dim: unet.crossAttentionDim,
		use_linear_projection: unet.useLinearProjection,
		attention_head_dim: architecture === 'sd1' ? 8 : unet.blockOutChannels.map((c) => c / HEAD_DIM),
		sample_size: { sd1: 64, sd2: 96, sdxl: 128 }[architecture],
		upcast_attention: architecture === 'sd2',
		...(architecture === 'sdxl' && {
			addition_embed_type: 'text_time',
			addition_time_embed_dim: 256,
			projection_class_embeddings_input_dim: unet.projectionClassEmbeddingsInputDim,
		}),
	};
}

/** A `vae/config.json` for the VAE of a single file. @throws {FormatError} `E_CONFIG` for widths of no published model. */
export function deriveVaeConfig(weights: Weights, architecture: Architecture, name: string): Readonly<Record<string, unknown>> {
	const channels = countUp((i) => weights.shape('vae', `encoder.down_blocks.${i}.resnets.0.conv1.weight`)).map((shape) => shape[0] ?? 0);
	const layers = countUp((j) => weights.shape('vae', `encoder.down_blocks.0.resnets.${j}.conv1.weight`)).length;
	if (channels[0] !== VAE_CHANNELS) throw unknownWidths(name, `a VAE with ${channels[0] ?? 0} channels in its first block`);
	return {
		in_channels: weights.shape('vae', 'encoder.conv_in.weight')?.[1],
		out_channels: weights.shape('vae', 'decoder.conv_out.weight')?.[0],
		block_out_channels: channels,
		down_block_types: channels.map(() => 'DownEncoderBlock2D'),
		up_block_types: channels.map(() => 'UpDecoderBlock2D'),
		layers_per_block: layers,
		latent_channels: weights.shape('vae', 'decoder.conv_in.weight')?.[1],
		sample_size: { sd1: 512, sd2: 768, sdxl: 1024 }[architecture],
		scaling_factor: architecture === 'sdxl' ? 0.13025 : 0.18215,
	};
}

/** A `text_encoder*\/config.json` for an encoder of a single file. @throws {FormatError} `E_CONFIG` for widths of no published model. */
export function deriveTextEncoderConfig(
	weights: Weights,
	component: TextEncoderComponent,
	architecture: Architecture,
	name: string,
): Readonly<Record<string, unknown>> {
	const [vocabulary, hidden = 0] = weights.shape(component, 'text_model.embeddings.token_embedding.weight') ?? [];
	if (!TEXT_WIDTHS.includes(hidden)) throw unknownWidths(name, `a ${component} ${hidden} wide`);
	const openClip = architecture === 'sd2' || component === 'text_encoder_2';
	return {
		vocab_size: vocabulary,
		hidden_size: hidden,
		intermediate_size: weights.shape(component, 'text_model.encoder.layers.0.mlp.fc1.weight')?.[0],
		max_position_embeddings: weights.shape(component, 'text_model.embeddings.position_embedding.weight')?.[0],
		num_hidden_layers: countUp((i) => weights.shape(component, `text_model.encoder.layers.${i}.layer_norm1.weight`)).length,
		num_attention_heads: hidden / HEAD_DIM,
		hidden_act: openClip ? 'gelu' : 'quick_gelu',
		projection_dim: weights.shape(component, 'text_projection.weight')?.[0] ?? (architecture === 'sd2' ? 512 : hidden),
		// The historical values in all three models' files.
		bos_token_id: 0,
		eos_token_id: 2,
		pad_token_id: 1,
	};
}

/** Keys that all three models' scheduler files share. */
const SCHEDULE = {
	beta_start: 0.00085,
	beta_end: 0.012,
	beta_schedule: 'scaled_linear',
	num_train_timesteps: 1000,
	set_alpha_to_one: false,
	skip_prk_steps: true,
	steps_offset: 1,
	trained_betas: null,
	clip_sample: false,
};

/**
 * The scheduler that diffusers gives a single file: that of the model it takes for its own.
 *
 * @param marks what the file says about its training: names of its entries that carry no weights
 */
export function deriveScheduler(architecture: Architecture, marks: ReadonlySet<string>): SchedulerFile {
	const className = { sd1: 'PNDMScheduler', sd2: 'DDIMScheduler', sdxl: 'EulerDiscreteScheduler' }[architecture];
	const prediction: PredictionType = architecture === 'sd2' || marks.has('v_pred') ? 'v_prediction' : 'epsilon';
	const config = {
		_class_name: className,
		...SCHEDULE,
		prediction_type: prediction,
		...(architecture === 'sdxl' && {
			interpolation_type: 'linear',
			sample_max_value: 1,
			timestep_spacing: 'leading',
			use_karras_sigmas: false,
		}),
		// Trained on betas rescaled to no signal at the last step; the mark that ComfyUI's and A1111's readers obey.
		...(marks.has('v_pred') && marks.has('ztsnr') && { rescale_betas_zero_snr: true }),
	};
	return { className, config };
}

function countUp(shapeOf: (i: number) => readonly number[] | undefined): readonly (readonly number[])[] {
	const out: (readonly number[])[] = [];
	for (let shape = shapeOf(0); shape !== undefined && out.length < 1000; shape = shapeOf(out.length)) out.push(shape);
	return out;
}

function unknownWidths(name: string, what: string): FormatError {
	return new FormatError(
		'E_CONFIG',
		`${quote(name)} has ${what}, which no published model has, and the file does not say its heads and groups; name the folder with its config.json files as well (config).`,
	);
}
