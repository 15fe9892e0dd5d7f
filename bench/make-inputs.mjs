/** Synthetic inputs of stated sizes, written by plain code (not by the package under test). */
import fs from 'node:fs';

/** A kohya-named SD1.5-like safetensors of about `megabytes`, F16, pseudo-random bits without NaN or Inf. */
export function makeSafetensors(file, megabytes, { prefix = 'lora_unet_', rank = undefined } = {}) {
	const modules = [];
	for (const [level, blocks] of [
		['down_blocks_0', 2],
		['down_blocks_1', 2],
		['down_blocks_2', 2],
		['up_blocks_1', 3],
		['up_blocks_2', 3],
		['up_blocks_3', 3],
	])
		for (let b = 0; b < blocks; b++)
			for (const attn of ['attn1', 'attn2']) for (const leaf of ['to_q', 'to_k', 'to_v', 'to_out_0']) modules.push(`${prefix}${level}_attentions_${b}_transformer_blocks_0_${attn}_${leaf}`);
	const width = 1280;
	const r = rank ?? Math.max(1, Math.round((megabytes * 1e6) / (modules.length * 2 * width * 2)));
	const entries = {};
	let offset = 0;
	const names = modules.flatMap((m) => [
		[`${m}.lora_down.weight`, [r, width]],
		[`${m}.lora_up.weight`, [width, r]],
	]);
	names.sort(([a], [b]) => (a < b ? -1 : 1));
	for (const [name, shape] of names) {
		const bytes = shape[0] * shape[1] * 2;
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
