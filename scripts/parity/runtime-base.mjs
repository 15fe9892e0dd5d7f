/**
 * Part base: the folders and the single file of reference/base opened by the runtime. `root` is that folder.
 * The expectation is the reference's own: a folder's weights are the bytes of its files, and diffusers' `from_pretrained`
 * and `from_single_file` gave equal weights for tiny-sd and tiny-sd-ldm (base/README.md). Every comparison is exact.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { readWeight } from '../../packages/runtime/dist/base/index.js';
import { openBase } from '../../packages/runtime/dist/io/index.js';
import { describe, Wrongs } from './checks.mjs';

const WEIGHTS = {
	unet: 'diffusion_pytorch_model',
	vae: 'diffusion_pytorch_model',
	text_encoder: 'model',
	text_encoder_2: 'model',
};
const SINGLE = [['tiny-sd-ldm.safetensors', 'tiny-sd']];

/**
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root reference/base
 */
export async function partBase(checks, root) {
	for (const name of ['tiny-sd', 'tiny-sd2', 'tiny-sdxl', 'tiny-shapes']) {
		if (existsSync(path.join(root, name))) await folder(checks, root, name);
		else console.log(`base: this set has no ${name}`);
	}
	for (const [file, name] of SINGLE) {
		if (existsSync(path.join(root, file)) && existsSync(path.join(root, name))) await singleFile(checks, root, file, name);
		else console.log(`base: this set has no ${file}`);
	}
}

async function folder(checks, root, name) {
	const where = `base ${name}`;
	let base;
	try {
		base = await openBase(path.join(root, name));
	} catch (error) {
		checks.check(where, 'it opens', describe(error));
		return;
	}
	try {
		checks.check(where, 'it opens without a warning', base.warnings.length === 0 ? undefined : base.warnings[0].message);
		let count = 0;
		const error = { largest: 0 };
		for (const [component, stem] of Object.entries(WEIGHTS)) {
			const file = path.join(root, name, component, `${stem}.safetensors`);
			if (!existsSync(file)) continue;
			const wrongs = new Wrongs();
			const found = new Set(base.weights.names(component));
			for (const [stored, { dtype, shape, bytes }] of rawTensors(file)) {
				if (stored.endsWith('position_ids')) continue;
				const own = component.startsWith('text_encoder') && !stored.startsWith('text_') ? `text_model.${stored}` : stored;
				const place = base.weights.locate(component, own);
				found.delete(own);
				if (place === undefined) wrongs.add(`${own} is not found`);
				else if (String(place.shape) !== String(shape)) wrongs.add(`${own} has shape (${place.shape})`);
				else measure(await readWeight(place), widened(dtype, bytes), own, error, wrongs);
				count++;
			}
			for (const extra of found) wrongs.add(`${extra} is not in the file`);
			checks.check(where, `every weight of ${component} is the file's`, wrongs.text);
		}
		checkConfigs(checks, where, base, path.join(root, name));
		console.log(`${where}: ${base.architecture}, ${count} weights, largest difference ${error.largest} (bar: 0)`);
	} catch (error) {
		checks.check(where, 'it can be read', describe(error));
	} finally {
		await base.close();
	}
}

/** What the configuration files say, key by key. */
function checkConfigs(checks, where, base, folderPath) {
	const json = (file) => JSON.parse(readFileSync(path.join(folderPath, file), 'utf8'));
	const equal = (what, got, expected) =>
		checks.check(
			where,
			what,
			JSON.stringify(got) === JSON.stringify(expected) ? undefined : `${JSON.stringify(got)}, not ${JSON.stringify(expected)}`,
		);
	const unet = json('unet/config.json');
	const n = unet.block_out_channels.length;
	const each = (value) => (Array.isArray(value) ? value : new Array(n).fill(value));
	const heads = each(unet.attention_head_dim);
	equal('UNet: channels', base.unet.blockOutChannels, unet.block_out_channels);
	equal('UNet: heads', base.unet.heads, heads);
	equal(
		'UNet: channels of a head',
		base.unet.headDim,
		unet.block_out_channels.map((c, i) => c / heads[i]),
	);
	equal('UNet: layers', base.unet.layersPerBlock, each(unet.layers_per_block));
	equal(
		'UNet: transformer blocks',
		base.unet.transformerLayersPerBlock.map((d) => d[0]),
		each(unet.transformer_layers_per_block),
	);
	equal('UNet: context', base.unet.crossAttentionDim, each(unet.cross_attention_dim)[0]);
	equal('UNet: projection', base.unet.useLinearProjection, unet.use_linear_projection);
	equal('UNet: text_time', base.unet.additionEmbedType ?? null, unet.addition_embed_type);
	const vae = json('vae/config.json');
	equal('VAE: channels', base.vae.blockOutChannels, vae.block_out_channels);
	equal('VAE: scaling factor', base.vae.scalingFactor, vae.scaling_factor);
	const encoders = ['text_encoder', 'text_encoder_2'].filter((c) => existsSync(path.join(folderPath, c)));
	equal(
		'text encoders',
		base.textEncoders.map((t) => [t.component, t.hiddenSize, t.layers, t.heads, t.act]),
		encoders.map((c) => {
			const t = json(`${c}/config.json`);
			return [c, t.hidden_size, t.num_hidden_layers, t.num_attention_heads, t.hidden_act];
		}),
	);
	const index = json('model_index.json');
	equal('scheduler', [base.scheduler.className, base.scheduler.config], [index.scheduler[1], json('scheduler/scheduler_config.json')]);
	equal(
		'projection of the pooled state',
		base.textEncoders.map((t) => t.withProjection),
		encoders.map((c) => index[c][1] === 'CLIPTextModelWithProjection'),
	);
	equal('tokenizers', base.tokenizers.length, encoders.length);
}

