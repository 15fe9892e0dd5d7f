// L5 and L6 of this project: one layer, one component, a whole run, with adapters over the unmodified base in float32.
// Needs @lorakit/runtime and onnxruntime-node; without them the subject skips these levels.
import { readFileSync, writeFileSync } from 'node:fs';
import { baseModel, bytesTensor, decodeFloats, planTerms, safetensorsBytes } from '@lorakit/format';
import {
	adapterFeeds,
	conditionOn,
	createComponent,
	createGraphBuilder,
	createNet,
	createScheduler,
	createStableDiffusion,
	denoise,
	encodeText,
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

const engine = await createOnnxEngine();
const COMPONENTS = new Set(['unet', 'vae', 'text_encoder', 'text_encoder_2']);

/** The base of a request: weights by name, configurations, and the form that adapters are planned on. */
async function openBase(base, open) {
	const states = new Map();
	for (const [component, path] of Object.entries(base.components)) states.set(component, await open(path));
	const json = (component) => JSON.parse(readFileSync(base.configs[component], 'utf8'));
	const locate = (component, name) => {
		const tensor = states.get(component)?.tensors.get(name);
		return tensor === undefined ? undefined : { file: component, name, tensor, shape: tensor.shape };
	};
	const files = Array.from(states, ([component, state]) => ({ path: `${component}/model.safetensors`, component, state }));
	return {
		name: 'base',
		architecture: base.architecture,
		weights: {
			locate,
			shape: (component, name) => locate(component, name)?.shape,
			names: (component) => states.get(component)?.tensors.keys() ?? [],
		},
		model: baseModel(
			files.filter(({ component }) => component !== 'vae'),
			'folder',
			'base',
			{ configs: new Map() },
		),
		get unet() {
			return parseUnetConfig(json('unet')).config;
		},
		get vae() {
			return parseVaeConfig(json('vae')).config;
		},
		get textEncoders() {
			return [parseTextEncoderConfig(json('text_encoder'), 'text_encoder', false)];
		},
		forceZerosForEmptyPrompt: false,
	};
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

/** A component with the request's adapters. */
async function adapted(name, base, uses) {
	const component = createComponent(name, engine, base.weights);
	if (uses.length > 0) component.adapt(await adapterFeeds(await planTerms(base.model, uses), COMPONENTS));
	return component;
}

export async function forward(request, { open, read }) {
	const base = await openBase(request.base, open);
	const uses = await usesOf(request, read);
	const inputs = await inputsOf(request.inputs, open);
	const component = await adapted(request.component, base, uses);
	try {
		if (request.module !== undefined) await save(request.out, await layer(component, base, request, inputs));
		else if (request.component === 'unet') await save(request.out, await unet(component, base.unet, inputs));
		else {
			const [config] = base.textEncoders;
			const { input_ids } = inputs;
			const { states, pooled } = await encodeText(component, 'text_encoder', config, Int32Array.from(input_ids.data), input_ids.shape[0]);
			await save(request.out, { hidden: states, pooled });
		}
	} finally {
		await component.release();
	}
	return {};
}

/** One linear layer or convolution, as the models have it: those of downsamplers have stride 2. */
async function layer(component, base, request, { input }) {
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
	const { output } = await component.run(path, record, { input: f32(input) });
	return { output };
}

async function unet(component, config, { sample, timestep, encoder_hidden_states: states }) {
	const [batch, , height, width] = sample.shape;
	const [first] = config.blockOutChannels;
	const timesteps = Array.from({ length: batch }, (_, i) => timestep.data[i % timestep.data.length]);
	const result = await component.run('unet', (forms) => unetGraph(config, { batch, height, width, tokens: states.shape[1] }, { forms }), {
		sample: f32(sample),
		time_features: f32Tensor([batch, first], timestepFeatures(timesteps, first, config)),
		encoder_hidden_states: f32(states),
	});
	return { output: result.sample };
}

export async function image(request, { open, read }) {
	const base = await openBase(request.base, open);
	const inputs = await inputsOf(request.inputs, open);
	const model = createStableDiffusion(base, engine, { tokenizers: [] });
	try {
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
	} finally {
		await model.close();
	}
	return {};
}
