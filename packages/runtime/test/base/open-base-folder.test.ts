import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type ByteSource, blobSource, bytesSource, FormatError } from '@lorakit/format';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBaseFiles, readWeight, requireWeight } from '../../src/base/index.js';
import { openBase } from '../../src/io/index.js';
import { copyOfTinyShapes, editJson, rawFile, readRaw, same, TINY_SHAPES, valuesOf } from './support.js';

const FILES = { unet: 'diffusion_pytorch_model', vae: 'diffusion_pytorch_model', text_encoder: 'model' };
let scratch = '';
beforeAll(() => {
	scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-base-'));
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

let copies = 0;
function copy(): string {
	copies += 1;
	return copyOfTinyShapes(path.join(scratch, `copy-${copies}`));
}

async function refusal(folder: string, options = {}): Promise<FormatError> {
	try {
		await (await openBase(folder, options)).close();
	} catch (error) {
		if (error instanceof FormatError) return error;
		throw error;
	}
	throw new Error('was opened');
}

test('a folder: every weight of the three models, equal to the file', async () => {
	const base = await openBase(TINY_SHAPES);
	expect([base.name, base.kind, base.architecture, base.skipped]).toEqual(['tiny-shapes', 'folder', 'sd1', 0]);
	expect(base.warnings).toEqual([]);
	for (const [component, file] of Object.entries(FILES)) {
		const raw = readRaw(path.join(TINY_SHAPES, component, `${file}.safetensors`));
		expect([...base.weights.names(component)].sort()).toEqual([...raw.keys()].sort());
		for (const [name, tensor] of raw) {
			expect(base.weights.shape(component, name)).toEqual(tensor.shape);
			const values = await readWeight(requireWeight(base.weights, component, name, tensor.shape));
			expect(same(values, valuesOf(tensor)), name).toBe(true);
		}
	}
	await base.close();
	const place = base.weights.locate('unet', 'conv_in.weight');
	if (place === undefined) throw new Error('no conv_in');
	await expect(readWeight(place)).rejects.toThrow();
});

test('a folder: configurations, scheduler and tokenizer', async () => {
	const base = await openBase(TINY_SHAPES);
	expect(base.unet).toEqual({
		inChannels: 4,
		outChannels: 4,
		sampleSize: [8, 8],
		centerInputSample: false,
		blockOutChannels: [32, 64, 64, 64],
		layersPerBlock: [2, 2, 2, 2],
		downBlockTypes: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
		midBlockType: 'UNetMidBlock2DCrossAttn',
		upBlockTypes: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
		heads: [4, 4, 4, 4],
		headDim: [8, 16, 16, 16],
		crossAttentionDim: 64,
		useLinearProjection: false,
		transformerLayersPerBlock: new Array(4).fill([1, 1]),
		midTransformerLayers: 1,
		reverseTransformerLayersPerBlock: new Array(4).fill([1, 1, 1]),
		normNumGroups: 8,
		normEps: 1e-5,
		actFn: 'silu',
		flipSinToCos: true,
		freqShift: 0,
		additionEmbedType: undefined,
		additionTimeEmbedDim: undefined,
		projectionClassEmbeddingsInputDim: undefined,
		upcastAttention: false,
		timeCondProjDim: undefined,
		resnetTimeScaleShift: 'default',
	});
	expect(base.vae).toEqual({
		inChannels: 3,
		outChannels: 3,
		blockOutChannels: [16, 32, 32, 64],
		layersPerBlock: 1,
		latentChannels: 4,
		normNumGroups: 8,
		actFn: 'silu',
		sampleSize: 64,
		scalingFactor: 0.5523058910267793,
		shiftFactor: undefined,
		useQuantConv: true,
		usePostQuantConv: true,
		midBlockAddAttention: true,
		forceUpcast: true,
	});
	expect(base.textEncoders).toEqual([
		{
			component: 'text_encoder',
			hiddenSize: 64,
			intermediateSize: 128,
			projectionDim: 64,
			layers: 3,
			heads: 4,
			maxPositions: 77,
			act: 'quick_gelu',
			layerNormEps: 1e-5,
			vocabSize: 1988,
			eosTokenId: 1987,
			bosTokenId: 1986,
			padTokenId: 1987,
			withProjection: false,
		},
	]);
	expect(base.scheduler.className).toBe('PNDMScheduler');
	expect(base.scheduler.config).toMatchObject({ beta_end: 0.012, prediction_type: 'epsilon', steps_offset: 1 });
	expect(base.tokenizers).toEqual([
		{
			component: 'tokenizer',
			vocab: fs.readFileSync(path.join(TINY_SHAPES, 'tokenizer/vocab.json'), 'utf8'),
			merges: fs.readFileSync(path.join(TINY_SHAPES, 'tokenizer/merges.txt'), 'utf8'),
			tokenizerConfig: fs.readFileSync(path.join(TINY_SHAPES, 'tokenizer/tokenizer_config.json'), 'utf8'),
			specialTokensMap: fs.readFileSync(path.join(TINY_SHAPES, 'tokenizer/special_tokens_map.json'), 'utf8'),
			addedTokens: undefined,
			tokenizerJson: undefined,
		},
	]);
	expect(base.forceZerosForEmptyPrompt).toBe(false);
	expect(base.model.files.map(({ component }) => component)).toEqual(['unet', 'text_encoder']);
	expect(
		base.model.inventory.components.get('unet')?.some(({ path: p }) => p === 'mid_block.attentions.0.transformer_blocks.0.attn2.to_v'),
	).toBe(true);
	await base.close();
});

test('nothing is loaded on opening: less than a tenth of the bytes are read', async () => {
	const files = new Map<string, ByteSource>();
	let read = 0;
	for (const name of fs.readdirSync(TINY_SHAPES, { recursive: true, encoding: 'utf8' })) {
		const file = path.join(TINY_SHAPES, name);
		if (!fs.statSync(file).isFile()) continue;
		// As a browser has it: a Blob, below the dropped folder's name.
		const source = blobSource(new Blob([fs.readFileSync(file)]), name);
		const counted: ByteSource = {
			...source,
			read: (offset, length) => {
				read += length;
				return source.read(offset, length);
			},
		};
		files.set(`dropped/tiny-shapes/${name.split(path.sep).join('/')}`, counted);
	}
	const base = await openBaseFiles(files);
	expect(base.name).toBe('tiny-shapes');
	expect(read).toBeLessThan(900_000);
	const place = requireWeight(base.weights, 'vae', 'decoder.mid_block.attentions.0.to_q.weight', [64, 64]);
	const before = read;
	const values = await readWeight(place);
	expect(read - before).toBe(64 * 64 * 2);
	const raw = readRaw(path.join(TINY_SHAPES, 'vae/diffusion_pytorch_model.safetensors')).get('decoder.mid_block.attentions.0.to_q.weight');
	expect(values).toEqual(raw && valuesOf(raw));
});

test('names of other ages: no text_model level, position ids, old VAE attention', async () => {
	const folder = copy();
	const text = path.join(folder, 'text_encoder/model.safetensors');
	const own = readRaw(text);
	const flat = new Map([...own].map(([name, raw]) => [name.replace(/^text_model\./, ''), raw]));
	flat.set('embeddings.position_ids', { dtype: 'I64', shape: [1, 1], bytes: new Uint8Array(8) });
	fs.writeFileSync(text, rawFile(flat));
	const vae = path.join(folder, 'vae/diffusion_pytorch_model.safetensors');
	const old = [...readRaw(vae)].map(([name, raw]) => {
		const before = [
			['to_q', 'query'],
			['to_k', 'key'],
			['to_v', 'value'],
			['to_out.0', 'proj_attn'],
		] as const;
		return [before.reduce((n, [now, then]) => n.replace(`attentions.0.${now}.`, `attentions.0.${then}.`), name), raw] as const;
	});
	expect(old.some(([name]) => name.includes('proj_attn'))).toBe(true);
	fs.writeFileSync(vae, rawFile(new Map(old)));
	const [base, plain] = [await openBase(folder), await openBase(TINY_SHAPES)];
	expect(base.warnings).toEqual([]);
	expect(base.skipped).toBe(1);
	for (const component of ['text_encoder', 'vae']) {
		expect([...base.weights.names(component)].sort()).toEqual([...plain.weights.names(component)].sort());
		for (const name of plain.weights.names(component)) {
			const shape = plain.weights.shape(component, name) ?? [];
			const [a, b] = [requireWeight(base.weights, component, name, shape), requireWeight(plain.weights, component, name, shape)];
			expect(same(await a.tensor.read(), await b.tensor.read()), name).toBe(true);
		}
	}
	await base.close();
	await plain.close();
});

test('element types: F32, BF16 and F64 as their bits say', async () => {
	const folder = copy();
	const file = path.join(folder, 'unet/diffusion_pytorch_model.safetensors');
	const raw = readRaw(file);
	const numbers = Array.from({ length: 32 }, (_, i) => (i - 15.5) * 1.1 ** i);
	const shape = [32];
	const words = new Uint16Array(new Uint32Array(Float32Array.from(numbers).buffer).map((bits) => bits >>> 16));
	const made = {
		'conv_norm_out.weight': { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(numbers).buffer) },
		'conv_norm_out.bias': { dtype: 'BF16', shape, bytes: new Uint8Array(words.buffer) },
		'conv_in.bias': { dtype: 'F64', shape, bytes: new Uint8Array(Float64Array.from(numbers).buffer) },
	};
	for (const [name, tensor] of Object.entries(made)) raw.set(name, tensor);
	fs.writeFileSync(file, rawFile(raw));
	const base = await openBase(folder);
	for (const [name, tensor] of Object.entries(made)) {
		expect(await readWeight(requireWeight(base.weights, 'unet', name, shape))).toEqual(valuesOf(tensor));
	}
	await base.close();
});

test('shards: by their index; without it by their numbers; none may be missing', async () => {
	const folder = copy();
	const unet = path.join(folder, 'unet');
	const whole = path.join(unet, 'diffusion_pytorch_model.safetensors');
	const raw = [...readRaw(whole)];
	const shardName = (n: number): string => `diffusion_pytorch_model-0000${n}-of-00003.safetensors`;
	const map: Record<string, string> = {};
	for (const n of [1, 2, 3]) {
		const own = raw.filter((_, i) => i % 3 === n - 1);
		for (const [name] of own) map[name] = shardName(n);
		fs.writeFileSync(path.join(unet, shardName(n)), rawFile(new Map(own)));
	}
	fs.rmSync(whole);
	const numbered = await openBase(folder);
	expect([...numbered.weights.names('unet')].length).toBe(raw.length);
	await numbered.close();
	const index = path.join(unet, 'diffusion_pytorch_model.safetensors.index.json');
	fs.writeFileSync(index, JSON.stringify({ metadata: {}, weight_map: map }));
	const base = await openBase(folder);
	for (const [name, tensor] of raw) {
		expect(same(await requireWeight(base.weights, 'unet', name, tensor.shape).tensor.read(), tensor.bytes), name).toBe(true);
	}
	await base.close();

	fs.renameSync(path.join(unet, shardName(2)), path.join(unet, 'away'));
	expect(await refusal(folder)).toMatchObject({ code: 'E_SHARD_MISSING', message: expect.stringContaining('00002-of-00003') });
	fs.renameSync(index, path.join(unet, 'index-away'));
	expect(await refusal(folder)).toMatchObject({ code: 'E_SHARD_MISSING', message: expect.stringContaining('00002-of-00003') });
	fs.renameSync(path.join(unet, 'away'), path.join(unet, shardName(2)));
	fs.writeFileSync(
		index,
		JSON.stringify({ weight_map: { ...map, 'conv_in.bias': shardName(map['conv_in.bias'] === shardName(1) ? 2 : 1) } }),
	);
	expect(await refusal(folder)).toMatchObject({ code: 'E_SHARD_MISSING', message: expect.stringContaining('conv_in.bias') });
	for (const broken of ['[]', '{}', '{"weight_map": {"a": "../x"}}', '{"weight_map": {}}', 'no']) {
		fs.writeFileSync(index, broken);
		expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG' });
	}
});

test('variants: the plain weights first, the asked one when asked, the only one when there is no other', async () => {
	const folder = copy();
	const unet = path.join(folder, 'unet');
	const plain = path.join(unet, 'diffusion_pytorch_model.safetensors');
	const half = path.join(unet, 'diffusion_pytorch_model.fp16.safetensors');
	const raw = readRaw(plain);
	const doubled = new Map(raw);
	doubled.set('conv_norm_out.bias', { dtype: 'F32', shape: [32], bytes: new Uint8Array(new Float32Array(32).fill(7).buffer) });
	fs.writeFileSync(half, rawFile(doubled));
	fs.writeFileSync(path.join(unet, 'diffusion_pytorch_model.non_ema.safetensors'), 'not looked at');
	fs.writeFileSync(path.join(unet, 'diffusion_flax_model.msgpack'), 'not looked at');
	fs.mkdirSync(path.join(folder, 'safety_checker'));
	fs.writeFileSync(path.join(folder, 'safety_checker/model.safetensors'), 'not looked at');
	fs.writeFileSync(path.join(folder, 'v1-5-pruned.safetensors'), 'not looked at');
	const bias = async (options = {}): Promise<number | undefined> => {
		const base = await openBase(folder, options);
		const values = await readWeight(requireWeight(base.weights, 'unet', 'conv_norm_out.bias', [32]));
		await base.close();
		return values[0];
	};
	expect(await bias()).not.toBe(7);
	expect(await bias({ variant: 'fp16' })).toBe(7);
	const fallen = await openBase(folder, { variant: 'fp16' });
	expect(fallen.warnings.map(({ code }) => code)).toEqual(['W_FILE_LEFT_OUT', 'W_FILE_LEFT_OUT']);
	await fallen.close();
	expect(await refusal(folder, { variant: 'int8' })).toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('"fp16"') });
	fs.rmSync(plain);
	expect(await refusal(folder)).toMatchObject({ code: 'E_AMBIGUOUS', message: expect.stringContaining('fp16') });
	fs.rmSync(path.join(unet, 'diffusion_pytorch_model.non_ema.safetensors'));
	expect(await bias()).toBe(7);
});

