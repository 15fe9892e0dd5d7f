import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type ByteSource, bytesSource, FormatError } from '@lorakit/format';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Base, openBaseFiles, readWeight, requireWeight } from '../../src/base/index.js';
import { openBase } from '../../src/io/index.js';
import { type LdmRow, ldmRows, MODULES, type Raw, rawFile, readRaw, same, sha256, TINY_SHAPES, valuesOf } from './support.js';

let scratch = '';
beforeAll(() => {
	scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-base-file-'));
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const STRAYS: readonly (readonly [string, Raw])[] = [
	['betas', { dtype: 'F32', shape: [2], bytes: new Uint8Array(8) }],
	['alphas_cumprod', { dtype: 'F32', shape: [2], bytes: new Uint8Array(8) }],
	['global_step', { dtype: 'I64', shape: [], bytes: new Uint8Array(8) }],
	['model_ema.decay', { dtype: 'F32', shape: [], bytes: new Uint8Array(4) }],
	['model_ema.diffusion_modelinput_blocks00weight', { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }],
	['cond_stage_model.transformer.text_model.embeddings.position_ids', { dtype: 'I64', shape: [1, 1], bytes: new Uint8Array(8) }],
	['first_stage_model.loss.logvar', { dtype: 'F32', shape: [], bytes: new Uint8Array(4) }],
];

/** tiny-shapes' weights by the hash of their bytes, whatever they are called. */
function tinyShapesByHash(): Map<string, Uint8Array> {
	const out = new Map<string, Uint8Array>();
	for (const file of ['unet/diffusion_pytorch_model', 'vae/diffusion_pytorch_model', 'text_encoder/model']) {
		for (const { bytes } of readRaw(path.join(TINY_SHAPES, `${file}.safetensors`)).values()) out.set(sha256(bytes), bytes);
	}
	return out;
}

test('the checkpoint that diffusers makes of tiny-shapes gives the weights of the folder', async () => {
	const byHash = tinyShapesByHash();
	const tensors = new Map<string, Raw>(STRAYS);
	for (const { name, shape, sha256: hash = '' } of ldmRows('tiny-shapes')) {
		const bytes = byHash.get(hash);
		if (bytes === undefined) throw new Error(`no tensor of tiny-shapes has the bytes of ${name}`);
		tensors.set(name, { dtype: 'F16', shape, bytes });
	}
	const file = path.join(scratch, 'tiny-shapes.safetensors');
	fs.writeFileSync(file, rawFile(tensors));
	const [base, folder] = [await openBase(file, { config: TINY_SHAPES }), await openBase(TINY_SHAPES)];
	expect([base.name, base.kind, base.architecture, base.skipped]).toEqual(['tiny-shapes.safetensors', 'file', 'sd1', STRAYS.length]);
	expect(base.warnings).toEqual([]);
	for (const key of ['unet', 'vae', 'textEncoders', 'scheduler', 'tokenizers'] as const) expect(base[key]).toEqual(folder[key]);
	for (const component of ['unet', 'vae', 'text_encoder']) {
		expect([...base.weights.names(component)].sort()).toEqual([...folder.weights.names(component)].sort());
		for (const name of folder.weights.names(component)) {
			const shape = folder.weights.shape(component, name) ?? [];
			const [a, b] = [requireWeight(base.weights, component, name, shape), requireWeight(folder.weights, component, name, shape)];
			expect(same(await readWeight(a), await readWeight(b)), name).toBe(true);
		}
	}
	await base.close();
	await folder.close();

	await expect(openBase(file, { config: TINY_SHAPES, variant: 'fp16' })).rejects.toMatchObject({ code: 'E_USAGE' });
	// Without configuration files nobody can know its heads and groups.
	await expect(openBase(file)).rejects.toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('config') });
	// Whatever the file is called, and cut short.
	fs.writeFileSync(path.join(scratch, 'renamed'), fs.readFileSync(file));
	await (await openBase(path.join(scratch, 'renamed'), { config: TINY_SHAPES })).close();
	fs.writeFileSync(file, fs.readFileSync(file).subarray(0, 1_000_000));
	await expect(openBase(file, { config: TINY_SHAPES })).rejects.toMatchObject({ code: 'E_TRUNCATED' });
	await expect(openBase(path.join(scratch, 'renamed'), { config: path.join(scratch, 'none') })).rejects.toMatchObject({ code: 'E_IO' });
	await expect(openBase(TINY_SHAPES, { config: TINY_SHAPES })).rejects.toMatchObject({ code: 'E_USAGE' });
});

