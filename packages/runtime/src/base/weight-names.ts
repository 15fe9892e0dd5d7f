const RESNET = String.raw`resnets\.\d{1,4}\.(norm1|conv1|norm2|conv2|conv_shortcut`;
const TRANSFORMER = [
	'norm',
	'proj_in',
	'proj_out',
	String.raw`transformer_blocks\.\d{1,4}\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|norm[123]|ff\.net\.(0\.proj|2))`,
].join('|');

/** Every parameter of a UNet2DConditionModel of the kinds that `parseUnetConfig` lets in. */
const UNET = new RegExp(
	`^(conv_in|conv_norm_out|conv_out|time_embedding\\.(linear_[12]|cond_proj)|add_embedding\\.linear_[12]|` +
		`((down|up)_blocks\\.\\d{1,4}|mid_block)\\.(${RESNET}|time_emb_proj)|attentions\\.\\d{1,4}\\.(${TRANSFORMER})|` +
		`(downsamplers|upsamplers)\\.0\\.conv))\\.(weight|bias)$`,
);
/** Every parameter of an AutoencoderKL. */
const VAE = new RegExp(
	`^(quant_conv|post_quant_conv|(encoder|decoder)\\.(conv_in|conv_norm_out|conv_out|((down|up)_blocks\\.\\d{1,4}|mid_block)\\.` +
		`(${RESNET})|attentions\\.0\\.(group_norm|to_q|to_k|to_v|to_out\\.0)|(downsamplers|upsamplers)\\.0\\.conv)))\\.(weight|bias)$`,
);
/** Every parameter of a CLIPTextModel(WithProjection). */
const TEXT =
	/^(text_projection\.weight|text_model\.(embeddings\.(token|position)_embedding\.weight|(final_layer_norm|encoder\.layers\.\d{1,4}\.(self_attn\.(q|k|v|out)_proj|layer_norm[12]|mlp\.fc[12]))\.(weight|bias)))$/;

/** True for the name (diffusers' or transformers') of a parameter that some model of this component has. */
export function isWeightName(component: string, name: string): boolean {
	if (component === 'unet') return UNET.test(name);
	return component === 'vae' ? VAE.test(name) : TEXT.test(name);
}

/** Entries of real files that are no weights of the three models, and that nobody misses. */
const STRAYS: readonly RegExp[] = [
	// A copy of the UNet averaged over training; diffusers takes the other one too.
	/^model_ema\./,
	// LatentDiffusion's noise schedule and its training state; sgm's.
	/^(alphas_cumprod|alphas_cumprod_prev|betas|sqrt_alphas_cumprod|sqrt_one_minus_alphas_cumprod|log_one_minus_alphas_cumprod|sqrt_recip_alphas_cumprod|sqrt_recipm1_alphas_cumprod|posterior_variance|posterior_log_variance_clipped|posterior_mean_coef[12]|lvlb_weights|logvar|scale_factor|global_step)$/,
	/^(denoiser|sigma_sampler|loss_fn|first_stage_model\.(loss|model_ema))\./,
	// Marks that tell user interfaces how a checkpoint was trained.
	/^(v_pred|ztsnr)$/,
	// Buffers, and the temperature of CLIP's contrastive loss.
	/(^|\.)(position_ids|attn_mask|logit_scale)$/,
	// SD2 reads OpenCLIP-H one layer before its last. Source: diffusers single_file_utils.py SD_2_TEXT_ENCODER_KEYS_TO_IGNORE.
	/^cond_stage_model\.model\.(transformer\.resblocks\.23\.|text_projection$)/,
];

/** True for entries that are skipped without a word (they are counted). */
export function isStray(name: string): boolean {
	return STRAYS.some((pattern) => pattern.test(name));
}