test('the Hub cache: a folder of links', async () => {
	const repo = path.join(scratch, 'models--own--tiny-shapes');
	const commit = '0123456789abcdef0123456789abcdef01234567';
	const snapshot = path.join(repo, 'snapshots', commit);
	let blob = 0;
	for (const name of fs.readdirSync(TINY_SHAPES, { recursive: true, encoding: 'utf8' })) {
		const file = path.join(TINY_SHAPES, name);
		if (!fs.statSync(file).isFile()) continue;
		blob += 1;
		const target = path.join(repo, 'blobs', String(blob));
		fs.mkdirSync(path.dirname(target), { recursive: true });
		fs.copyFileSync(file, target);
		fs.mkdirSync(path.dirname(path.join(snapshot, name)), { recursive: true });
		fs.symlinkSync(path.relative(path.dirname(path.join(snapshot, name)), target), path.join(snapshot, name));
	}
	fs.mkdirSync(path.join(repo, 'refs'));
	fs.writeFileSync(path.join(repo, 'refs/main'), commit);
	for (const spec of [repo, snapshot]) {
		const base = await openBase(spec);
		expect([...base.weights.names('vae')].length).toBeGreaterThan(100);
		await base.close();
	}
});

test('a config.json with a value that changes the numbers is refused, by file, key and value', async () => {
	const folder = copy();
	const cases: readonly (readonly [file: string, key: string, value: unknown, code?: string])[] = [
		['unet/config.json', 'act_fn', 'mish'],
		['unet/config.json', 'down_block_types', ['KDownBlock2D', 'DownBlock2D', 'DownBlock2D', 'DownBlock2D']],
		['unet/config.json', 'down_block_types', ['DownBlock2D']],
		['unet/config.json', 'mid_block_type', 'UNetMidBlock2DSimpleCrossAttn'],
		['unet/config.json', 'resnet_time_scale_shift', 'scale_shift'],
		['unet/config.json', 'only_cross_attention', true],
		['unet/config.json', 'only_cross_attention', [false, false, true, false]],
		['unet/config.json', 'class_embed_type', 'timestep'],
		['unet/config.json', 'addition_embed_type', 'text'],
		['unet/config.json', 'addition_time_embed_dim', 'wide'],
		['unet/config.json', 'num_attention_heads', 4],
		['unet/config.json', 'attention_head_dim', 5],
		['unet/config.json', 'attention_head_dim', [4, 4]],
		['unet/config.json', 'norm_num_groups', 7],
		['unet/config.json', 'norm_eps', 'small'],
		['unet/config.json', 'norm_eps', 0],
		['unet/config.json', 'mid_block_scale_factor', 1.5],
		['unet/config.json', 'time_embedding_dim', 99],
		['unet/config.json', 'cross_attention_dim', [64, 64, 64, 32]],
		['unet/config.json', 'sample_size', [8, 8, 8]],
		['unet/config.json', 'layers_per_block', 1_000_000_000, 'E_LIMIT'],
		['unet/config.json', 'layers_per_block', [2, 2, 2, 1_000_000_000], 'E_LIMIT'],
		['unet/config.json', 'layers_per_block', 2.5],
		['unet/config.json', 'layers_per_block', 0],
		['unet/config.json', 'transformer_layers_per_block', 1_000_000_000, 'E_LIMIT'],
		['unet/config.json', 'transformer_layers_per_block', 256, 'E_LIMIT'],
		['unet/config.json', 'transformer_layers_per_block', [[1, 1], 1, 1, 1]],
		['unet/config.json', 'block_out_channels', [32, 64, 64, 1e12], 'E_LIMIT'],
		['unet/config.json', 'block_out_channels', new Array(100_000).fill(32), 'E_LIMIT'],
		['unet/config.json', '_class_name', 'UNet3DConditionModel'],
		['vae/config.json', '_class_name', 'AutoencoderTiny'],
		['vae/config.json', 'latents_mean', [0, 0, 0, 0]],
		['vae/config.json', 'scaling_factor', 0],
		['vae/config.json', 'scaling_factor', null],
		['vae/config.json', 'norm_num_groups', 32],
		['vae/config.json', 'up_block_types', ['AttnUpDecoderBlock2D']],
		['vae/config.json', 'layers_per_block', 1_000_000_000, 'E_LIMIT'],
		['text_encoder/config.json', 'hidden_act', 'relu'],
		['text_encoder/config.json', 'num_attention_heads', 7],
		['text_encoder/config.json', 'num_hidden_layers', 1_000_000_000, 'E_LIMIT'],
		['text_encoder/config.json', 'vocab_size', -1],
		['text_encoder/config.json', 'model_type', 't5'],
	];
	for (const [file, key, value, code = 'E_CONFIG'] of cases) {
		const full = path.join(folder, file);
		const before = fs.readFileSync(full);
		editJson(full, { [key]: value });
		const error = await refusal(folder);
		expect(error.code, `${key} ${JSON.stringify(value)?.slice(0, 40)}`).toBe(code);
		expect(error.message).toContain(file);
		expect(error.message).toContain(key);
		expect(error.message.length).toBeLessThan(500);
		fs.writeFileSync(full, before);
	}
	await (await openBase(folder)).close();
});

