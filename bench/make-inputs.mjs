/** Synthetic inputs of stated sizes, written by plain code (not by the package under test). */
import fs from 'node:fs';

/**
 * A kohya file as sd-scripts writes them for SD1.5: 192 UNet and 72 text-encoder modules, each with down, up and an alpha
 * scalar (`widths` times as wide), F16, sorted by name as the safetensors writer does; about `megabytes` big. Pseudo-random bits without NaN or Inf.
 */
export function makeSafetensors(file, megabytes, { widths = 1 } = {}) {
	const modules = [];
	const add = (name, out, inn) => modules.push({ name, out: out * widths, inn: inn * widths });
	const block = (at, c) => {
		const t = `lora_unet_${at}_transformer_blocks_0_`;
		add(`lora_unet_${at}_proj_in`, c, c);
		add(`lora_unet_${at}_proj_out`, c, c);
		for (const attn of ['attn1', 'attn2'])
			for (const leaf of ['to_q', 'to_k', 'to_v', 'to_out_0'])
				add(`${t}${attn}_${leaf}`, c, attn === 'attn2' && /to_[kv]/.test(leaf) ? 768 : c);
		add(`${t}ff_net_0_proj`, 8 * c, c);
		add(`${t}ff_net_2`, c, 4 * c);
	};
	for (const [i, c] of [320, 640, 1280].entries()) for (let b = 0; b < 2; b++) block(`down_blocks_${i}_attentions_${b}`, c);
	for (const [i, c] of [1280, 640, 320].entries()) for (let b = 0; b < 3; b++) block(`up_blocks_${i + 1}_attentions_${b}`, c);
	block('mid_block_attentions_0', 1280);
	for (let n = 0; n < 12; n++) {
		const t = `lora_te_text_model_encoder_layers_${n}_`;
		for (const leaf of ['k_proj', 'v_proj', 'q_proj', 'out_proj']) add(`${t}self_attn_${leaf}`, 768, 768);
		add(`${t}mlp_fc1`, 3072, 768);
		add(`${t}mlp_fc2`, 768, 3072);
	}
	const perRank = modules.reduce((n, m) => n + 2 * (m.out + m.inn), 0);
	const r = Math.max(1, Math.round((megabytes * 1e6) / perRank));
	const names = modules.flatMap(({ name, out, inn }) => [
		[`${name}.alpha`, []],
		[`${name}.lora_down.weight`, [r, inn]],
		[`${name}.lora_up.weight`, [out, r]],
	]);
	names.sort(([a], [b]) => (a < b ? -1 : 1));
	const entries = {};
	let offset = 0;
	for (const [name, shape] of names) {
		const bytes = 2 * shape.reduce((a, b) => a * b, 1);
		entries[name] = { dtype: 'F16', shape, data_offsets: [offset, offset + bytes] };
		offset += bytes;
	}
	let json = JSON.stringify({ __metadata__: { made: 'bench' }, ...entries });
	json += ' '.repeat((8 - (json.length % 8)) % 8);
	const fd = fs.openSync(file, 'w');
	const head = Buffer.alloc(8);
	head.writeBigUInt64LE(BigInt(json.length));
	fs.writeSync(fd, head);
	fs.writeSync(fd, json);
	const chunk = new Uint16Array(4 * 1024 * 1024);
	let seed = 12345;
	for (let i = 0; i < chunk.length; i++) {
		seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
		chunk[i] = 0x2000 | (seed >>> 20) | ((seed & 1) << 15);
	}
	const bytes = new Uint8Array(chunk.buffer);
	for (let left = offset; left > 0; ) {
		const n = fs.writeSync(fd, bytes, 0, Math.min(left, bytes.length));
		left -= n;
	}
	fs.closeSync(fd);
	return 8 + json.length + offset;
}
