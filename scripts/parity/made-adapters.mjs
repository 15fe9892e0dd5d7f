import { readFileSync } from 'node:fs';
import { bytesSource, bytesTensor, loadInput, safetensorsBytes } from './library.mjs';

/**
 * Small adapters of every family, made here, so that the matrix also covers what no committed real file holds. Names and
 * leaves are the field's (LAYOUTS 2.4, 2.10, 5); widths are SD1.5's; values mean nothing but are all different.
 */

const UNET = JSON.parse(readFileSync(new URL('../../fixtures/modules/sd15-unet.json', import.meta.url), 'utf8'));
const BLOCK = 'down_blocks.0.attentions.0.transformer_blocks.0';
const ATTENTION = UNET.filter(([name]) => /attn[12]\.to_(q|k|v|out\.0)$/.test(name));
const [RESNET, NORM] = ['down_blocks.0.resnets.0.conv1', `${BLOCK}.norm1`];

let seed = 1;
/** A tensor of small float32 numbers. @param {...number} shape */
function f32(...shape) {
	const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
	for (let i = 0; i < data.length; i++) {
		seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
		data[i] = seed / 2 ** 33;
	}
	return bytesTensor('F32', shape, new Uint8Array(data.buffer));
}

/** @param {number} value */
const scalar = (value) => bytesTensor('F32', [], new Uint8Array(Float32Array.of(value).buffer));
const onInput = bytesTensor('I64', [], new Uint8Array(BigInt64Array.of(0n).buffer));

/** kohya's name of a UNet module. @param {string} path */
const kohya = (path) => `lora_unet_${path.replaceAll('.', '_')}`;
/** Leaves of one module under a prefix. @param {string} prefix @param {Record<string, object>} leaves */
const under = (prefix, leaves) => Object.entries(leaves).map(([leaf, tensor]) => [`${prefix}.${leaf}`, tensor]);
/** One kohya module on SD1.5's first to_q (320, 320). @param {Record<string, object>} leaves */
const toQ = (leaves) => under(kohya(`${BLOCK}.attn1.to_q`), leaves);
/** One kohya module on SD1.5's first 3 x 3 convolution (320, 320, 3, 3). @param {Record<string, object>} leaves */
const conv = (leaves) => under(kohya(RESNET), leaves);
/** One PEFT module on the same to_q. @param {Record<string, object>} leaves */
const peftQ = (leaves) => under(`base_model.model.${BLOCK}.attn1.to_q`, leaves);

/** Plain LoRA on every attention module of SD1.5. @param {(path: string, out: number, inner: number) => [string, object][]} make */
const attention = (make) => ATTENTION.flatMap(([path, out, inner]) => make(path, out, inner));

const lora = (rank = 2) => ({ 'lora_down.weight': f32(rank, 320), 'lora_up.weight': f32(320, rank) });
/** Width of the made Flux modules: their names decide everything, so a small one will do. */
const FLUX = 96;
const config = (more) =>
	JSON.stringify(
		{ peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['to_q'], use_rslora: false, use_dora: false, ...more },
		null,
		2,
	);