async function singleFile(checks, root, file, name) {
	const where = `base ${file}`;
	const opened = [];
	try {
		for (const [spec, options] of [
			[file, { config: path.join(root, name) }],
			[name, {}],
		]) {
			opened.push(await openBase(path.join(root, spec), options));
		}
		const [single, whole] = opened;
		checks.check(where, 'it opens without a warning', single.warnings.length === 0 ? undefined : single.warnings[0].message);
		const stored = rawTensors(path.join(root, file));
		const strays = [...stored.keys()].filter((key) => /^(betas|alphas_|model_ema\.)|position_ids$/.test(key)).length;
		checks.check(where, 'stray entries are skipped', single.skipped === strays ? undefined : `${single.skipped} of ${strays}`);
		let count = 0;
		const error = { largest: 0 };
		for (const component of ['unet', 'vae', 'text_encoder']) {
			const wrongs = new Wrongs();
			const found = new Set(single.weights.names(component));
			for (const own of whole.weights.names(component)) {
				found.delete(own);
				const [a, b] = [single.weights.locate(component, own), whole.weights.locate(component, own)];
				if (a === undefined) wrongs.add(`${own} is not found`);
				else if (String(a.shape) !== String(b.shape)) wrongs.add(`${own} has shape (${a.shape}), not (${b.shape})`);
				else measure(await readWeight(a), await readWeight(b), own, error, wrongs);
				count++;
			}
			for (const extra of found) wrongs.add(`${extra} is not in the folder`);
			checks.check(where, `every weight of ${component} equals the folder's`, wrongs.text);
		}
		checks.check(
			where,
			'nothing else is in the file',
			stored.size === count + strays ? undefined : `${stored.size} entries, ${count} weights`,
		);
		console.log(
			`${where}: ${count} weights equal to ${name}'s, ${strays} stray entries skipped, largest difference ${error.largest} (bar: 0)`,
		);
	} catch (error) {
		checks.check(where, 'it can be read', describe(error));
	} finally {
		for (const base of opened) await base.close();
	}
}

/** A safetensors file taken apart here. */
function rawTensors(file) {
	const bytes = readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const out = new Map();
	for (const [name, { dtype, shape, data_offsets: at }] of Object.entries(JSON.parse(bytes.toString('utf8', 8, 8 + length)))) {
		if (name !== '__metadata__') out.set(name, { dtype, shape, bytes: bytes.subarray(8 + length + at[0], 8 + length + at[1]) });
	}
	return out;
}

/** float32 values by the definition of binary16 (all files of the set are F16 or F32). */
function widened(dtype, bytes) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const size = dtype === 'F32' ? 4 : 2;
	if (dtype !== 'F32' && dtype !== 'F16') throw new Error(`dtype ${dtype} is not expected here`);
	return Float32Array.from({ length: bytes.byteLength / size }, (_, i) => {
		if (size === 4) return view.getFloat32(i * 4, true);
		const word = view.getUint16(i * 2, true);
		const exponent = (word >> 10) & 31;
		const fraction = (word & 1023) / 1024;
		const magnitude = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
		return word & 0x8000 ? -magnitude : magnitude;
	});
}

/** Bit for bit; the largest difference is kept. */
function measure(got, expected, name, error, wrongs) {
	const bits = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
	if (bits(got).equals(bits(expected))) return;
	wrongs.add(`${name} has other values`);
	if (got.length !== expected.length) error.largest = Number.POSITIVE_INFINITY;
	else for (const [i, value] of got.entries()) error.largest = Math.max(error.largest, Math.abs(value - expected[i]));
}