/** Tensors of a diffusers folder with numbers of their own, and the checkpoint that diffusers' converter makes of them. */
function madeUp(rows: readonly LdmRow[]): { readonly folder: ReadonlyMap<string, Raw>; readonly ldm: Map<string, Raw> } {
	const folder = new Map<string, Raw>();
	const ldm = new Map<string, Raw>();
	let next = 1;
	for (const { name, shape: stored, sources } of rows) {
		// The vocabulary of 49,408 tokens says nothing more about names than one of 64.
		const shape = name.endsWith('token_embedding.weight') ? [64, ...stored.slice(1)] : stored;
		const parts = sources.map((source): Float32Array => {
			const [rowCount = 1, ...rest] = shape;
			const own = [rowCount / sources.length, ...rest];
			const count = own.reduce((product, d) => product * d, 1);
			const values = Float32Array.from({ length: count }, () => {
				// A linear congruential generator (Numerical Recipes): every tensor has numbers of its own.
				next = (Math.imul(next, 1664525) + 1013904223) >>> 0;
				return next / 2 ** 31 - 1;
			});
			const given = source.transposed ? transposed(values, own) : values;
			folder.set(`${source.component}:${source.name}`, {
				dtype: 'F32',
				shape: source.transposed ? [...own].reverse() : linear(source.name, own),
				bytes: new Uint8Array(given.buffer),
			});
			return values;
		});
		const bytes = Buffer.concat(parts.map((part) => new Uint8Array(part.buffer)));
		ldm.set(name, { dtype: 'F32', shape, bytes: new Uint8Array(bytes) });
	}
	return { folder, ldm };
}

function linear(name: string, shape: readonly number[]): readonly number[] {
	return /attentions\.0\.to_(q|k|v|out\.0)\.weight$/.test(name) ? shape.slice(0, 2) : shape;
}

function transposed(values: Float32Array, [rows = 0, columns = 0]: readonly number[]): Float32Array {
	const out = new Float32Array(values.length);
	for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c] ?? 0;
	return out;
}

const text = (json: unknown): ByteSource => bytesSource(new TextEncoder().encode(JSON.stringify(json)));
const TINY_VAE = {
	block_out_channels: [8, 8, 16, 16],
	down_block_types: new Array(4).fill('DownEncoderBlock2D'),
	up_block_types: new Array(4).fill('UpDecoderBlock2D'),
	layers_per_block: 2,
	norm_num_groups: 8,
};
/** The configurations of reference/base/tiny-sd2 and tiny-sdxl, as far as they are not defaults; 64 tokens. */
const CONFIGS = {
	'tiny-sd2': {
		'unet/config.json': {
			block_out_channels: [8, 16, 16, 16],
			norm_num_groups: 8,
			cross_attention_dim: 8,
			attention_head_dim: [1, 2, 2, 2],
			use_linear_projection: true,
		},
		'vae/config.json': TINY_VAE,
		'text_encoder/config.json': {
			vocab_size: 64,
			hidden_size: 8,
			intermediate_size: 32,
			projection_dim: 8,
			num_hidden_layers: 3,
			num_attention_heads: 2,
			hidden_act: 'gelu',
		},
	},
	'tiny-sdxl': {
		'unet/config.json': {
			block_out_channels: [8, 16, 16],
			down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
			up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
			transformer_layers_per_block: [1, 1, 2],
			norm_num_groups: 8,
			cross_attention_dim: 8,
			attention_head_dim: [1, 2, 4],
			use_linear_projection: true,
			addition_embed_type: 'text_time',
			addition_time_embed_dim: 8,
			projection_class_embeddings_input_dim: 52,
		},
		'vae/config.json': { ...TINY_VAE, scaling_factor: 0.13025 },
		'text_encoder/config.json': { vocab_size: 64, hidden_size: 4, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 2 },
		'text_encoder_2/config.json': {
			vocab_size: 64,
			hidden_size: 4,
			intermediate_size: 24,
			projection_dim: 4,
			num_hidden_layers: 3,
			num_attention_heads: 2,
			hidden_act: 'gelu',
		},
	},
} as const;