/** Title, tensors, header entries, adapter_config.json. */
const RECIPES = [
	[
		'kohya',
		'LoRA, attention, alpha = rank',
		() => attention((path, o, i) => under(kohya(path), { 'lora_down.weight': f32(1, i), 'lora_up.weight': f32(o, 1), alpha: scalar(1) })),
	],
	[
		'kohya',
		'LoRA, attention, alpha = rank / 2',
		() => attention((path, o, i) => under(kohya(path), { 'lora_down.weight': f32(2, i), 'lora_up.weight': f32(o, 2), alpha: scalar(1) })),
	],
	[
		'kohya',
		'LoRA with training metadata',
		() => toQ({ ...lora(), alpha: scalar(2) }),
		{ ss_network_dim: '2', ss_network_alpha: '2.0', ss_base_model_version: 'sd_v1', 'modelspec.title': 'x' },
	],
	['kohya', 'LoRA without alpha', () => toQ(lora())],
	['kohya', 'LoCon, 3 x 3', () => conv({ 'lora_down.weight': f32(2, 320, 3, 3), 'lora_up.weight': f32(320, 2, 1, 1), alpha: scalar(2) })],
	[
		'kohya',
		'LoCon with mid',
		() =>
			conv({
				'lora_down.weight': f32(2, 320, 1, 1),
				'lora_mid.weight': f32(2, 2, 3, 3),
				'lora_up.weight': f32(320, 2, 1, 1),
				alpha: scalar(2),
			}),
	],
	['kohya', 'DoRA, output axis', () => toQ({ ...lora(), alpha: scalar(2), dora_scale: f32(320, 1) })],
	['kohya', 'DoRA, input axis', () => toQ({ ...lora(), alpha: scalar(2), dora_scale: f32(1, 320) })],
	[
		'kohya',
		'LoHa',
		() => toQ({ hada_w1_a: f32(320, 2), hada_w1_b: f32(2, 320), hada_w2_a: f32(320, 2), hada_w2_b: f32(2, 320), alpha: scalar(1) }),
	],
	['kohya', 'LoKr', () => toQ({ lokr_w1: f32(8, 8), lokr_w2_a: f32(40, 2), lokr_w2_b: f32(2, 40), alpha: scalar(1) })],
	['kohya', 'LoKr, both factors whole', () => toQ({ lokr_w1: f32(8, 8), lokr_w2: f32(40, 40), alpha: scalar(1) })],
	['kohya', 'full difference', () => toQ({ diff: f32(320, 320) })],
	['kohya', 'norm difference', () => under(kohya(NORM), { w_norm: f32(320), b_norm: f32(320) })],
	['kohya', 'IA3', () => toQ({ weight: f32(320), on_input: onInput })],
	['kohya', 'OFT', () => toQ({ oft_blocks: f32(4, 80, 80), alpha: scalar(0) })],
	['kohya', 'BOFT', () => toQ({ oft_blocks: f32(3, 80, 4, 4), alpha: scalar(0) })],
	[
		'kohya',
		'GLoRA',
		() => toQ({ 'a1.weight': f32(320, 2), 'a2.weight': f32(2, 320), 'b1.weight': f32(320, 2), 'b2.weight': f32(2, 320), alpha: scalar(1) }),
	],
	[
		'diffusers',
		'LoRA, attention, alpha in the header',
		() => attention((path, o, i) => under(`unet.${path}`, { 'lora.down.weight': f32(2, i), 'lora.up.weight': f32(o, 2) })),
		{
			format: 'pt',
			lora_adapter_metadata: JSON.stringify(
				{ 'unet.r': 2, 'unet.lora_alpha': 1, 'unet.use_dora': false, 'unet.use_rslora': false },
				null,
				2,
			),
		},
	],
	[
		'diffusers',
		'LoRA, attention, no alpha',
		() => attention((path, o, i) => under(`unet.${path}`, { 'lora_A.weight': f32(2, i), 'lora_B.weight': f32(o, 2) })),
		{ format: 'pt' },
	],
	[
		'peft',
		'LoRA, rsLoRA',
		() => peftQ({ 'lora_A.weight': f32(2, 320), 'lora_B.weight': f32(320, 2) }),
		{ format: 'pt' },
		config({ lora_alpha: 3, use_rslora: true }),
	],
	[
		'peft',
		'DoRA',
		() => peftQ({ 'lora_A.weight': f32(2, 320), 'lora_B.weight': f32(320, 2), lora_magnitude_vector: f32(320) }),
		{ format: 'pt' },
		config({ use_dora: true }),
	],
	[
		'peft',
		'LoRA with bias',
		() => peftQ({ 'lora_A.weight': f32(2, 320), 'lora_B.weight': f32(320, 2), 'lora_B.bias': f32(320) }),
		{ format: 'pt' },
		config({ lora_bias: true }),
	],
	[
		'peft',
		'IA3',
		() => peftQ({ ia3_l: f32(320, 1) }),
		{ format: 'pt' },
		JSON.stringify({ peft_type: 'IA3', target_modules: ['to_q'], feedforward_modules: [] }),
	],
	[
		'peft',
		'OFT',
		() => peftQ({ 'oft_R.weight': f32(4, 3160) }),
		{ format: 'pt' },
		JSON.stringify({ peft_type: 'OFT', r: 0, oft_block_size: 80, target_modules: ['to_q'] }),
	],
	[
		'peft',
		'language model',
		() => under('base_model.model.model.layers.0.self_attn.q_proj', { 'lora_A.weight': f32(2, 64), 'lora_B.weight': f32(64, 2) }),
		{ format: 'pt' },
		config({ target_modules: ['q_proj'], task_type: 'CAUSAL_LM' }),
	],
	[
		'kohya',
		'Flux, BFL names',
		() =>
			under('lora_unet_double_blocks_0_img_attn_qkv', {
				'lora_down.weight': f32(1, FLUX),
				'lora_up.weight': f32(3 * FLUX, 1),
				alpha: scalar(1),
			}),
	],
	[
		'diffusers',
		'Flux, diffusers names',
		() =>
			['q', 'k', 'v'].flatMap((x) =>
				under(`transformer.transformer_blocks.0.attn.to_${x}`, { 'lora_A.weight': f32(1, FLUX), 'lora_B.weight': f32(FLUX, 1) }),
			),
		{ format: 'pt' },
	],
	[
		'native-dotted',
		'Flux, BFL names',
		() => under('diffusion_model.double_blocks.0.img_attn.qkv', { 'lora_A.weight': f32(1, FLUX), 'lora_B.weight': f32(3 * FLUX, 1) }),
	],
	[
		'xlabs-flux',
		'Flux',
		() =>
			['qkv_lora1', 'proj_lora1'].flatMap((x) =>
				under(`double_blocks.0.processor.${x}`, { 'down.weight': f32(1, FLUX), 'up.weight': f32(x === 'qkv_lora1' ? 3 * FLUX : FLUX, 1) }),
			),
	],
	[
		'native-dotted',
		'Wan',
		() => under('diffusion_model.blocks.0.self_attn.q', { 'lora_A.weight': f32(1, 1536), 'lora_B.weight': f32(1536, 1) }),
	],
	[
		'kohya',
		'SDXL, sgm names',
		() =>
			under('lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q', {
				'lora_down.weight': f32(1, 640),
				'lora_up.weight': f32(640, 1),
				alpha: scalar(1),
			}),
	],
];

/** @returns {Promise<{ id: string, layout: string, title: string, input: object }[]>} */
export async function madeAdapters() {
	const out = [];
	for (const [layout, title, tensors, metadata = {}, text = undefined] of RECIPES) {
		const name = `${layout}: ${title}`;
		const bytes = await safetensorsBytes(new Map(tensors()), new Map(Object.entries(metadata)));
		out.push({ id: name, layout, title, input: await loadInput({ main: bytesSource(bytes, name), config: text }) });
	}
	return out;
}
