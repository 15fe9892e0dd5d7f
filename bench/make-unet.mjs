/** A UNet of the names and shapes of Stable Diffusion 1.5 and a LoRA for it, synthetic by seed, written by plain code. */
import fs from 'node:fs';

/** Name -> shape of all 686 tensors of SD1.5's UNet in diffusers' names. `width` 320 is the real one. */
export function unetShapes(width = 320) {
	const shapes = new Map();
	const time = 4 * width;
	const add = (name, ...shape) => shapes.set(name, shape);
	const linear = (name, out, inn, bias = true) => {
		add(`${name}.weight`, out, inn);
		if (bias) add(`${name}.bias`, out);
	};
	const conv = (name, out, inn, k) => {
		add(`${name}.weight`, out, inn, k, k);
		add(`${name}.bias`, out);
	};
	const norm = (name, c) => {
		add(`${name}.weight`, c);
		add(`${name}.bias`, c);
	};
	const resnet = (name, inn, out) => {
		norm(`${name}.norm1`, inn);
		conv(`${name}.conv1`, out, inn, 3);
		linear(`${name}.time_emb_proj`, out, time);
		norm(`${name}.norm2`, out);
		conv(`${name}.conv2`, out, out, 3);
		if (inn !== out) conv(`${name}.conv_shortcut`, out, inn, 1);
	};
	const attention = (name, c) => {
		norm(`${name}.norm`, c);
		conv(`${name}.proj_in`, c, c, 1);
		const t = `${name}.transformer_blocks.0`;
		for (const attn of ['attn1', 'attn2']) {
			linear(`${t}.${attn}.to_q`, c, c, false);
			for (const leaf of ['to_k', 'to_v']) linear(`${t}.${attn}.${leaf}`, c, attn === 'attn2' ? 768 : c, false);
			linear(`${t}.${attn}.to_out.0`, c, c);
		}
		linear(`${t}.ff.net.0.proj`, 8 * c, c);
		linear(`${t}.ff.net.2`, c, 4 * c);
		for (const n of [1, 2, 3]) norm(`${t}.norm${n}`, c);
		conv(`${name}.proj_out`, c, c, 1);
	};
	const channels = [1, 2, 4, 4].map((n) => n * width);
	conv('conv_in', width, 4, 3);
	linear('time_embedding.linear_1', time, width);
	linear('time_embedding.linear_2', time, time);
	const skips = [width];
	let inn = width;
	for (const [i, c] of channels.entries()) {
		for (let b = 0; b < 2; b++) {
			resnet(`down_blocks.${i}.resnets.${b}`, inn, c);
			if (i < 3) attention(`down_blocks.${i}.attentions.${b}`, c);
			inn = c;
			skips.push(c);
		}
		if (i < 3) {
			conv(`down_blocks.${i}.downsamplers.0.conv`, c, c, 3);
			skips.push(c);
		}
	}
	for (let b = 0; b < 2; b++) resnet(`mid_block.resnets.${b}`, inn, inn);
	attention('mid_block.attentions.0', inn);
	for (const [i, c] of [...channels].reverse().entries()) {
		for (let b = 0; b < 3; b++) {
			resnet(`up_blocks.${i}.resnets.${b}`, inn + skips.pop(), c);
			if (i > 0) attention(`up_blocks.${i}.attentions.${b}`, c);
			inn = c;
		}
		if (i < 3) conv(`up_blocks.${i}.upsamplers.0.conv`, c, c, 3);
	}
	norm('conv_norm_out', width);
	conv('conv_out', 4, width, 3);
	return shapes;
}

/** The UNet as a file; returns its bytes. Values are normal with deviation 0.02, near what trained weights have. */
export function makeUnet(file, { dtype = 'F16', width = 320, seed = 1 } = {}) {
	return write(file, unetShapes(width), dtype, () => 0.02, seed);
}

/** A LoRA of `rank` over the attention set in diffusers' names: deltas of deviation about 3e-4, as after some training. */
export function makeUnetLora(file, { rank = 8, dtype = 'F16', width = 320, seed = 2 } = {}) {
	const shapes = new Map();
	for (const [name, [out, inn]] of unetShapes(width)) {
		if (!/attn[12]\.to_(q|k|v|out\.0)\.weight$/.test(name)) continue;
		const module = name.slice(0, -'.weight'.length);
		shapes.set(`unet.${module}.lora_A.weight`, [rank, inn]);
		shapes.set(`unet.${module}.lora_B.weight`, [out, rank]);
	}
	return write(file, shapes, dtype, (name, shape) => (name.includes('lora_A') ? 1 / Math.sqrt(3 * shape[1]) : 0.005), seed);
}

export function write(file, shapes, dtype, deviationOf, seed) {
	const size = dtype === 'F32' ? 4 : 2;
	const names = [...shapes].sort(([a], [b]) => (a < b ? -1 : 1));
	const header = { __metadata__: { format: 'pt' } };
	let end = 0;
	for (const [name, shape] of names) {
		const bytes = size * shape.reduce((a, b) => a * b, 1);
		header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
		end += bytes;
	}
	let json = JSON.stringify(header);
	json += ' '.repeat((8 - (json.length % 8)) % 8);
	const fd = fs.openSync(file, 'w');
	const length = Buffer.alloc(8);
	length.writeBigUInt64LE(BigInt(json.length));
	fs.writeSync(fd, length);
	fs.writeSync(fd, json);
	let state = seed;
	const random = () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32;
	};
	const tables = new Map();
	for (const [name, shape] of names) {
		const deviation = deviationOf(name, shape);
		if (!tables.has(deviation)) tables.set(deviation, tableOf(dtype, deviation, random));
		const table = tables.get(deviation);
		const codes = new table.constructor(shape.reduce((a, b) => a * b, 1));
		for (let i = 0; i < codes.length; i++) {
			state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
			codes[i] = table[state >>> 12];
		}
		const bytes = Buffer.from(codes.buffer);
		for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at, Math.min(bytes.length - at, 1 << 28));
	}
	fs.closeSync(fd);
	return 8 + json.length + end;
}

/** 2^20 codes of normal numbers. */
function tableOf(dtype, deviation, random) {
	const n = 1 << 20;
	const codes = dtype === 'F32' ? new Uint32Array(n) : new Uint16Array(n);
	const value = new Float32Array(1);
	const bits = new Uint32Array(value.buffer);
	for (let i = 0; i < n; i++) {
		value[0] = deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
		codes[i] = dtype === 'F32' ? bits[0] : dtype === 'BF16' ? (bits[0] + 0x8000) >>> 16 : half(bits[0]);
	}
	return codes;
}

/** float32 bits to binary16, to nearest (ties away: these are random numbers); tiny ones become 0. */
function half(bits) {
	const sign = (bits >>> 16) & 0x8000;
	const magnitude = bits & 0x7fffffff;
	if (magnitude < 0x38800000) return sign | Math.round(2 ** ((magnitude >>> 23) - 126) * ((magnitude & 0x7fffff) / 2 ** 23 + 1) * 2 ** 23);
	return sign | ((magnitude - 0x38000000 + 0x1000) >>> 13);
}
