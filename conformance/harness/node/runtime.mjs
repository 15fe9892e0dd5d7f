// L5 and L6 of this project: one layer, one component, a whole run, with adapters over the unmodified base, in float32 or, with
// --precision f16, in the runtime's half precision.
// Needs @lorakit/runtime and onnxruntime-node; without them the subject skips these levels.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { baseModel, bytesSource, bytesTensor, decodeFloats, openStateDict, planTerms, safetensorsBytes } from '@lorakit/format';
import {
	adapterFeeds,
	conditionOn,
	createComponent,
	createGraphBuilder,
	createNet,
	createScheduler,
	createStableDiffusion,
	denoise,
	f32Tensor,
	kindOfConfig,
	parseTextEncoderConfig,
	parseUnetConfig,
	parseVaeConfig,
	roundPictures,
	schedulerConfigFor,
	timestepFeatures,
	unetGraph,
} from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import { encode } from 'fast-png';

// One thread: the models are tiny, and the runner starts as many processes as there are cores.
const half = process.argv[process.argv.indexOf('--precision') + 1] === 'f16';
const engine = await createOnnxEngine({ threads: 1, precision: half ? 'fp16' : 'fp32' });
const COMPONENTS = new Set(['unet', 'vae', 'text_encoder', 'text_encoder_2']);

/** Bases that were asked for last, by content: each case has copies of its own, but the models in them are the same few. */
const opened = new Map();
const MOST_OPEN = 2;

/** The base of a request, loaded: weights by name, configurations, the form that adapters are planned on, and the models. */
async function openBase(base) {
	const files = Object.entries(base.components).map(([component, path]) => [component, readFileSync(path)]);
	const texts = Object.entries(base.configs ?? {}).map(([name, path]) => [name, readFileSync(path, 'utf8')]);
	const hash = createHash('sha256').update(base.architecture);
	for (const [name, content] of [...files, ...texts]) hash.update(name).update(content);
	const key = hash.digest('hex');
	const found = opened.get(key);
	if (found !== undefined) return found;
	for (const [old, { model }] of opened) {
		if (opened.size < MOST_OPEN) break;
		await model.close();
		opened.delete(old);
	}
	const states = new Map();
	for (const [component, bytes] of files) states.set(component, await openStateDict(bytesSource(bytes, component)));
	const configs = new Map(texts);
	const json = (component) => JSON.parse(configs.get(component));
	const locate = (component, name) => {
		const tensor = states.get(component)?.tensors.get(name);
		return tensor === undefined ? undefined : { file: component, name, tensor, shape: tensor.shape };
	};
	const parts = Array.from(states, ([component, state]) => ({ path: `${component}/model.safetensors`, component, state }));
	const described = {
		name: 'base',
		architecture: base.architecture,
		weights: {
			locate,
			shape: (component, name) => locate(component, name)?.shape,
			names: (component) => states.get(component)?.tensors.keys() ?? [],
		},
		model: baseModel(
			parts.filter(({ component }) => component !== 'vae'),
			'folder',
			'base',
			{ configs: new Map() },
		),
		...(configs.has('unet') ? { unet: parseUnetConfig(json('unet')).config } : {}),
		...(configs.has('vae') ? { vae: parseVaeConfig(json('vae')).config } : {}),
		textEncoders: configs.has('text_encoder') ? [parseTextEncoderConfig(json('text_encoder'), 'text_encoder', false)] : [],
		forceZerosForEmptyPrompt: false,
	};
	const entry = { base: described, model: createStableDiffusion(described, engine, { tokenizers: [] }) };
	opened.set(key, entry);
	return entry;
}

/** @param {(adapter: object, base: object) => Promise<object>} read */
async function usesOf(request, read) {
	return Promise.all(
		request.adapters.map(async ({ strength = 1, ...adapter }, i) => {
			const each = typeof strength === 'object';
			const components = new Map(each ? Object.entries(strength) : []);
			return { name: `${i}`, adapter: (await read(adapter, request.base)).adapter, strength: { scale: each ? 1 : strength, components } };
		}),
	);
}

async function inputsOf(path, open) {
	const out = {};
	for (const [name, { dtype, shape, read }] of (await open(path)).tensors) {
		const bytes = await read();
		const data = dtype === 'I64' ? Float64Array.from(new BigInt64Array(bytes.slice().buffer), Number) : decodeFloats(dtype, bytes);
		out[name] = { shape, data };
	}
	return out;
}

const f32 = ({ shape, data }) => f32Tensor(shape, Float32Array.from(data));

async function save(path, tensors) {
	const entries = Object.entries(tensors).map(([name, { shape, data }]) => {
		const values = Float32Array.from(data);
		return [name, bytesTensor('F32', shape, new Uint8Array(values.buffer))];
	});
	writeFileSync(path, await safetensorsBytes(new Map(entries), new Map()));
}