for (const [name, architecture, extra] of [
	['tiny-sd2', 'sd2', ['cond_stage_model.model.logit_scale', 'cond_stage_model.model.text_projection']],
	['tiny-sdxl', 'sdxl', ['conditioner.embedders.1.model.logit_scale', 'denoiser.sigmas']],
] as const) {
	test(`what diffusers' converter makes of ${name} is put back: names, rows of q, k and v, transposes`, async () => {
		const { folder, ldm } = madeUp(ldmRows(name));
		for (const stray of extra) ldm.set(stray, { dtype: 'F32', shape: [2, 2], bytes: new Uint8Array(16) });
		const files = new Map<string, ByteSource>([['model.safetensors', bytesSource(rawFile(ldm))]]);
		for (const [file, json] of Object.entries(CONFIGS[name])) files.set(file, text(json));
		const base = await openBaseFiles(files);
		expect([base.architecture, base.skipped]).toEqual([architecture, 2]);
		const found = [...new Set([...folder.keys()].map((key) => key.split(':')[0] ?? ''))].flatMap((component) =>
			Array.from(base.weights.names(component), (own) => `${component}:${own}`),
		);
		expect(found.sort()).toEqual([...folder.keys()].sort());
		for (const [key, raw] of folder) {
			const [component = '', own = ''] = key.split(':');
			const values = await readWeight(requireWeight(base.weights, component, own, raw.shape));
			expect(same(values, valuesOf(raw)), key).toBe(true);
		}
		if (name === 'tiny-sd2') {
			expect(base.warnings).toMatchObject([
				{ code: 'W_AMBIGUOUS', message: expect.stringContaining('--scheduler-option prediction_type=epsilon') },
			]);
			expect(base.scheduler).toMatchObject({ className: 'DDIMScheduler', config: { prediction_type: 'v_prediction' } });
			const told = await openBaseFiles(files, { predictionType: 'epsilon' });
			expect([told.warnings, told.scheduler]).toMatchObject([[], { config: { prediction_type: 'epsilon' } }]);
		} else {
			expect(base.textEncoders.map(({ withProjection }) => withProjection)).toEqual([false, true]);
			expect(base.forceZerosForEmptyPrompt).toBe(true);
			expect(base.unet.transformerLayersPerBlock).toEqual([
				[1, 1],
				[1, 1],
				[2, 2],
			]);
			expect(base.unet.reverseTransformerLayersPerBlock).toEqual([
				[2, 2, 2],
				[1, 1, 1],
				[1, 1, 1],
			]);
		}
	});
}

/** A checkpoint of the published size, of which only the header is there. */
function headerOnly(shapes: ReadonlyMap<string, readonly number[]>): ByteSource {
	const header: Record<string, unknown> = {};
	let at = 0;
	for (const [name, shape] of shapes) {
		const bytes = 2 * shape.reduce((product, d) => product * d, 1);
		header[name] = { dtype: 'F16', shape, data_offsets: [at, at + bytes] };
		at += bytes;
	}
	const head = new TextEncoder().encode(JSON.stringify(header));
	const start = new Uint8Array(8 + head.byteLength);
	new DataView(start.buffer).setBigUint64(0, BigInt(head.byteLength), true);
	start.set(head, 8);
	return {
		name: 'model.safetensors',
		size: start.byteLength + at,
		remote: false,
		async read(offset, length) {
			const out = new Uint8Array(length);
			out.set(start.subarray(offset, offset + length));
			return out;
		},
		async close() {},
	};
}

type Encoder = readonly [prefix: string, kind: 'hf' | 'open-clip', hidden: number, intermediate: number, layers: number];

