#!/usr/bin/env node
/**
 * Write an SD1.5-size cloneofsimo list: 256 float32 tensors for the 128 attention projections at rank 4, as
 * `save_lora_weight` of December 2022 laid them out: the post's "3.29 MB file". Values are a fixed pseudo-random sequence.
 *
 * usage: node scripts/make-sd15-list.mjs OUT.pt
 */
import fs from 'node:fs';
import { writeTorchZip } from '../packages/format/dist/containers/torch-write.js';
import { bytesTensor, unetModulesInOrder } from '../packages/format/dist/index.js';
import { SD1_UNET } from '../packages/format/dist/modules/index.js';

const [out] = process.argv.slice(2);
if (out === undefined) {
	console.error('usage: node scripts/make-sd15-list.mjs OUT.pt');
	process.exit(2);
}
const RANK = 4;
let seed = 1;
function values(count, scale) {
	const data = new Float32Array(count);
	for (let i = 0; i < count; i++) {
		seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
		data[i] = (seed / 2 ** 31 - 1) * scale;
	}
	return new Uint8Array(data.buffer);
}
const tensors = new Map();
for (const { path, shape } of unetModulesInOrder(SD1_UNET, 'new')) {
	if (!/\.attn[12]\.to_(q|k|v|out\.0)$/.test(path)) continue;
	const [o, i] = shape;
	tensors.set(String(tensors.size), bytesTensor('F32', [o, RANK], values(o * RANK, 0.02)));
	tensors.set(String(tensors.size), bytesTensor('F32', [RANK, i], values(RANK * i, 0.1)));
}
const fd = fs.openSync(out, 'w');
await writeTorchZip(tensors, { top: 'list', rootName: 'lora_weight' }, { write: (bytes) => void fs.writeSync(fd, bytes) });
fs.closeSync(fd);