export async function forward(request, { open, read }) {
	const { base, model } = await openBase(request.base);
	const uses = await usesOf(request, read);
	const inputs = await inputsOf(request.inputs, open);
	if (request.module !== undefined) {
		await save(request.out, await layer(base, request, uses, inputs));
		return {};
	}
	await model.setAdapters(uses);
	if (request.component === 'unet') await save(request.out, await unet(model.unet, base.unet, inputs));
	else {
		const { shape, data } = inputs.input_ids;
		const rows = [];
		for (let i = 0; i < shape[0]; i++) {
			rows.push((await model.encodeIds([Int32Array.from(data.subarray(i * shape[1], (i + 1) * shape[1]))]))[0]);
		}
		await save(request.out, { hidden: stacked(rows.map((r) => r.states)), pooled: stacked(rows.map((r) => r.pooled)) });
	}
	return {};
}

/** Along the first axis. */
function stacked(tensors) {
	const data = new Float32Array(tensors.reduce((sum, t) => sum + t.data.length, 0));
	let at = 0;
	for (const t of tensors) {
		data.set(t.data, at);
		at += t.data.length;
	}
	return { shape: [tensors.length, ...tensors[0].shape.slice(1)], data };
}

/** One linear layer or convolution, as the models have it: those of downsamplers have stride 2. */
async function layer(base, request, uses, { input }) {
	const component = createComponent(request.component, engine, base.weights);
	if (uses.length > 0) component.adapt(await adapterFeeds(await planTerms(base.model, uses), COMPONENTS));
	const path = request.module;
	const [out, , kernel] = base.weights.shape(request.component, `${path}.weight`);
	const bias = base.weights.shape(request.component, `${path}.bias`) !== undefined;
	const stride = path.includes('.downsamplers.') ? 2 : 1;
	const record = (forms) => {
		const ops = createGraphBuilder();
		const net = createNet(ops, request.component, forms);
		const x = ops.input('input', input.shape);
		ops.output(
			'output',
			kernel === undefined ? net.linear(path, x, out, { bias }) : net.conv(path, x, out, { kernel, stride: [stride, stride] }),
		);
		return ops.graph();
	};
	try {
		const { output } = await component.run(path, record, { input: f32(input) });
		return { output };
	} finally {
		await component.release();
	}
}

async function unet(component, config, { sample, timestep, encoder_hidden_states: states }) {
	const [batch, , height, width] = sample.shape;
	const [first] = config.blockOutChannels;
	const timesteps = Array.from({ length: batch }, (_, i) => timestep.data[i % timestep.data.length]);
	const result = await component.run(
		`${batch}x${height}x${width}`,
		(forms) => unetGraph(config, { batch, height, width, tokens: states.shape[1] }, { forms }),
		{
			sample: f32(sample),
			time_features: f32Tensor([batch, first], timestepFeatures(timesteps, first, config)),
			encoder_hidden_states: f32(states),
		},
	);
	return { output: result.sample };
}

export async function image(request, { open, read }) {
	const { base, model } = await openBase(request.base);
	const inputs = await inputsOf(request.inputs, open);
	await model.setAdapters(await usesOf(request, read));
	const encodeIds = (ids, skip) => model.encodeIds([Int32Array.from(ids.data)], skip);
	const text = await encodeIds(inputs.input_ids, request.clipSkip);
	const negative = await encodeIds(inputs.negative_ids);
	const { height, width, steps, guidance } = request;
	const config = { _class_name: request.scheduler.name, ...request.scheduler.config };
	const kind = kindOfConfig(config);
	if (kind === undefined) return { skipped: true, message: `lorakit has no scheduler ${request.scheduler.name}` };
	const scheduler = createScheduler(kind, schedulerConfigFor(kind, config), steps);
	let draw = 0;
	const { initial_latents: start, step_noise: noise } = inputs;
	const size = start.data.length;
	const loop = denoise(model.unet, {
		config: base.unet,
		scheduler,
		latents: Float32Array.from(start.data, (x) => x * scheduler.initNoiseSigma),
		shape: start.shape,
		conditioning: conditionOn(base, text, negative, { count: 1, height, width }),
		guidance,
		noise: noise === undefined ? undefined : () => Float32Array.from(noise.data.subarray(draw++ * size, draw * size)),
	});
	const all = [];
	for await (const { latents } of loop) all.push(latents);
	const last = all.at(-1);
	const data = new Float32Array(all.length * size);
	for (const [i, latents] of all.entries()) data.set(latents, i * size);
	await save(request.out, { latents: { shape: [all.length, ...start.shape], data } });
	const pixels = await model.decode(f32Tensor(start.shape, last));
	const [picture] = roundPictures(pixels.data, pixels.shape);
	writeFileSync(request.png, encode({ width, height, data: picture, channels: 3, depth: 8 }));
	return {};
}