function published(unet: string, encoders: readonly Encoder[]): Map<string, readonly number[]> {
	const shapes = new Map<string, readonly number[]>();
	const modules = JSON.parse(fs.readFileSync(path.join(MODULES, `${unet}-unet.json`), 'utf8')) as [string, number, number, ...number[]][];
	const names = JSON.parse(fs.readFileSync(path.join(MODULES, `${unet}-ldm.json`), 'utf8')) as string[];
	for (const [i, [, ...shape]] of modules.entries()) shapes.set(`model.diffusion_model.${names[i]}.weight`, shape);
	const channels = [128, 256, 512, 512];
	for (const [i, c] of channels.entries()) {
		for (const j of [0, 1])
			shapes.set(`first_stage_model.encoder.down.${i}.block.${j}.conv1.weight`, [c, j === 0 ? (channels[i - 1] ?? 128) : c, 3, 3]);
	}
	shapes.set('first_stage_model.encoder.conv_in.weight', [128, 3, 3, 3]);
	shapes.set('first_stage_model.decoder.conv_in.weight', [512, 4, 3, 3]);
	shapes.set('first_stage_model.decoder.conv_out.weight', [3, 128, 3, 3]);
	for (const [prefix, kind, hidden, intermediate, layers] of encoders) {
		const hf = kind === 'hf';
		shapes.set(`${prefix}${hf ? 'text_model.embeddings.' : ''}token_embedding.weight`, [49408, hidden]);
		shapes.set(`${prefix}${hf ? 'text_model.embeddings.position_embedding.weight' : 'positional_embedding'}`, [77, hidden]);
		if (!hf) shapes.set(`${prefix}text_projection`, [hidden, hidden]);
		for (let i = 0; i < layers; i++) {
			const at = `${prefix}${hf ? 'text_model.encoder.layers' : 'transformer.resblocks'}.${i}`;
			shapes.set(`${at}.${hf ? 'layer_norm1' : 'ln_1'}.weight`, [hidden]);
			shapes.set(`${at}.mlp.${hf ? 'fc1' : 'c_fc'}.weight`, [intermediate, hidden]);
		}
	}
	return shapes;
}

/** The UNet's weights under diffusers' names, as a real UNet of that size has them (fixtures/modules). */
function unetNames(unet: string): string[] {
	const modules = JSON.parse(fs.readFileSync(path.join(MODULES, `${unet}-unet.json`), 'utf8')) as [string, ...number[]][];
	return modules.map(([name, ...shape]) => `${name}.weight (${shape.join(', ')})`).sort();
}

function placedNames(base: Base): string[] {
	return Array.from(base.weights.names('unet'), (name) => `${name} (${base.weights.shape('unet', name)?.join(', ')})`).sort();
}

const openHeader = (shapes: ReadonlyMap<string, readonly number[]>): Promise<Base> =>
	openBaseFiles(new Map([['model.safetensors', headerOnly(shapes)]]));

// Expected: config.json files of stable-diffusion-v1-5, stable-diffusion-2-1 and stable-diffusion-xl-base-1.0.
test('published sizes without configuration files: SD 1.5', async () => {
	const base = await openHeader(published('sd15', [['cond_stage_model.transformer.', 'hf', 768, 3072, 12]]));
	expect(base.architecture).toBe('sd1');
	expect(placedNames(base)).toEqual(unetNames('sd15'));
	expect(base.unet).toMatchObject({
		blockOutChannels: [320, 640, 1280, 1280],
		layersPerBlock: [2, 2, 2, 2],
		heads: [8, 8, 8, 8],
		headDim: [40, 80, 160, 160],
		crossAttentionDim: 768,
		useLinearProjection: false,
		normNumGroups: 32,
		sampleSize: [64, 64],
		upcastAttention: false,
		midBlockType: 'UNetMidBlock2DCrossAttn',
		downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
		upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
	});
	expect(base.vae).toMatchObject({ blockOutChannels: [128, 256, 512, 512], layersPerBlock: 2, scalingFactor: 0.18215, normNumGroups: 32 });
	expect(base.textEncoders).toMatchObject([
		{
			hiddenSize: 768,
			heads: 12,
			layers: 12,
			intermediateSize: 3072,
			act: 'quick_gelu',
			vocabSize: 49408,
			eosTokenId: 2,
			withProjection: false,
		},
	]);
	expect(base.scheduler).toMatchObject({
		className: 'PNDMScheduler',
		config: { prediction_type: 'epsilon', skip_prk_steps: true, steps_offset: 1 },
	});
	expect(base.tokenizers).toEqual([]);
});

test('published sizes without configuration files: SD 2.1, with the layer that is not used', async () => {
	const base = await openHeader(published('sd21', [['cond_stage_model.model.', 'open-clip', 1024, 4096, 24]]));
	expect(base.architecture).toBe('sd2');
	expect(placedNames(base)).toEqual(unetNames('sd21'));
	expect(base.unet).toMatchObject({
		heads: [5, 10, 20, 20],
		crossAttentionDim: 1024,
		useLinearProjection: true,
		upcastAttention: true,
		sampleSize: [96, 96],
	});
	expect(base.textEncoders).toMatchObject([
		{ hiddenSize: 1024, heads: 16, layers: 23, act: 'gelu', projectionDim: 512, withProjection: false },
	]);
	expect(base.weights.locate('text_encoder', 'text_projection.weight')).toBeUndefined();
	expect(base.scheduler).toMatchObject({ className: 'DDIMScheduler', config: { prediction_type: 'v_prediction' } });
});