test('NaN, infinity, broken and missing files in a folder', async () => {
	const folder = copy();
	const vae = path.join(folder, 'vae/config.json');
	const before = fs.readFileSync(vae, 'utf8');
	fs.writeFileSync(vae, before.replace('0.5523058910267793', 'NaN'));
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('vae/config.json') });
	fs.writeFileSync(vae, before.replace('0.5523058910267793', '1e999'));
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('Infinity') });
	fs.writeFileSync(vae, Buffer.from([0xff, 0xfe, 0x00]));
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('UTF-8') });
	fs.writeFileSync(vae, '[]');
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG' });
	fs.rmSync(vae);
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('vae/config.json') });
	fs.writeFileSync(vae, before);
	editJson(path.join(folder, 'model_index.json'), { text_encoder: ['transformers', 'T5EncoderModel'] });
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('T5EncoderModel') });
	editJson(path.join(folder, 'model_index.json'), { text_encoder: ['transformers', 'CLIPTextModel'], scheduler: ['diffusers', 7] });
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('scheduler') });
	fs.rmSync(path.join(folder, 'model_index.json'));
	const base = await openBase(folder, { predictionType: 'v_prediction' });
	expect(base.scheduler).toMatchObject({ className: 'PNDMScheduler', config: { prediction_type: 'v_prediction', beta_end: 0.012 } });
	await base.close();
	editJson(path.join(folder, 'unet/config.json'), { cross_attention_dim: 32 });
	expect(await refusal(folder)).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('cross_attention_dim') });
	fs.rmSync(path.join(folder, 'vae'), { recursive: true });
	expect(await refusal(folder)).toMatchObject({ code: 'E_FORMAT', message: expect.stringContaining('"vae"') });
	expect(await refusal(path.join(folder, 'tokenizer'))).toMatchObject({ code: 'E_FORMAT' });
	expect(await refusal(path.join(folder, 'nowhere'))).toMatchObject({ code: 'E_IO' });
});

