import path from 'node:path';
import { apart, enginesOf, f32, openModel, recorded, runtime, useOf, within } from './runtime-library.mjs';

/** The manifest's bar for single forwards. */
const BAR = 3e-5;
/** Adapters of the set, by the names that the records use. */
const ADAPTERS = { a: 'a-full-kohya', b: 'b-attn-peft', b_procs: 'b-attn-procs', c: 'c-attn-te-peft' };

/**
 * `inference`: text encoder, UNet (with adapters at all scales, and every inner module), VAE, single forwards.
 * @param {import('./checks.mjs').Checks} checks @param {string} root
 */
export async function partModels(checks, root) {
	const home = path.dirname(root);
	for (const [name, engine] of await enginesOf(['float64', ...(process.env.PARITY_ENGINES ?? 'onnx').split(' ')])) {
		const { base, tokenizers } = await openModel(home, 'tiny-sd');
		const model = runtime.createStableDiffusion(base, engine, { tokenizers });
		const worst = new Map();
		const compare = (kind, what, got, expected, bar = BAR) => {
			const error = apart(got.data, expected.data);
			worst.set(kind, Math.max(worst.get(kind) ?? 0, error));
			checks.check(`inference/${name}`, what, within(error, bar));
		};
		await textEncoder(checks, root, model, name, compare);
		await unet(checks, root, model, name, compare);
		await vae(root, model, compare);
		await model.close();
		await base.close();
		const figures = [...worst].map(([kind, error]) => `${kind} ${error.toExponential(2)}`).join(', ');
		console.log(`  ${name}: ${figures} (bar ${BAR.toExponential(0)})`);
	}
}

async function attach(checks, root, model, key, scale, where) {
	if (key === undefined) await model.setAdapters([]);
	else {
		await checks.run(where, `${ADAPTERS[key]}@${scale} attaches`, async () => {
			await model.setAdapters([await useOf(path.join(root, 'lora', `${ADAPTERS[key]}.safetensors`), scale)]);
		});
	}
}

async function textEncoder(checks, root, model, name, compare) {
	const want = recorded(path.join(root, 'text_encoder.safetensors'));
	const ids = want.get('input_ids');
	const tokens = ids.shape[1];
	const rows = async (clipSkip) => {
		const out = [];
		for (let row = 0; row < ids.shape[0]; row++) {
			const own = Int32Array.from(ids.data.subarray(row * tokens, (row + 1) * tokens));
			out.push((await model.encodeIds([own], clipSkip))[0]);
		}
		return { states: joined(out.map((o) => o.states)), pooled: joined(out.map((o) => o.pooled)) };
	};
	const plain = await rows();
	compare('text', 'last_hidden_state', plain.states, want.get('last_hidden_state'));
	compare('text', 'pooler_output', plain.pooled, want.get('pooler_output'));
	compare('text', 'clip_skip1', (await rows(1)).states, want.get('clip_skip1'));
	for (const [key, tensor] of want) {
		const match = /^lora_(\w+)\/scale([\d.]+)$/.exec(key);
		if (match === null) continue;
		await attach(checks, root, model, match[1], Number(match[2]), `inference/${name}`);
		const got = await rows();
		compare('text', key, { data: got.states.data.subarray(0, tensor.data.length) }, tensor);
	}
	await model.setAdapters([]);
	const after = await rows();
	checks.check(`inference/${name}`, 'text states are those of the base, to the bit, after removal', sameBits(after.states, plain.states));
}

async function unet(checks, root, model, name, compare) {
	const want = recorded(path.join(root, 'unet.safetensors'));
	const { config } = { config: model.base.unet };
	const forward = async (x, t, ctx, taps, used = model.unet) => {
		const [rows, , height, width] = x.shape;
		const [first] = config.blockOutChannels;
		const tokens = ctx.shape[1];
		return used.run(
			`${rows}x${height}x${width}x${tokens}`,
			(forms) => runtime.unetGraph(config, { batch: rows, height, width, tokens }, { forms }),
			{
				sample: f32(x),
				time_features: runtime.f32Tensor([rows, first], runtime.timestepFeatures(t.data, first, config)),
				encoder_hidden_states: f32(ctx),
			},
			taps,
		);
	};
	const probe = (n = '') => [
		want.get(`probe/x${n}`),
		want.get(`probe/t${n === '16' ? '' : n}`),
		want.get(`probe/ctx${n === '16' ? '' : n}`),
	];
	compare('unet', 'base/8x12, batch of two timesteps', (await forward(...probe('2'))).sample, want.get('base/8x12'));
	compare('unet', 'base/16x16', (await forward(...probe('16'))).sample, want.get('base/16x16'));
	const stages = [...want.keys()].filter((key) => key.startsWith('stage/'));
	const staged = await forward(
		...probe(),
		stages.map((key) => `unet.${key.slice(6)}`),
	);
	for (const key of stages) compare('stages', key, staged[`unet.${key.slice(6)}`], want.get(key));
	const plain = await forward(...probe());
	compare('unet', 'base/8x8', plain.sample, want.get('base/8x8'));
	for (const [key, tensor] of want) {
		const match = /^lora_(\w+)\/(scale|merged|fused)([\d.]+)$/.exec(key);
		if (match === null) continue;
		if (match[2] !== 'scale') {
			// Merged by hand, fused by diffusers: fused by us.
			const use = await useOf(path.join(root, 'lora', `${ADAPTERS[match[1]]}.safetensors`), Number(match[3]));
			const { base } = await runtime.fuseBase(model.base, [use]);
			const fused = runtime.createComponent('unet', model.engine, base.weights);
			compare('unet, fused', key, (await forward(...probe(), undefined, fused)).sample, tensor);
			await fused.release();
		}
		// And the same numbers over the unmodified base.
		await attach(checks, root, model, match[1], Number(match[3]), `inference/${name}`);
		compare('unet + adapter', key, (await forward(...probe())).sample, tensor);
	}
	await model.setAdapters([]);
	checks.check(
		`inference/${name}`,
		'the UNet is the base, to the bit, after removal',
		sameBits((await forward(...probe())).sample, plain.sample),
	);
}

async function vae(root, model, compare) {
	const want = recorded(path.join(root, 'vae.safetensors'));
	const factor = model.base.vae.scalingFactor;
	// The record decodes z as it is; `decode` divides by the factor first.
	const latents = ({ shape, data }) =>
		runtime.f32Tensor(
			shape,
			Float32Array.from(data, (x) => x * factor),
		);
	compare('vae', 'decode/8x8', await model.decode(latents(want.get('z'))), want.get('decode/8x8'));
	compare('vae', 'decode/8x12', await model.decode(latents(want.get('z2'))), want.get('decode/8x12'));
	const distribution = await model.encode(f32(want.get('image')));
	compare('vae', 'encode/mean', distribution.mean, want.get('encode/mean'));
	compare('vae', 'encode/logvar', distribution.logvar, want.get('encode/logvar'));
	const sample = runtime.sampleLatents(distribution, Float32Array.from(want.get('encode/noise').data));
	compare('vae', 'encode/sample_seed5', { data: sample }, want.get('encode/sample_seed5'));
}

function joined(tensors) {
	const data = new Float64Array(tensors.reduce((sum, t) => sum + t.data.length, 0));
	let at = 0;
	for (const t of tensors) {
		data.set(t.data, at);
		at += t.data.length;
	}
	return { data };
}

function sameBits(a, b) {
	return a.data.every((x, i) => Object.is(x, b.data[i])) ? undefined : 'other bits';
}