test('published sizes without configuration files: SDXL, and the mark of v-prediction', async () => {
	const shapes = published('sdxl', [
		['conditioner.embedders.0.transformer.', 'hf', 768, 3072, 12],
		['conditioner.embedders.1.model.', 'open-clip', 1280, 5120, 32],
	]);
	const base = await openHeader(shapes);
	expect(base.architecture).toBe('sdxl');
	expect(placedNames(base)).toEqual(unetNames('sdxl'));
	expect(base.unet).toMatchObject({
		blockOutChannels: [320, 640, 1280],
		heads: [5, 10, 20],
		crossAttentionDim: 2048,
		transformerLayersPerBlock: [expect.anything(), [2, 2], [10, 10]],
		midTransformerLayers: 10,
		additionEmbedType: 'text_time',
		additionTimeEmbedDim: 256,
		projectionClassEmbeddingsInputDim: 2816,
		sampleSize: [128, 128],
	});
	expect(base.vae.scalingFactor).toBe(0.13025);
	expect(base.textEncoders).toMatchObject([
		{ hiddenSize: 768, heads: 12, act: 'quick_gelu', withProjection: false },
		{ hiddenSize: 1280, heads: 20, layers: 32, act: 'gelu', projectionDim: 1280, withProjection: true },
	]);
	expect(base.scheduler).toMatchObject({
		className: 'EulerDiscreteScheduler',
		config: { prediction_type: 'epsilon', timestep_spacing: 'leading' },
	});
	expect(base.forceZerosForEmptyPrompt).toBe(true);
	shapes.set('v_pred', [0]);
	shapes.set('ztsnr', [0]);
	expect((await openHeader(shapes)).scheduler.config).toMatchObject({ prediction_type: 'v_prediction', rescale_betas_zero_snr: true });
});

test('what is no base model, or only a part of one', async () => {
	const shapes = published('sd15', [['cond_stage_model.transformer.', 'hf', 768, 3072, 12]]);
	for (const [prefix, missing] of [
		['first_stage_model.', 'no vae'],
		['cond_stage_model.', 'no text_encoder'],
		['model.diffusion_model.', 'no unet'],
	] as const) {
		const part = new Map([...shapes].filter(([name]) => !name.startsWith(prefix)));
		await expect(openHeader(part)).rejects.toMatchObject({ code: 'E_FORMAT', message: expect.stringContaining(missing) });
	}
	await expect(openHeader(new Map([['double_blocks.0.img_attn.qkv.weight', [6, 2]]]))).rejects.toMatchObject({ code: 'E_FORMAT' });
	await expect(openHeader(new Map([...shapes, ['edm_mean', [1, 4, 1, 1]]]))).rejects.toMatchObject({ code: 'E_CONFIG' });
	await expect(openHeader(new Map([...shapes, ['vae.encoder.conv_in.weight', [128, 3, 3, 3]]]))).rejects.toMatchObject({
		code: 'E_AMBIGUOUS',
	});
	await expect(openBaseFiles(new Map())).rejects.toMatchObject({ code: 'E_FORMAT' });
	const two = new Map<string, ByteSource>(['a', 'b'].map((name) => [`${name}.safetensors`, headerOnly(shapes)]));
	await expect(openBaseFiles(two)).rejects.toMatchObject({ code: 'E_AMBIGUOUS' });
	// q, k and v that are no thirds belong to nobody.
	const odd = published('sd21', [['cond_stage_model.model.', 'open-clip', 1024, 4096, 24]]);
	odd.set('cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight', [1000, 1024]);
	const base = await openHeader(odd);
	expect(base.warnings.some(({ code, message }) => code === 'W_UNKNOWN_KEY' && message.includes('in_proj_weight'))).toBe(true);
	const wild = new Map(
		[...shapes].map(([name, shape]) => [name, name.includes('conv_in') || name.includes('input_blocks.0.0') ? [1, 1, 1, 1] : shape]),
	);
	await expect(openHeader(wild)).rejects.toBeInstanceOf(FormatError);
});