test('a truncated weight file, weights of a wrong type, NaN in a weight, a wrong shape', async () => {
	const folder = copy();
	const file = path.join(folder, 'unet/diffusion_pytorch_model.safetensors');
	const bytes = fs.readFileSync(file);
	for (const length of [0, 7, 100, bytes.byteLength - 1]) {
		fs.writeFileSync(file, bytes.subarray(0, length));
		const { code, message } = await refusal(folder);
		expect(code).toBe(length === 0 ? 'E_EMPTY' : 'E_TRUNCATED');
		expect(message).toContain('unet/diffusion_pytorch_model.safetensors');
	}
	const write = (change: (raw: ReturnType<typeof readRaw>) => void): void => {
		fs.writeFileSync(file, bytes);
		const raw = readRaw(file);
		change(raw);
		fs.writeFileSync(file, rawFile(raw));
	};
	write((raw) => raw.set('conv_in.bias', { dtype: 'I32', shape: [32], bytes: new Uint8Array(128) }));
	expect(await refusal(folder)).toMatchObject({ code: 'E_UNSUPPORTED_DTYPE', message: expect.stringContaining('conv_in.bias') });
	for (const [dtype, number] of [
		['F16', 0x7e00],
		['BF16', 0xff80],
	] as const) {
		write((raw) => {
			const words = new Uint16Array(32);
			words[5] = number;
			raw.set('conv_in.bias', { dtype, shape: [32], bytes: new Uint8Array(words.buffer) });
		});
		const base = await openBase(folder);
		const place = requireWeight(base.weights, 'unet', 'conv_in.bias', [32]);
		await expect(readWeight(place)).rejects.toMatchObject({ code: 'E_NONFINITE', message: expect.stringContaining('element 5') });
		await base.close();
	}
	write((raw) => {
		raw.set('conv_in.bias', { dtype: 'F16', shape: [4, 8], bytes: new Uint8Array(64) });
		raw.delete('conv_out.bias');
		raw.set('surprise.weight', { dtype: 'F16', shape: [1], bytes: new Uint8Array(2) });
	});
	const base = await openBase(folder);
	expect(base.warnings).toMatchObject([{ code: 'W_UNKNOWN_KEY', message: expect.stringContaining('surprise.weight') }]);
	const thrown = (name: string, shape: number[]): unknown => {
		try {
			return requireWeight(base.weights, 'unet', name, shape);
		} catch (error) {
			return error;
		}
	};
	expect(thrown('conv_in.bias', [32])).toMatchObject({
		code: 'E_SHAPE',
		message: expect.stringMatching(/conv_in\.bias.*\(4, 8\).*\(32\)/),
	});
	expect(thrown('conv_out.bias', [4])).toMatchObject({ code: 'E_BASE_MISMATCH', message: expect.stringMatching(/conv_out\.bias.*\(4\)/) });
	await base.close();
	// Two files that say the same weight: with and without the text_model level.
	const text = path.join(folder, 'text_encoder/model.safetensors');
	const twice = readRaw(text);
	const norm = twice.get('text_model.final_layer_norm.bias');
	if (norm !== undefined) twice.set('final_layer_norm.bias', norm);
	fs.writeFileSync(text, rawFile(twice));
	expect(await refusal(folder)).toMatchObject({ code: 'E_AMBIGUOUS', message: expect.stringContaining('final_layer_norm.bias') });
});

test('sources that are handed in are left open', async () => {
	let closed = 0;
	const source: ByteSource = {
		...bytesSource(new Uint8Array(8), 'x.safetensors'),
		close: async () => {
			closed += 1;
		},
	};
	await expect(openBaseFiles(new Map([['x.safetensors', source]]))).rejects.toBeInstanceOf(FormatError);
	expect(closed).toBe(0);
});
